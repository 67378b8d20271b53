"""The second verification as a table: one row a reason not to forward."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from helpers_connector import CODE, PLACE, World, key_record, record_of

from clearline import records, times
from clearline.codes import Code, Refusal
from clearline.fabric.blocks import Block, Write
from clearline.fabric.errors import EventsError, GrpcFailure
from clearline.fabric.events import Start
from clearline.intents import PayIntent, Route
from clearline.jws import KeySigner
from clearline.records import MerchantCode, Payment
from connector.ledger import find_tip
from connector.projection import Projection
from connector.verification import Place, verify

OWNER = MerchantCode("unionpay", CODE, "M-0001")


@dataclass
class Case:
    """What `verify` is given; each row changes one thing."""

    world: World
    payment: Payment
    key: str
    records: list[object]
    place: Place = PLACE
    now: str = ""


def good(folder: Path) -> Case:
    world = World.make(folder)
    payment = world.payment(world.intent(1))
    registered: list[object] = [world.merchant(), world.acquirer(), OWNER]
    return Case(world, payment, records.payment_key(payment.key), registered, now=times.now())


def ask(case: Case) -> PayIntent:
    """Raises Refusal."""
    projection = Projection()
    for record in case.records:
        key, value = record_of(record)
        assert projection.apply(Write("clearline", key, value, False))
    return verify(case.key, case.payment, case.place, projection, case.now).intent


def intent(case: Case, **changes: object) -> None:
    """The merchant signed another intent, and the record says the same."""
    signed = replace(case.world.intent(1), **changes)  # type: ignore[arg-type]
    case.payment = case.world.payment(signed)
    case.key = records.payment_key(case.payment.key)


def merchant(case: Case, **changes: object) -> None:
    case.records[0] = case.world.merchant(**changes)


def acquirer(case: Case, **changes: object) -> None:
    case.records[1] = case.world.acquirer(**changes)


def payment(case: Case, **changes: object) -> None:
    case.payment = replace(case.payment, **changes)  # type: ignore[arg-type]


def another_order(case: Case) -> None:
    payment(case, order_no="x")
    case.key = "payment/M-0001/x/0001"


def signed_by_other(case: Case) -> None:
    stranger = World(case.world.folder, KeySigner.generate(), case.world.bank_signer)
    case.payment = stranger.payment(case.world.intent(1))


def signature_of_other(case: Case) -> None:
    head, body, _ = case.payment.intent.split(".")
    other = case.world.payment(case.world.intent(2)).intent.split(".")[2]
    case.payment = replace(case.payment, intent=f"{head}.{body}.{other}")


def algorithm_confused(case: Case) -> None:
    record = key_record(case.world.merchant_signer)
    keys = {case.world.merchant_signer.key_id: replace(record, algorithm="ES256")}
    case.records[0] = case.world.merchant(keys=keys)


ROWS: dict[str, tuple[Callable[[Case], object], Code]] = {
    "another key": (lambda c: setattr(c, "key", "payment/M-0001/x/0001"), Code.MALFORMED),
    "no JWS": (lambda c: payment(c, intent="x"), Code.MALFORMED),
    "a card number": (
        lambda c: intent(c, acquirers=(Route("unionpay", CODE, "4111111111111111"),)),
        Code.CARD_DATA_REFUSED,
    ),
    "another network": (lambda c: intent(c, network="other-net"), Code.NETWORK_MISMATCH),
    "another amount": (lambda c: payment(c, amount=1), Code.INTENT_MISMATCH),
    "another currency": (lambda c: payment(c, currency="USD"), Code.INTENT_MISMATCH),
    "another expiry": (
        lambda c: payment(c, expires_at="2099-01-01T00:00:00.000Z"), Code.INTENT_MISMATCH
    ),
    "another digest": (lambda c: payment(c, intent_digest="0" * 64), Code.INTENT_MISMATCH),
    "another order": (another_order, Code.INTENT_MISMATCH),
    "not named": (
        lambda c: intent(c, acquirers=(Route("qr", CODE, "tok"),)), Code.ACQUIRER_NOT_ACCEPTABLE
    ),
    "another route": (lambda c: payment(c, acquirer_id="qr"), Code.ACQUIRER_NOT_ACCEPTABLE),
    "another code": (lambda c: payment(c, merchant_code="1"), Code.MERCHANT_CODE_MISMATCH),
    "no acquirer": (lambda c: c.records.pop(1) and None, Code.ACQUIRER_UNKNOWN),
    "acquirer suspended": (lambda c: acquirer(c, status="suspended"), Code.ACQUIRER_INACTIVE),
    "licence ended": (
        lambda c: acquirer(c, licence_valid_until="2020-01-01"), Code.ACQUIRER_INACTIVE
    ),
    "currency": (lambda c: acquirer(c, currencies=["USD"]), Code.CURRENCY_NOT_ACCEPTED),
    "no merchant": (lambda c: c.records.pop(0) and None, Code.MERCHANT_UNKNOWN),
    "merchant suspended": (lambda c: merchant(c, status="suspended"), Code.MERCHANT_INACTIVE),
    "key not registered": (signed_by_other, Code.KEY_UNKNOWN),
    "key revoked": (
        lambda c: merchant(c, keys={c.world.merchant_signer.key_id:
                                    key_record(c.world.merchant_signer, "revoked")}),
        Code.KEY_REVOKED,
    ),
    "signature": (signature_of_other, Code.SIGNATURE_INVALID),
    "algorithm": (algorithm_confused, Code.SIGNATURE_INVALID),
    "code not in the merchant's record": (
        lambda c: merchant(c, codes={"unionpay": []}), Code.MERCHANT_CODE_MISMATCH
    ),
    "code not in the index": (lambda c: c.records.pop(2) and None, Code.MERCHANT_CODE_MISMATCH),
    "code of another": (
        lambda c: c.records.__setitem__(2, replace(OWNER, merchant_id="M-2")),
        Code.MERCHANT_CODE_MISMATCH,
    ),
    "expired": (lambda c: setattr(c, "now", "2098-01-01T00:00:00.000Z"), Code.EXPIRED),
}  # fmt: skip


def test_a_good_request_passes(tmp_path: Path) -> None:
    case = good(tmp_path)
    assert ask(case).key == case.payment.key


@pytest.mark.parametrize("name", ROWS)
def test_a_reason_not_to_forward(tmp_path: Path, name: str) -> None:
    case = good(tmp_path)
    change, code = ROWS[name]
    change(case)
    with pytest.raises(Refusal) as caught:
        ask(case)
    assert caught.value.code is code


def test_a_record_that_is_deleted_or_broken_is_gone(tmp_path: Path) -> None:
    case = good(tmp_path)
    key, value = record_of(case.world.merchant())
    projection = Projection()
    projection.load([(key, value)])
    assert projection.merchant("M-0001") is not None
    assert not projection.apply(Write("clearline", key, b"{}", False))
    assert projection.merchant("M-0001") is None
    assert projection.apply(Write("clearline", key, value, False))
    assert projection.apply(Write("clearline", key, b"", True))
    assert projection.merchant("M-0001") is None
    assert not projection.apply(Write("clearline", "payment/M/O/0001", b"{}", False))


@dataclass
class Blocks:
    """A peer with `height` blocks; it is away for the first `away` questions."""

    height: int
    away: int = 0
    asked: int = 0

    async def block_events(self, start: Start) -> AsyncGenerator[Block, None]:
        self.asked += 1
        assert start.block is not None
        assert start.block == start.stop
        if self.asked <= self.away:
            raise _broken(grpc.StatusCode.UNAVAILABLE)
        if start.block >= self.height:
            raise _broken(grpc.StatusCode.NOT_FOUND)
        yield Block(start.block, b"", b"", b"", b"", ())


def _broken(code: grpc.StatusCode) -> EventsError:
    return EventsError("Deliver", "", "not_applied", GrpcFailure(code, ""))


@pytest.mark.parametrize("height", [0, 1, 2, 3, 4, 5, 8, 9, 1000, 1023, 1024, 1025])
def test_the_newest_block_is_found(height: int) -> None:
    blocks = Blocks(height)
    assert asyncio.run(find_tip(blocks)) == height - 1
    assert blocks.asked <= 24


def test_a_peer_that_is_away_is_asked_again() -> None:
    assert asyncio.run(find_tip(Blocks(5, away=1))) == 4
