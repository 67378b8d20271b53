"""The connector between a fake ledger and the real acquirer, over real sockets."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from benches import unionpay
from fake_ledger import FakeLedger, Stored
from helpers_connector import (
    PATIENT,
    PLACE,
    World,
    agree,
    connected,
    key_record,
    record_of,
    until,
)

from acquirers.unionpay_iso8583.sandbox import TOKENS, Answering
from clearline import jws, reports, times
from clearline.intents import PaymentKey
from clearline.jws import KeySigner
from clearline.reports import acquirer_reference
from clearline.statuses import Reason, Status
from connector.database import DatabaseError
from connector.service import Connector

REASONS = {
    "05": Reason.DO_NOT_HONOR, "14": Reason.INVALID_CARD, "41": Reason.LOST_CARD,
    "43": Reason.STOLEN_CARD, "51": Reason.INSUFFICIENT_FUNDS, "54": Reason.EXPIRED_CARD,
    "55": Reason.INCORRECT_PIN, "57": Reason.NOT_PERMITTED, "59": Reason.SUSPECTED_FRAUD,
    "61": Reason.LIMIT_EXCEEDED, "62": Reason.RESTRICTED_CARD, "91": Reason.ISSUER_UNAVAILABLE,
    "96": Reason.SYSTEM_MALFUNCTION,
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path)


def statuses(ledger: FakeLedger, key: PaymentKey) -> list[str]:
    """What was reported, in order."""
    return [entry[2] for entry in ledger.payment(key).reports]


def late_note(world: World, key: PaymentKey) -> str:
    """What the outbox keeps of a late answer."""
    path = world.folder / "connector" / "outbox.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        reference = acquirer_reference(key, PLACE.network)
        return str(db.execute("SELECT late FROM entry WHERE reference = ?",
                              (reference,)).fetchone()[0])  # fmt: skip


def test_every_token_ends_as_its_table_says(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        intents = {name: world.intent(n, name) for n, name in enumerate(sorted(TOKENS))}
        async with unionpay(world.folder), connected(world.parts(ledger, world.adapter())):
            keys = world.request(ledger, *intents.values())
            await ledger.until_final(keys)
        for name, intent in intents.items():
            code, answering = TOKENS[name].code, TOKENS[name].answering
            payment = ledger.payment(intent.key)
            said = (statuses(ledger, intent.key), payment.reason)
            if answering in (Answering.NEVER, Answering.LATE):
                assert said == (["unknown", "closed"], Reason.REVERSED), name
            elif code == "00":
                assert said == (["succeeded"], Reason.APPROVED), name
            else:
                assert said == (["declined"], REASONS[code]), name
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


def test_the_result_says_all_that_the_acquirer_said(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder), connected(world.parts(ledger, world.adapter())):
            (key,) = world.request(ledger, world.intent(1))
            await ledger.until_final([key])
        report = reports.parse(ledger.payment(key).result).report
        assert report.acquirer_reference == acquirer_reference(key, PLACE.network)
        assert (report.amount, report.currency) == (2933, "CNY")
        assert report.merchant_name == "SANDBOX MERCHANT 990001"
        assert (report.merchant_code, report.mcc) == ("898310148990001", "5411")
        assert report.payer_token == "tok_approve"
        assert report.clearing_route == "UPOP-SANDBOX"
        assert report.clearing_date == world.book()[report.acquirer_reference].clearing_date
        assert report.forwarded_at and report.answered_at and report.ended_at
        assert report.forwarded_at <= report.answered_at <= report.ended_at
        assert report.native_digest is not None
        ledger.close()

    asyncio.run(run())


def test_requests_flow_in_batches(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with (
            unionpay(world.folder),
            connected(world.parts(ledger, world.adapter(PATIENT))),
        ):
            keys: list[PaymentKey] = []
            for start in range(0, 400, 100):
                batch = [world.intent(n) for n in range(start, start + 100)]
                keys += world.request(ledger, *batch)
            await ledger.until_final(keys)
        assert {payment.status for payment in ledger.payments()} == {"succeeded"}
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


def test_a_late_approval_does_not_undo_the_reversal(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder), connected(world.parts(ledger, world.adapter())) as task:
            (key,) = world.request(ledger, world.intent(1, "tok_late"))
            await ledger.until_final([key])
            unknown = reports.parse(ledger.submitted[0]).report
            assert (unknown.status, unknown.reason) == (Status.UNKNOWN, Reason.TIMED_OUT)
            await until(lambda: bool(late_note(world, key)))
            assert not task.done()
        assert statuses(ledger, key) == ["unknown", "closed"]
        booked = world.booked(key)
        assert booked is not None
        assert (booked.charges, booked.reversals) == (1, 1)
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


def test_what_the_ledger_should_not_have_taken_is_not_forwarded(world: World) -> None:
    other = KeySigner.generate()
    past = "2026-01-01T00:00:00.000Z"
    good = [world.intent(number) for number in range(9)]
    expired = world.intent(10)
    expired = replace(expired, created=past, expires_at="2026-01-01T01:00:00.000Z")
    forged = world.payment(good[1])
    bad = [
        world.payment(good[1], amount=1),
        world.payment(good[2], intent_digest="0" * 64),
        world.payment(good[3], merchant_code="898310148990002"),
        world.payment(good[4], intent=forged.intent),
        world.payment(good[5], intent="a.b.c"),
        world.payment(expired),
    ]
    stranger = World(world.folder, other, world.bank_signer)
    bad.append(stranger.payment(good[6]))

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder), connected(world.parts(ledger, world.adapter())):
            ledger.append(Stored(0, tuple(record_of(item) for item in bad)))
            ledger.append(Stored(11, (record_of(world.payment(good[7])),)))  # not VALID
            foreign = world.payment(good[8], acquirer_id="other")
            ledger.append(Stored(0, (record_of(foreign),)))
            (last,) = world.request(ledger, world.intent(99))
            await ledger.until_final([last, *(item.key for item in bad)])
        for item in bad:
            payment = ledger.payment(item.key)
            if item.key == expired.key:
                assert (payment.status, payment.reason) == ("expired", "expired")
            else:
                assert (payment.status, payment.reason) == ("declined", "refused_by_connector")
        assert set(world.book()) == {acquirer_reference(last, PLACE.network)}
        assert ledger.payment(good[8].key).status == "requested"
        ledger.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "change",
    [
        {"merchant": {"status": "suspended"}},
        {"merchant": {"codes": {"unionpay": ["898310148990009"]}}},
        {"acquirer": {"status": "suspended"}},
        {"acquirer": {"licence_valid_until": "2020-01-01"}},
        {"acquirer": {"currencies": ["USD"]}},
        {"revoked": {}},
    ],
    ids=["merchant suspended", "code taken away", "acquirer suspended", "licence ended",
         "currency", "key revoked"],
)  # fmt: skip
def test_records_on_the_ledger_decide(world: World, change: dict[str, dict[str, object]]) -> None:
    merchant = world.merchant(**change.get("merchant", {}))
    if "revoked" in change:
        keys = {world.merchant_signer.key_id: key_record(world.merchant_signer, "revoked")}
        merchant = world.merchant(keys=keys)
    acquirer = world.acquirer(**change.get("acquirer", {}))

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder), connected(world.parts(ledger, world.adapter())):
            (before,) = world.request(ledger, world.intent(1))
            await ledger.until_final([before])
            ledger.append(Stored(0, (record_of(merchant), record_of(acquirer))))
            (after,) = world.request(ledger, world.intent(2))
            await ledger.until_final([after])
        assert ledger.payment(before).status == "succeeded"
        assert ledger.payment(after).status == "declined"
        assert len(world.book()) == 1
        ledger.close()

    asyncio.run(run())


def test_nothing_is_forwarded_while_our_key_is_not_on_the_ledger(world: World) -> None:
    new = KeySigner.generate()

    async def run() -> None:
        ledger = FakeLedger(world.folder / "ledger.db", jws.public_key(new.jwk, new.algorithm))
        ledger.append(world.registered())
        async with (
            unionpay(world.folder),
            connected(world.parts(ledger, world.adapter(), signer=new)),
        ):
            (key,) = world.request(ledger, world.intent(1))
            await until((world.folder / "ready").exists)
            await asyncio.sleep(0.3)  # time enough to forward, were it allowed
            assert world.book() == {}
            keys = {**world.acquirer().keys, new.key_id: key_record(new)}
            ledger.append(Stored(0, (record_of(world.acquirer(keys=keys)),)))
            await ledger.until_final([key])
        assert ledger.payment(key).status == "succeeded"
        ledger.close()

    asyncio.run(run())


def test_an_acquirer_that_is_away_is_waited_for_and_expiry_ends_it(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder):
            pass  # it made its folder, and is gone
        async with connected(world.parts(ledger, world.adapter())):
            short = replace(world.intent(1), expires_at=times.after(times.now(), 1))
            keys = world.request(ledger, short, world.intent(2))
            await ledger.until_final(keys[:1])
            async with unionpay(world.folder):
                await ledger.until_final(keys)
        assert ledger.payment(keys[0]).status == "expired"
        assert ledger.payment(keys[1]).status == "succeeded"
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


def test_a_connection_lost_in_the_middle_is_reversed(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder):
            pass  # it made its folder
        async with connected(world.parts(ledger, world.adapter())):
            async with unionpay(world.folder):
                (key,) = world.request(ledger, world.intent(1, "tok_timeout_charged"))
                await until(lambda: world.booked(key) is not None)
            await ledger.until_status(key, Status.UNKNOWN)
            assert ledger.payment(key).reason == Reason.CONNECTION_LOST
            async with unionpay(world.folder):
                await ledger.until_final([key])
        assert statuses(ledger, key) == ["unknown", "closed"]
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


def test_an_outbox_that_lost_its_memory_sends_nothing_again(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder):
            parts = world.parts(ledger, world.adapter())
            async with connected(parts):
                done = world.request(ledger, *(world.intent(n) for n in range(5)))
                await ledger.until_final(done)
            parts.outbox.unlink()
            waiting = world.request(ledger, *(world.intent(n) for n in range(5, 8)))
            async with connected(world.parts(ledger, world.adapter())):
                await ledger.until_final(waiting)
                fresh = world.request(ledger, world.intent(8))
                await ledger.until_final(fresh)
        assert {ledger.payment(key).status for key in done} == {"succeeded"}
        # They may have been sent by the self that is forgotten: reversed, not sent.
        assert {ledger.payment(key).status for key in waiting} == {"closed"}
        assert ledger.payment(fresh[0]).status == "succeeded"
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


def test_stopping_ends_what_is_in_flight(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder):
            async with connected(world.parts(ledger, world.adapter())):
                (key,) = world.request(ledger, world.intent(1, "tok_slow"))
                await until(lambda: world.booked(key) is not None)
            assert ledger.payment(key).status == "succeeded"
            assert not (world.folder / "ready").exists()
            (later,) = world.request(ledger, world.intent(2))
            async with connected(world.parts(ledger, world.adapter())):
                await ledger.until_final([later])
        assert ledger.payment(later).status == "succeeded"
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


def test_an_outbox_has_one_connector_and_one_acquirer(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder):
            parts = world.parts(ledger, world.adapter())
            async with connected(parts):
                await until((world.folder / "ready").exists)
                with pytest.raises(DatabaseError, match="in use"):
                    await Connector(parts).run(asyncio.Event())
            place = type(PLACE)(PLACE.network, "another")
            strange = world.parts(ledger, world.adapter(), place=place)
            with pytest.raises(DatabaseError, match="acquirer_id unionpay, not another"):
                await Connector(strange).run(asyncio.Event())
        ledger.close()

    asyncio.run(run())
