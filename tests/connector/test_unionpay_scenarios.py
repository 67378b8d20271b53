"""UnionPay's own: its tokens, what its results say, late answers, a connection that is lost."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from benches import unionpay
from helpers_connector import PATIENT, PLACE, World, agree, connected, until
from scenarios import statuses

from acquirers.unionpay_iso8583.sandbox import TOKENS, Answering
from clearline import reports
from clearline.intents import PaymentKey
from clearline.reports import acquirer_reference
from clearline.statuses import Reason, Status

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
