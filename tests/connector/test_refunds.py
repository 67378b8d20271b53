"""Refunds at both acquirers: carried out once whatever is lost, told as the acquirer said it."""

import asyncio
import signal
import sqlite3
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from benches import BENCHES, UNIONPAY, WALLET, Bench, unionpay, wallet
from fake_ledger import FakeLedger, Stored
from helpers_connector import World, child_dying, connected, ended, soon, until
from scenarios import Scenario, play

from chaincode.contract.context import Role
from clearline import records, refunds, reports, times
from clearline.intents import PaymentKey
from clearline.refunds import Refund, RefundIntent, RefundKey, refund_key
from clearline.reports import acquirer_reference
from clearline.statuses import Reason
from connector import outbox, refunding
from connector.adapter import Adapter, Answer, NotSentError, Order
from connector.database import Database
from connector.entries import Entry
from connector.memory import leave_amnesia, remember_amnesia, take_over
from connector.outbox import SCHEMA
from connector.projection import Projection
from connector.states import Phase

both = pytest.mark.parametrize("bench", BENCHES.values(), ids=lambda bench: str(bench.acquirer_id))
# Payer, and by acquirer the statuses that are reported of a refund to it.
ENDS: dict[str, list[tuple[str, list[str], Reason]]] = {
    "unionpay": [
        ("tok_approve", ["succeeded"], Reason.APPROVED),
        ("tok_refund_declined", ["declined"], Reason.NOT_PERMITTED),
        ("tok_refund_lost", ["unknown", "succeeded"], Reason.APPROVED),
        ("tok_refund_unanswered", ["unknown", "succeeded"], Reason.APPROVED),
    ],
    "qr_wallet": [
        ("tok_approve", ["succeeded"], Reason.APPROVED),
        ("tok_refund_slow", ["accepted", "succeeded"], Reason.APPROVED),
        ("tok_refund_declined", ["declined"], Reason.NOT_PERMITTED),
        ("tok_refund_lost", ["unknown", "succeeded"], Reason.APPROVED),
        ("tok_refund_unanswered", ["unknown", "succeeded"], Reason.APPROVED),
    ],
}


def told(ledger: FakeLedger, key: RefundKey) -> list[str]:
    return [entry[2] for entry in ledger.refund(key).reports]


async def paid(world: World, ledger: FakeLedger, *tokens: str) -> list[PaymentKey]:
    wishes = [world.intent(number, token) for number, token in enumerate(tokens)]
    keys = world.request(ledger, *wishes)
    await ledger.until_final(keys)
    assert {ledger.payment(key).status for key in keys} == {"succeeded"}
    return keys


@both
def test_every_kind_of_refund_ends_as_its_table_says(tmp_path: Path, bench: Bench) -> None:
    ends = ENDS[bench.acquirer_id]

    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
            keys = await paid(world, ledger, *(token for token, *_ in ends))
            asked = [world.refund(ledger, key, 1000) for key in keys]
            await ledger.until_refunded(asked)
        for key, (token, statuses, reason) in zip(asked, ends, strict=True):
            refund = ledger.refund(key)
            assert (told(ledger, key), refund.reason) == (statuses, reason), token
            report = reports.parse_refund(refund.result).report
            assert report.acquirer_reference == refunds.reference(key, report.network)
            assert report.refund_key == key
            if refund.status == "succeeded":
                assert refund.clearing_date == report.clearing_date
                assert report.clearing_date and report.clearing_route and report.merchant_name
                assert report.merchant_code == bench.merchant_code
        booked = bench.refunds(world.folder)
        assert len(booked) == len(ends)
        if bench is UNIONPAY:  # the wallet's repeats are the same request again
            assert all(item.requests_seen == 1 for item in booked.values())

    play(World.make(tmp_path, bench), scenario)


@both
def test_parts_of_a_payment_until_nothing_is_left(tmp_path: Path, bench: Bench) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
            (key,) = await paid(world, ledger, "tok_approve")
            for number, amount in enumerate((1000, 1, 1932), 1):
                asked = world.refund(ledger, key, amount, number)
                await ledger.until_refunded([asked])
                assert ledger.refund(asked).status == "succeeded"
        assert ledger.payment(key).refunded_amount == 2933

    play(World.make(tmp_path, bench), scenario)


@both
def test_the_acquirers_own_book_gives_back_no_more_than_was_paid(
    tmp_path: Path, bench: Bench
) -> None:
    """Two lying banks may put any refund on the ledger: the acquirer's book is the last fence."""

    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
            (key,) = await paid(world, ledger, "tok_approve")
            asked = forged(world, ledger, key, signed=2934, recorded=2934)
            await ledger.until_refunded([asked])
        assert (told(ledger, asked), ledger.refund(asked).reason) == (
            ["declined"],
            Reason.INVALID_AMOUNT,
        )

    play(World.make(tmp_path, bench), scenario)


def forged(
    world: World, ledger: FakeLedger, key: PaymentKey, signed: int, recorded: int
) -> RefundKey:
    """A refund on the ledger that the contract would not have taken: the merchant signed one
    amount, the record says one."""
    asked, record = refund_of(world, key, signed, recorded)
    ledger.append(Stored(0, ((refund_key(asked), records.dump(record)),)))
    return asked


def refund_of(
    world: World, key: PaymentKey, signed: int, recorded: int
) -> tuple[RefundKey, Refund]:
    now, network = times.now(), world.place.network
    intent = RefundIntent(network, *key, 1, signed, "CNY", now, times.after(now, 3600))
    record = Refund(
        *intent.key, "requested", world.bench.acquirer_id, world.bench.merchant_code, recorded,
        "CNY", refunds.sign(intent, world.merchant_signer), intent.digest(), intent.expires_at,
        "BankOne", now, txs=["tx"],
    )  # fmt: skip
    return intent.key, record


@both
def test_a_refund_that_the_merchant_did_not_sign_is_never_sent(
    tmp_path: Path, bench: Bench
) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
            (key,) = await paid(world, ledger, "tok_approve")
            asked = forged(world, ledger, key, signed=1000, recorded=2000)
            await ledger.until_refunded([asked])
        assert bench.refunds(world.folder) == {}
        assert told(ledger, asked) == ["declined"]
        assert ledger.refund(asked).reason == Reason.REFUSED_BY_CONNECTOR

    play(World.make(tmp_path, bench), scenario)


# At this point, with this payer: carried out once in the end, whatever the killed one had done.
KILLS = [
    (bench, point, token)
    for bench in (UNIONPAY, WALLET)
    for point, token in (
        ("before a refund is sent", "tok_approve"),
        ("before a refund's answer is stored", "tok_approve"),
    )
]


@pytest.mark.parametrize(("bench", "point", "token"), KILLS)
def test_killed_at(tmp_path: Path, bench: Bench, point: str, token: str) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with bench.serve(world.folder):
            async with connected(world.parts(ledger, world.adapter())):
                (key,) = await paid(world, ledger, token)
            asked = world.refund(ledger, key, 2933)
            assert await ended(await child_dying(world, point)) == -signal.SIGKILL
            async with connected(world.parts(ledger, world.adapter())):
                await ledger.until_refunded([asked])
        assert told(ledger, asked) == ["unknown", "succeeded"]
        if bench is UNIONPAY:
            (item,) = bench.refunds(world.folder).values()
            assert item.requests_seen == (0 if point == "before a refund is sent" else 1)

    play(World.make(tmp_path, bench), scenario)


@both
def test_a_lost_outbox_gives_nothing_back_twice(tmp_path: Path, bench: Bench) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with bench.serve(world.folder):
            parts = world.parts(ledger, world.adapter())
            async with connected(parts):
                done, other = await paid(world, ledger, "tok_approve", "tok_approve")
                first = world.refund(ledger, done, 1000)
                await ledger.until_refunded([first])
            second = world.refund(ledger, other, 500)
            for path in parts.outbox.parent.glob("outbox.db*"):
                path.unlink()
            async with connected(world.parts(ledger, world.adapter())):
                await ledger.until_refunded([second])
        assert told(ledger, first) == ["succeeded"]
        assert told(ledger, second)[-1] == "succeeded"

    play(World.make(tmp_path, bench), scenario)


def test_a_refund_that_expires_unsent_is_declined_and_the_next_is_taken(tmp_path: Path) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with unionpay(world.folder), connected(world.parts(ledger, world.adapter())):
            (key,) = await paid(world, ledger, "tok_approve")
        now = times.now()
        short = RefundIntent(world.place.network, *key, 1, 10, "CNY", now, times.after(now, 1))
        item = {"intent": refunds.sign(short, world.merchant_signer)}
        (outcome,) = ledger.call("SubmitIntents", [item], Role.GATEWAY)
        assert outcome.code.taken, outcome
        async with connected(world.parts(ledger, world.adapter())):
            await ledger.until_refunded([short.key])
            async with unionpay(world.folder):
                second = world.refund(ledger, key, 2933, 2)
                await ledger.until_refunded([second])
        assert ledger.refund(short.key).reason == Reason.EXPIRED
        assert told(ledger, short.key) == ["declined"]
        assert told(ledger, second) == ["succeeded"]

    play(World.make(tmp_path), scenario)


@dataclass
class NoReversal:
    """The real adapter; its reversals are never sent."""

    inner: Adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        raise NotSentError("held back")


def test_a_late_success_is_given_back_by_a_refund(tmp_path: Path) -> None:
    """The bank's own reversal fails on and on: the merchant's refund resolves the exception, and
    the connector gives up its reversal."""

    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder):
            parts = world.parts(ledger, cast(Adapter, NoReversal(world.adapter())))
            async with connected(parts):
                wish = replace(world.intent(1, "tok_pays_after_close"), expires_at=soon())
                (key,) = world.request(ledger, wish)
                await until(lambda: ledger.payment(key).excepted)
                asked = world.refund(ledger, key, 2933)
                await ledger.until_refunded([asked])
                (later,) = world.request(ledger, world.intent(2))
                await ledger.until_final([later])
        assert ledger.refund(asked).status == "succeeded"
        payment = ledger.payment(key)
        assert (payment.status, payment.excepted, payment.refunded_amount) == ("expired", False, 0)
        noted = await _noted(parts.outbox, records.payment_key(key))
        assert noted == (Phase.REPORTED, "given back by a refund")

    run(World.make(tmp_path, WALLET), scenario)


def run(world: World, scenario: Scenario) -> None:
    """As `play`, for a scenario that the books need not agree after: the payment's money came back
    under another reference."""

    async def played() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        try:
            await scenario(world, ledger)
        finally:
            ledger.close()

    asyncio.run(played())


async def _noted(path: Path, key: str) -> tuple[Phase, str]:
    database = Database(path, SCHEMA)
    database.open()
    try:
        entry = await database.run(partial(outbox.find, key=key))
        assert entry is not None
        return entry.phase, await database.run(partial(outbox.get_note, key=key))
    finally:
        await database.close()


@pytest.mark.parametrize("doubts", ["takeover", "amnesia"])
def test_what_was_refused_here_is_not_carried_out_in_doubt(tmp_path: Path, doubts: str) -> None:
    """Whatever is forgotten, a refund that no merchant signed is not asked for again."""
    world = World.make(tmp_path)
    asked, record = refund_of(world, PaymentKey("M-0001", "o", 1), 1000, 2000)
    name = refund_key(asked)
    entry = refunding.found(name, records.dump(record), world.place, Projection(), times.now())
    assert isinstance(entry, Entry)

    def doubted(db: sqlite3.Connection) -> Entry | None:
        assert outbox.insert(db, entry)
        if doubts == "takeover":
            take_over(db, 7)
        else:
            remember_amnesia(db)
            leave_amnesia(db)
        return outbox.find(db, name)

    async def kept() -> Entry | None:
        database = Database(tmp_path / "own" / "outbox.db", SCHEMA)
        database.open()
        try:
            return await database.run(doubted)
        finally:
            await database.close()

    found = asyncio.run(kept())
    assert found is not None and found.phase is Phase.ANSWERED
    assert found.ending is not None and found.ending.reason is Reason.REFUSED_BY_CONNECTOR


def test_references_of_payments_and_refunds_differ() -> None:
    key = PaymentKey("M", "o", 1)
    first = RefundKey(*key, 1)
    found = {
        acquirer_reference(key, "n"),
        refunds.reference(first, "n"),
        refunds.reference(first._replace(refund_no=2), "n"),
        refunds.reference(first, "m"),
    }
    assert len(found) == 4
