"""What comes with a payer who acts later: expiry, closes, all kinds of notices, late successes."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from benches import WALLET, wallet
from fake_ledger import FakeLedger
from helpers_connector import World, agree, connected, soon, until
from scenarios import play, statuses

from acquirers.qr_wallet.book import Entry, read_entries
from clearline import reports
from clearline.intents import PaymentKey
from clearline.records import Kind
from clearline.reports import acquirer_reference
from clearline.statuses import Reason, Status
from connector.adapter import Adapter, Answer, NotSentError, Order, Verdict, held_against
from connector.watcher import Pace


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path, WALLET)


def entry(world: World, key: PaymentKey) -> Entry:
    """What the wallet's book says."""
    path = world.folder / "qr_wallet" / "data" / "book.db"
    reference = acquirer_reference(key, world.place.network)
    return next(item for item in read_entries(path) if item.reference == reference)


@dataclass
class NoReversal:
    """The real adapter; its reversals are never sent."""

    inner: Adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        raise NotSentError("held back")


# Without a request or an answer lost, the payer's token decides these endings.
ENDINGS = [
    ("tok_approve", ["accepted", "succeeded"], "approved", 1),
    ("tok_slow", ["accepted", "succeeded"], "approved", 1),
    ("tok_refuses", ["accepted", "declined"], "do_not_honor", 0),
    ("tok_insufficient_funds", ["accepted", "declined"], "insufficient_funds", 0),
    ("tok_limit_exceeded", ["accepted", "declined"], "limit_exceeded", 0),
    ("tok_suspected_fraud", ["accepted", "declined"], "suspected_fraud", 0),
    ("tok_nobody", ["declined"], "invalid_card", 0),
    ("tok_create_lost", ["unknown", "closed"], "reversed", 0),
    ("tok_create_unanswered", ["unknown", "accepted", "succeeded"], "approved", 1),
    ("tok_notice_early", ["accepted", "succeeded"], "approved", 1),
    ("tok_notice_twice", ["accepted", "succeeded"], "approved", 1),
    ("tok_notice_disordered", ["accepted", "succeeded"], "approved", 1),
    ("tok_notice_lost", ["accepted", "succeeded"], "approved", 1),
    ("tok_notice_wrong_amount", ["accepted", "succeeded"], "approved", 1),
    ("tok_wrong_amount", ["accepted", "closed"], "reversed", 0),
]


def test_every_token_ends_as_its_table_says(world: World) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with (
            wallet(world.folder, pay_seconds=0.5),
            connected(world.parts(ledger, world.adapter())),
        ):
            wishes = [world.intent(n, token) for n, (token, *_) in enumerate(ENDINGS)]
            keys = world.request(ledger, *wishes)
            await ledger.until_final(keys)
        for key, (token, told, reason, net) in zip(keys, ENDINGS, strict=True):
            booked = entry(world, key)
            said = statuses(ledger, key)
            # Paid before the inquiry came, it was never seen waiting.
            quick = token == "tok_create_unanswered" and said == ["unknown", "succeeded"]
            assert said == told or quick, token
            assert ledger.payment(key).reason == reason, token
            assert booked.charges - booked.reversals == net, token
            assert booked.creates_seen == 1

    play(world, scenario)


def test_an_unpaid_payment_expires_by_a_close_at_the_acquirer(world: World) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder), connected(world.parts(ledger, world.adapter())):
            end = soon()
            keys = world.request(
                ledger,
                replace(world.intent(1, "tok_never_pays"), expires_at=end),
                replace(world.intent(2, "tok_pays_at_close"), expires_at=end),
            )
            await ledger.until_final(keys)
        assert statuses(ledger, keys[0]) == ["accepted", "expired"]
        assert ledger.payment(keys[0]).reason == Reason.EXPIRED
        result = reports.parse(ledger.payment(keys[0]).result).report
        assert result.ended_at is not None and result.ended_at >= end
        assert entry(world, keys[0]).closes_seen == 1
        # Paid a moment before the close came: the close's answer says so.
        assert statuses(ledger, keys[1]) == ["accepted", "succeeded"]

    play(world, scenario)


def test_a_merchant_s_close(world: World) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder), connected(world.parts(ledger, world.adapter())):
            keys = world.request(
                ledger, world.intent(1, "tok_never_pays"), world.intent(2, "tok_pays_at_close")
            )
            for key in keys:
                await ledger.until_status(key, Status.ACCEPTED)
                world.close(ledger, key)
            await ledger.until_final(keys)
        assert statuses(ledger, keys[0]) == ["accepted", "closed"]
        assert ledger.payment(keys[0]).reason == Reason.CLOSED_BY_MERCHANT
        assert statuses(ledger, keys[1]) == ["accepted", "succeeded"]
        assert [entry(world, key).closes_seen for key in keys] == [1, 1]

    play(world, scenario)


def test_a_close_that_the_merchant_did_not_sign_closes_nothing(world: World) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder), connected(world.parts(ledger, world.adapter())):
            (key,) = world.request(ledger, world.intent(1, "tok_never_pays"))
            await ledger.until_status(key, Status.ACCEPTED)
            ledger.forge_close(key)
            (later,) = world.request(ledger, world.intent(2))
            await ledger.until_final([later])
            assert entry(world, key).closes_seen == 0
        assert ledger.payment(key).status == "accepted"

    play(world, scenario)


@pytest.mark.parametrize("token", ["tok_pays_after_close", "tok_reversal_lost"])
@pytest.mark.parametrize("why", ["closed", "expired"])
def test_a_late_success_is_told_and_given_back(world: World, token: str, why: str) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder), connected(world.parts(ledger, world.adapter())):
            intent = world.intent(1, token)
            if why == "expired":
                intent = replace(intent, expires_at=soon())
            (key,) = world.request(ledger, intent)
            await ledger.until_status(key, Status.ACCEPTED)
            if why == "closed":
                world.close(ledger, key)
            await ledger.until_final([key])
            assert ledger.payment(key).status == why
            await until(lambda: len(ledger.payment(key).reports) == 4)
        payment = ledger.payment(key)
        assert [(item[1], item[2]) for item in payment.reports] == [
            ("response", "accepted"), ("result", why), ("result", "succeeded"), ("reversal", why),
        ]  # fmt: skip
        assert payment.status == why
        assert [item["status"] for item in payment.exceptions] == ["resolved"]
        booked = entry(world, key)
        assert (booked.charges, booked.reversals) == (1, 1)

    play(world, scenario)


@dataclass
class Overpaid:
    """To a wallet that says that more was paid than was asked."""

    inner: Adapter

    async def inquire(self, order: Order, trace: str) -> Answer:
        answer = await self.inner.inquire(order, trace)
        if answer.verdict is not Verdict.APPROVED or answer.amount is None:
            return answer
        return held_against(order, replace(answer, amount=answer.amount + 1))

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def test_a_late_success_of_another_amount_is_told_as_it_is(world: World) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder):
            adapter = cast(Adapter, Overpaid(world.adapter()))
            async with connected(world.parts(ledger, adapter)):
                (key,) = world.request(ledger, world.intent(1, "tok_pays_after_close"))
                await ledger.until_status(key, Status.ACCEPTED)
                world.close(ledger, key)
                await until(lambda: len(ledger.payment(key).reports) == 4)
        payment = ledger.payment(key)
        assert (payment.status, payment.excepted) == ("closed", False)
        (exception,) = payment.exceptions
        assert (exception["amount"], exception["currency"]) == (payment.amount + 1, "CNY")
        said = [reports.parse(text).report for text in ledger.submitted[-2:]]
        assert [(one.kind, one.reason, one.amount) for one in said] == [
            ("result", "invalid_amount", payment.amount + 1),
            ("reversal", "reversed", payment.amount + 1),
        ]

    play(world, scenario)


@pytest.mark.parametrize("more", [0, 1], ids=["as asked", "of another amount"])
def test_a_late_success_is_found_again_after_everything_was_lost(world: World, more: int) -> None:
    """The connector stops between the exception and its reversal, and its outbox is gone."""

    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder):
            adapter = cast(Adapter, Overpaid(world.adapter())) if more else world.adapter()
            parts = world.parts(ledger, cast(Adapter, NoReversal(adapter)))
            async with connected(parts):
                (key,) = world.request(ledger, world.intent(1, "tok_pays_after_close"))
                await ledger.until_status(key, Status.ACCEPTED)
                world.close(ledger, key)
                await until(lambda: ledger.payment(key).excepted)
            parts.outbox.unlink()
            async with connected(world.parts(ledger, world.adapter())):
                await until(lambda: not ledger.payment(key).excepted)
        payment = ledger.payment(key)
        assert [item[1] for item in payment.reports][-2:] == ["result", "reversal"]
        assert [item["amount"] for item in payment.exceptions] == [payment.amount + more]
        assert entry(world, key).reversals == 1

    play(world, scenario)


def test_notices_lost_for_good_cost_time_only(world: World) -> None:
    """The connector is away when the notice comes, and the wallet gives up."""

    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder, notice_seconds=(), pay_seconds=0.6):
            slow = Pace(first=30.0)
            async with connected(world.parts(ledger, world.adapter(), pace=slow)):
                (key,) = world.request(ledger, world.intent(1))
                await ledger.until_status(key, Status.ACCEPTED)
            await until(lambda: entry(world, key).state == "paid")
            async with connected(world.parts(ledger, world.adapter(), pace=slow)):
                await ledger.until_final([key], 5)
        assert statuses(ledger, key) == ["accepted", "succeeded"]

    play(world, scenario)


def test_a_wallet_that_was_away_goes_on(world: World) -> None:
    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder):
            pass
        async with connected(world.parts(ledger, world.adapter())):
            async with wallet(world.folder, pay_seconds=1.0):
                (key,) = world.request(ledger, world.intent(1))
                await ledger.until_status(key, Status.ACCEPTED)
            world.close(ledger, key)  # nobody there to close it
            await asyncio.sleep(0.3)
            assert ledger.payment(key).status == "accepted"
            async with wallet(world.folder):
                await ledger.until_final([key])
        assert statuses(ledger, key)[-1] in ("closed", "succeeded")

    play(world, scenario)


def test_the_pay_url_is_what_the_merchant_derives(world: World) -> None:
    """Nothing of it is on the ledger: the template is the acquirer's, the reference signed."""

    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder) as server, connected(world.parts(ledger, world.adapter())):
            (key,) = world.request(ledger, world.intent(1))
            await ledger.until_final([key])
            template = json.loads((world.folder / "qr_wallet" / "partner.json").read_text())
            response = reports.parse(ledger.payment(key).response).report
            derived = template["pay_url"].replace("{reference}", response.acquirer_reference)
            assert derived == f"https://127.0.0.1:{server.port}/pay/{response.acquirer_reference}"
        assert "https:" not in json.dumps(ledger.record(Kind.PAYMENT, "/".join(
            (key.merchant_id, key.order_no, "0001"))))  # fmt: skip

    play(world, scenario)


def test_agreement_can_fail(world: World) -> None:
    """A book that does not agree is noticed: the checker of all these scenarios checks."""

    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with wallet(world.folder), connected(world.parts(ledger, world.adapter())):
            (key,) = world.request(ledger, world.intent(1))
            await ledger.until_final([key])
        path = world.folder / "qr_wallet" / "data" / "book.db"
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE entry SET reversals = 1")
        with pytest.raises(AssertionError):
            agree(world, ledger)
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE entry SET reversals = 0")

    play(world, scenario)
