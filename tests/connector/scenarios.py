"""What every acquirer must pass: one suite, each scenario over real sockets and a real book.

A scenario is a function of a world; `test_scenarios` runs each with each bench.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from benches import Payer
from fake_ledger import FakeLedger
from helpers_connector import World, agree, connected, until

from clearline import reports, times
from clearline.intents import PaymentKey
from clearline.reports import acquirer_reference
from clearline.statuses import Reason

Scenario = Callable[[World, FakeLedger], Awaitable[None]]


def statuses(ledger: FakeLedger, key: PaymentKey) -> list[str]:
    """What was reported, in order."""
    return [entry[2] for entry in ledger.payment(key).reports]


async def paid(world: World, ledger: FakeLedger) -> None:
    """Response where there is one, then the result, with all that the acquirer said."""
    async with world.bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
        (key,) = world.request(ledger, world.intent(1, world.bench.tokens[Payer.PAYS]))
        await ledger.until_final([key])
    payment = ledger.payment(key)
    assert statuses(ledger, key) == world.bench.statuses("succeeded")
    report = reports.parse(payment.result).report
    assert report.acquirer_reference == acquirer_reference(key, report.network)
    assert (report.amount, report.currency, report.reason) == (2933, "CNY", Reason.APPROVED)
    assert report.merchant_code == world.bench.merchant_code
    assert report.mcc == "5411"
    assert report.payer_token == world.bench.tokens[Payer.PAYS]
    assert report.merchant_name and report.clearing_route and report.clearing_date
    assert report.forwarded_at and report.answered_at and report.ended_at
    assert report.forwarded_at <= report.answered_at <= report.ended_at
    assert report.native_digest is not None
    if world.bench.responds:
        response = reports.parse(payment.response).report
        assert (response.sequence, response.ended_at) == (1, None)
        assert response.acquirer_reference == report.acquirer_reference
        assert response.native_digest not in (None, report.native_digest)


async def refused(world: World, ledger: FakeLedger) -> None:
    """The payer has no money."""
    async with world.bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
        (key,) = world.request(ledger, world.intent(1, world.bench.tokens[Payer.REFUSED]))
        await ledger.until_final([key])
    assert statuses(ledger, key) == world.bench.statuses("declined")
    assert ledger.payment(key).reason == Reason.INSUFFICIENT_FUNDS


async def many(world: World, ledger: FakeLedger) -> None:
    """A hundred at once, every kind of payer among them."""
    async with world.bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
        kinds = world.bench.all_tokens
        keys = world.request(
            ledger, *(world.intent(n, f"{kinds[n % len(kinds)]}.{n}") for n in range(100))
        )
        await ledger.until_final(keys, 40)


async def request_lost(world: World, ledger: FakeLedger) -> None:
    """It never reached the acquirer: unknown, then closed, and never sent again."""
    async with world.bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
        (key,) = world.request(ledger, world.intent(1, world.bench.tokens[Payer.REQUEST_LOST]))
        await ledger.until_final([key])
    assert statuses(ledger, key) == ["unknown", "closed"]
    assert ledger.payment(key).reason == Reason.REVERSED


async def answer_lost(world: World, ledger: FakeLedger) -> None:
    """Paid, and nobody said so: inquired where that can be, else reversed."""
    async with world.bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
        (key,) = world.request(ledger, world.intent(1, world.bench.tokens[Payer.ANSWER_LOST]))
        await ledger.until_final([key])
    told = statuses(ledger, key)
    assert (told[0], told[-1]) == ("unknown", world.bench.lost_answer)


async def away(world: World, ledger: FakeLedger) -> None:
    """An acquirer that is away is waited for, until the intent expires."""
    async with world.bench.serve(world.folder):
        pass  # it made its folder, and is gone
    async with connected(world.parts(ledger, world.adapter())):
        short = replace(world.intent(1), expires_at=times.after(times.now(), 1))
        keys = world.request(ledger, short, world.intent(2))
        await ledger.until_final(keys[:1])
        async with world.bench.serve(world.folder):
            await ledger.until_final(keys)
    assert (statuses(ledger, keys[0]), ledger.payment(keys[0]).reason) == (["expired"], "expired")
    assert ledger.payment(keys[1]).status == "succeeded"


async def closed_before_it_was_sent(world: World, ledger: FakeLedger) -> None:
    """The merchant closes while the acquirer is away: nothing was sent, so that is the end."""
    async with world.bench.serve(world.folder):
        pass
    async with connected(world.parts(ledger, world.adapter())):
        (key,) = world.request(ledger, world.intent(1))
        world.close(ledger, key)
        await ledger.until_final([key])
        async with world.bench.serve(world.folder):
            (later,) = world.request(ledger, world.intent(2))
            await ledger.until_final([later])
    assert (statuses(ledger, key), ledger.payment(key).reason) == (
        ["closed"],
        "closed_by_merchant",
    )
    assert len(world.bench.book(world.folder)) == 1


async def closed_before_the_connector_looks(world: World, ledger: FakeLedger) -> None:
    """Request and close are there before the connector looks: nothing is sent, and the acquirer
    need not be there."""
    async with world.bench.serve(world.folder):
        pass
    (key,) = world.request(ledger, world.intent(1))
    world.close(ledger, key)
    (later,) = world.request(ledger, world.intent(2))
    async with connected(world.parts(ledger, world.adapter())):
        await ledger.until_final([key])
        assert world.bench.book(world.folder) == {}
        async with world.bench.serve(world.folder):
            await ledger.until_final([later])
    assert ledger.payment(key).reason == "closed_by_merchant"
    assert len(world.bench.book(world.folder)) == 1


async def closed_while_it_is_paid(world: World, ledger: FakeLedger) -> None:
    """A close that comes when the payer pays: what the acquirer says counts."""
    async with world.bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
        (key,) = world.request(ledger, world.intent(1, world.bench.tokens[Payer.PAYS_SLOWLY]))
        reference = acquirer_reference(key, world.place.network)
        await until(lambda: reference in world.bench.book(world.folder))
        world.close(ledger, key)
        await ledger.until_final([key])
    end = "closed" if world.bench.responds else "succeeded"
    assert statuses(ledger, key) == world.bench.statuses(end)


async def stopped_in_the_middle(world: World, ledger: FakeLedger) -> None:
    """Stopped while a payment is under way, it goes on where it was."""
    async with world.bench.serve(world.folder):
        async with connected(world.parts(ledger, world.adapter())):
            (key,) = world.request(ledger, world.intent(1, world.bench.tokens[Payer.PAYS_SLOWLY]))
            reference = acquirer_reference(key, world.place.network)
            await until(lambda: reference in world.bench.book(world.folder))
        assert not (world.folder / "ready").exists()
        (later,) = world.request(ledger, world.intent(2))
        async with connected(world.parts(ledger, world.adapter())):
            await ledger.until_final([key, later])
    assert statuses(ledger, key) == world.bench.statuses("succeeded")
    assert ledger.payment(later).status == "succeeded"


async def memory_lost(world: World, ledger: FakeLedger) -> None:
    """An outbox that is gone: what is ended stays ended, what is open is asked about or reversed,
    nothing is sent again."""
    async with world.bench.serve(world.folder):
        parts = world.parts(ledger, world.adapter())
        async with connected(parts):
            done = world.request(ledger, *(world.intent(n) for n in range(5)))
            await ledger.until_final(done)
        shutil.rmtree(parts.outbox.parent)
        waiting = world.request(ledger, *(world.intent(n) for n in range(5, 8)))
        async with connected(world.parts(ledger, world.adapter())):
            await ledger.until_final(waiting)
            fresh = world.request(ledger, world.intent(8))
            await ledger.until_final(fresh)
    assert {ledger.payment(key).status for key in done} == {"succeeded"}
    assert {ledger.payment(key).status for key in waiting} == {"closed"}
    assert ledger.payment(fresh[0]).status == "succeeded"


async def the_same_request_again(world: World, ledger: FakeLedger) -> None:
    """A block that is replayed, by a checkpoint from the past, adds nothing."""
    async with world.bench.serve(world.folder):
        async with connected(world.parts(ledger, world.adapter())):
            keys = world.request(ledger, *(world.intent(n) for n in range(3)))
            await ledger.until_final(keys)

        parts = world.parts(ledger, world.adapter())
        back = replace(parts, open_ledger=lambda position: ledger.opened(None))
        async with connected(back):
            (later,) = world.request(ledger, world.intent(4))
            await ledger.until_final([later])
    assert {payment.status for payment in ledger.payments()} == {"succeeded"}


SHARED: tuple[Scenario, ...] = (
    paid,
    refused,
    many,
    request_lost,
    answer_lost,
    away,
    closed_before_it_was_sent,
    closed_before_the_connector_looks,
    closed_while_it_is_paid,
    stopped_in_the_middle,
    memory_lost,
    the_same_request_again,
)


def play(world: World, scenario: Scenario) -> None:
    """Run a scenario on a ledger where all are registered; afterwards books agree."""

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        try:
            await scenario(world, ledger)
            agree(world, ledger)
        finally:
            ledger.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    asyncio.run(run())
