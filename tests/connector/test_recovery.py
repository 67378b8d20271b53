"""After a start: what is in doubt is asked about or reversed first, and holds up the rest for
`recovery_seconds` at most."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_ledger import FakeLedger
from helpers_connector import World, connected, until
from scripted import APPROVED, NO_ANSWER, REVERSED, ScriptedAdapter

from clearline.intents import PaymentKey
from connector.adapter import Answer, Capability

LONG = 60.0  # seconds, longer than a test lasts
SHORT = 0.3


@dataclass
class Left:
    """A ledger with two payments: one was sent and never answered, one never sent."""

    world: World
    ledger: FakeLedger
    doubtful: PaymentKey
    waiting: PaymentKey


async def left_in_doubt(folder: Path, can: frozenset[Capability]) -> Left:
    """What a connector leaves that is stopped while the acquirer says nothing."""
    world = World.make(folder)
    ledger = world.ledger()
    ledger.append(world.registered())
    silent = ScriptedAdapter(can, [NO_ANSWER], [NO_ANSWER], [NO_ANSWER])
    async with connected(world.parts(ledger, silent)):
        (doubtful,) = world.request(ledger, world.intent(1))
        await until(lambda: ledger.payment(doubtful).status == "unknown")
    (waiting,) = world.request(ledger, world.intent(2))
    return Left(world, ledger, doubtful, waiting)


def clearing(can: frozenset[Capability], *answers: Answer | Exception) -> ScriptedAdapter:
    """An acquirer that approves at once what it is asked to pay, and says these things of what is
    in doubt."""
    script = list(answers)
    if Capability.INQUIRY in can:
        return ScriptedAdapter(can, [APPROVED], script, [REVERSED])
    return ScriptedAdapter(can, [APPROVED], [], script)


WAYS = pytest.mark.parametrize(
    ("can", "verb", "end"),
    [
        (frozenset({Capability.REVERSAL}), "reverse", (REVERSED, "closed")),
        (frozenset({Capability.REVERSAL, Capability.INQUIRY}), "inquire", (APPROVED, "succeeded")),
    ],
    ids=["reversed", "inquired"],
)


@WAYS
def test_nothing_is_paid_before_what_is_in_doubt_is_cleared(
    tmp_path: Path, can: frozenset[Capability], verb: str, end: tuple[Answer, str]
) -> None:
    answer, status = end

    async def run() -> None:
        left = await left_in_doubt(tmp_path, can)
        adapter = clearing(can, NO_ANSWER, NO_ANSWER, answer)
        parts = left.world.parts(left.ledger, adapter, recovery_seconds=LONG)
        async with connected(parts):
            await until(lambda: verb in " ".join(adapter.asked))
            (later,) = left.world.request(left.ledger, left.world.intent(3))
            await left.ledger.until_final([left.doubtful, left.waiting, later])
        # The pauses between the tries are long enough for a payment that did not wait.
        asked = [what.split()[0] for what in adapter.asked]
        assert asked == ["start", verb, verb, verb, "pay", "pay", "stop"]
        assert left.ledger.payment(left.doubtful).status == status
        assert left.ledger.payment(left.waiting).status == "succeeded"

    asyncio.run(run())


@WAYS
def test_forwarding_goes_on_after_the_bound(
    tmp_path: Path, can: frozenset[Capability], verb: str, end: tuple[Answer, str]
) -> None:
    answer, status = end

    async def run() -> None:
        left = await left_in_doubt(tmp_path, can)
        adapter = clearing(can, NO_ANSWER)
        parts = left.world.parts(left.ledger, adapter, recovery_seconds=SHORT)
        async with connected(parts):
            await left.ledger.until_final([left.waiting])
            assert left.ledger.payment(left.waiting).status == "succeeded"
            assert left.ledger.payment(left.doubtful).status == "unknown"
            tried = len(adapter.asked)
            script = adapter.inquiries if Capability.INQUIRY in can else adapter.reversals
            script[:] = [answer]
            await left.ledger.until_final([left.doubtful])
        assert left.ledger.payment(left.doubtful).status == status
        asked = [what.split()[0] for what in adapter.asked]
        first = asked.index("pay")
        assert asked.count("pay") == 1
        assert asked[1] == verb and set(asked[1:first]) == {verb}
        assert set(asked[tried:]) == {verb, "stop"}  # clearing up went on beside

    asyncio.run(run())
