"""What an answer must prove before money counts as given back, and how a refund is followed."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from merchant_world import World, sign_result
from samples import INTENT, REFUND, REFUND_REPORT

from clearline import intents, jws, refunds, reports, times, webhooks
from clearline.answers import RefundAnswer
from clearline.jws import KeySigner, PublicKey
from clearline.refunds import RefundKey
from clearline.statuses import Reason, ReportKind, Status
from clearline.webhooks import Event, EventType
from merchant import inbox, profile
from merchant.attempts import Change, NewIntent, OrderStatus
from merchant.client import RefundAnswered, RefundReply, Refused, Unreachable
from merchant.inbox import Kind
from merchant.orderbook import OrderBook
from merchant.orders import intent_for
from merchant.profile import Pins
from merchant.refundbook import BookedRefund, RefundChange, RefundStatus
from merchant.refunding import Couriers, follow
from merchant.rota import Rota
from merchant.verify import Dispute, DisputedError, Pending, Proven
from merchant.verify_refunds import Refunding, verify_refund

BANK, STRANGER = KeySigner.generate(), KeySigner.generate()


def _own_key(signer: KeySigner) -> MappingProxyType[str, PublicKey]:
    return MappingProxyType({signer.key_id: jws.public_key(signer.jwk, signer.algorithm)})


PINS = Pins(
    MappingProxyType({"unionpay": _own_key(BANK), "other": _own_key(STRANGER)}), frozenset()
)
ASKED = Refunding(REFUND.key, {REFUND.digest(): REFUND}, INTENT, "unionpay")


def said(signer: KeySigner = BANK, **changes: Any) -> str:
    return reports.sign(replace(REFUND_REPORT, **changes), signer)


def answer(status: Status = Status.SUCCEEDED, **changes: Any) -> RefundAnswer:
    honest = RefundAnswer(
        *REFUND.key, status.value, status.final, REFUND.amount, REFUND.currency, "unionpay",
        REFUND.digest(), result=said(status=status) if status.final else None, tx_id="ab" * 32,
        block_number=7,
    )  # fmt: skip
    return replace(honest, **changes)


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.DECLINED])
def test_an_end_is_proven_by_the_banks_signature(status: Status) -> None:
    verdict = verify_refund(answer(status), ASKED, PINS)
    assert isinstance(verdict, Proven) and verdict.status is status


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.REQUESTED, Status.UNKNOWN])
def test_what_has_not_ended_proves_nothing(status: Status) -> None:
    assert verify_refund(answer(status), ASKED, PINS) == Pending(status)


PAYMENTS_RESULT = sign_result(INTENT, BANK)
LIES: list[tuple[dict[str, Any], Dispute]] = [
    ({"attempt": "1"}, Dispute.ANSWER_MALFORMED),
    ({"refund_no": True}, Dispute.ANSWER_MALFORMED),
    ({"status": "closed", "result": None}, Dispute.ANSWER_MALFORMED),
    ({"refund_no": 2}, Dispute.ANSWER_FOR_OTHER_PAYMENT),
    ({"order_no": "other"}, Dispute.ANSWER_FOR_OTHER_PAYMENT),
    ({"intent_digest": "0" * 64}, Dispute.ANSWER_FOR_OTHER_INTENT),
    ({"amount": 999}, Dispute.ANSWER_FOR_OTHER_AMOUNT),
    ({"final": False}, Dispute.FINAL_FLAG_WRONG),
    ({"status": "requested", "final": False}, Dispute.RESULT_TOO_EARLY),
    ({"result": None}, Dispute.RESULT_MISSING),
    ({"result": PAYMENTS_RESULT}, Dispute.RESULT_MALFORMED),  # the payment's own result is none
    ({"result": said(STRANGER)}, Dispute.KEY_UNKNOWN),
    ({"result": said(STRANGER, acquirer_id="other")}, Dispute.ACQUIRER_NOT_ASKED),
    ({"result": said(kind=ReportKind.UNKNOWN, status=Status.UNKNOWN)}, Dispute.NOT_A_RESULT),
    ({"result": said(network="other")}, Dispute.RESULT_FOR_OTHER_NETWORK),
    ({"result": said(refund_no=2)}, Dispute.RESULT_FOR_OTHER_PAYMENT),
    ({"result": said(intent_digest="0" * 64)}, Dispute.RESULT_FOR_OTHER_INTENT),
    ({"result": said(amount=999)}, Dispute.RESULT_FOR_OTHER_AMOUNT),
    ({"result": said(merchant_code="OTHER")}, Dispute.RESULT_FOR_OTHER_MERCHANT_CODE),
    ({"result": said(status=Status.DECLINED)}, Dispute.STATUS_MISMATCH),
    ({"tx_id": None}, Dispute.EVIDENCE_MISSING),
]


@pytest.mark.parametrize(("changes", "code"), LIES)
def test_a_lie_is_disputed(changes: dict[str, Any], code: Dispute) -> None:
    with pytest.raises(DisputedError) as error:
        verify_refund(replace(answer(), **changes), ASKED, PINS)
    assert error.value.code is code


@dataclass
class Scripted:
    """Gateways that reply what a test lists, one after the other; `posted` is what they got."""

    replies: list[RefundReply]
    found: list[RefundReply] = field(default_factory=list)
    posted: list[tuple[int, str]] = field(default_factory=list)

    def post_refund(self, gateway: int, key: RefundKey, compact: str, wait: int) -> RefundReply:
        self.posted.append((gateway, compact))
        return self.replies.pop(0)

    def get_refund(self, gateway: int, key: RefundKey, wait: int) -> RefundReply:
        return self.found.pop(0)


def test_a_gateway_that_does_not_wait_is_asked_once_a_second() -> None:
    """Else one that answers at once is asked, and its answers written, as fast as it can."""
    api = Scripted([REQUESTED] * 60, [])
    assert followed(api, lambda change: None) is None
    assert 0 <= len(api.replies) <= 1


def followed(api: Scripted, moved: Callable[[RefundChange], None]) -> RefundChange | None:
    clock = [0.0]

    def pause(seconds: float) -> None:
        clock[0] += seconds

    couriers = Couriers(api, ("https://a", "https://b"), Rota(2, lambda: clock[0]))
    return follow("a.b.c", ASKED, couriers, PINS, moved, 60.0, lambda: clock[0], pause)


EXPIRED = Refused("expired", "late", 422)
CONFLICT = Refused("conflict", "another", 422)
REQUESTED, DONE = (RefundAnswered(answer(s), "") for s in (Status.REQUESTED, Status.SUCCEEDED))
WAYS: list[tuple[str, Sequence[RefundReply], Sequence[RefundReply], RefundStatus, str]] = [
    ("at once", [DONE], [], RefundStatus.SUCCEEDED, "approved"),
    ("after lost answers", [Unreachable("cut"), REQUESTED, Unreachable("cut"), DONE], [],
     RefundStatus.SUCCEEDED, "approved"),
    ("one gateway refuses", [EXPIRED, DONE], [], RefundStatus.SUCCEEDED, "approved"),
    ("all say it expired", [EXPIRED, EXPIRED], [], RefundStatus.LAPSED, "expired"),
    ("all refuse", [EXPIRED, Refused("not_refundable", "", 409)], [], RefundStatus.REFUSED,
     "not_refundable"),
    ("an earlier text of it is there", [CONFLICT], [DONE], RefundStatus.SUCCEEDED, "approved"),
    ("somebody else's is there", [CONFLICT],
     [RefundAnswered(answer(intent_digest="0" * 64), "")], RefundStatus.DISPUTED,
     "answer_for_other_intent"),
    ("a lie", [RefundAnswered(answer(amount=1), "")], [], RefundStatus.DISPUTED,
     "answer_for_other_amount"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "replies", "found", "status", "code"), WAYS)
def test_the_same_bytes_go_round_until_the_end_is_known(
    name: str,
    replies: Sequence[RefundReply],
    found: Sequence[RefundReply],
    status: RefundStatus,
    code: str,
) -> None:
    api = Scripted(list(replies), list(found))
    change = followed(api, lambda change: None)
    assert change is not None
    assert (change.status, change.code) == (status, code)
    assert {compact for _, compact in api.posted} == {"a.b.c"}
    assert api.replies == [] and api.found == []


@pytest.fixture
def booked(world: World) -> tuple[World, BookedRefund, str]:
    """A paid order A-1 in the book and a refund of it, stored; and the bank's word on it."""
    world.orders("A-1")
    settings = profile.load(world.home)
    with closing(OrderBook(world.home / "orders.db", "clearline-dev", settings.merchant_id)) as b:
        state = next(iter(b.states()))
        intent = intent_for(state.order, 1, settings, times.now())
        compact = intents.sign(intent, world.signer)
        b.store([NewIntent("A-1", 1, intent.digest(), compact, intent.expires_at)])
        result = sign_result(intent, world.bank)
        b.record([Change("A-1", 1, OrderStatus.PAID, "https://a", "approved", result=result)])
        now = times.now()
        wish = replace(
            REFUND, merchant_id=settings.merchant_id, order_no="A-1", amount=100,
            currency=intent.currency, created=now, expires_at=times.after(now, 60),
        )  # fmt: skip
        refund = b.refunds.store(wish, refunds.sign(wish, world.signer))
        again = b.refunds.store(wish, "another.text.of-it")
        assert again.compact == refund.compact
    report = replace(
        REFUND_REPORT, merchant_id=settings.merchant_id, order_no="A-1", amount=100,
        currency=intent.currency, intent_digest=wish.digest(), refund_no=1,
        acquirer_reference=refunds.reference(wish.key, wish.network), merchant_code=None,
    )  # fmt: skip
    return world, refund, reports.sign(report, world.bank)


def event_of(refund: BookedRefund, result: str | None, **changes: Any) -> Event:
    wish = refund.intent
    status = Status.SUCCEEDED if result else Status.REQUESTED
    told = RefundAnswer(
        *wish.key, status.value, status.final, wish.amount, wish.currency, "unionpay",
        wish.digest(), result=result, tx_id="cd" * 32, block_number=9,
    )  # fmt: skip
    told = replace(told, **changes)
    return Event(EventType.of_refund(Status(told.status)), "2026-11-23T08:00:00.000Z", told)


def taken(world: World, event: Event) -> Kind:
    settings = profile.load(world.home)
    name = webhooks.event_id(settings.network, str(event.data.tx_id), event.data.key)
    delivery = inbox.read(name, event.to_bytes(), settings, "https://a")
    with closing(OrderBook(world.home / "orders.db", "clearline-dev", settings.merchant_id)) as b:
        (found,) = inbox.take(b, settings, [delivery])
    return found.kind


def standing(world: World) -> RefundStatus:
    path: Path = world.home / "orders.db"
    with closing(OrderBook(path, "clearline-dev", profile.load(world.home).merchant_id)) as b:
        (refund,) = b.refunds.of("A-1")
        given = b.refunds.given_back()
    assert given == ({"A-1": 100} if refund.status is RefundStatus.SUCCEEDED else {})
    return refund.status


def test_a_webhook_counts_by_the_bank_s_signature_only(
    booked: tuple[World, BookedRefund, str],
) -> None:
    world, refund, result = booked
    lie = event_of(refund, reports.sign(reports.parse_refund(result).report, STRANGER))
    assert (taken(world, lie), standing(world)) == (Kind.DISPUTED, RefundStatus.DISPUTED)
    honest = event_of(refund, result)
    assert (taken(world, honest), standing(world)) == (Kind.STORED, RefundStatus.SUCCEEDED)
    assert (taken(world, honest), standing(world)) == (Kind.KNOWN, RefundStatus.SUCCEEDED)
    older = event_of(refund, None, block_number=8, tx_id="ef" * 32)
    assert (taken(world, older), standing(world)) == (Kind.STORED, RefundStatus.SUCCEEDED)
    elsewhere = event_of(refund, result, refund_no=2, tx_id="12" * 32)
    assert taken(world, elsewhere) is Kind.NOT_HERE


def test_two_ends_that_the_bank_signed_are_an_equivocation(
    booked: tuple[World, BookedRefund, str],
) -> None:
    world, refund, result = booked
    assert taken(world, event_of(refund, result)) is Kind.STORED
    report = reports.parse_refund(result).report
    other = replace(report, status=Status.DECLINED, reason=Reason.NOT_PERMITTED)
    second = event_of(refund, reports.sign(other, world.bank), status="declined", tx_id="34" * 32)
    taken(world, second)
    assert standing(world) is RefundStatus.DISPUTED
