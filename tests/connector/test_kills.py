"""kill -9 of the connector: nothing forwarded twice, nothing skipped, books agree afterwards."""

import asyncio
import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from benches import BENCHES, UNIONPAY, WALLET, Bench, unionpay, wallet
from fake_ledger import FakeLedger
from helpers_connector import World, agree, child_dying, connected, ended, soon, until


async def kill(process: asyncio.subprocess.Process) -> None:
    """SIGKILL, and wait."""
    if process.returncode is None:
        process.kill()
    await ended(process)


async def ready(world: World) -> None:
    """Wait until the child takes requests: what is to expire soon must not do so before."""
    await until((world.folder / "ready").exists, 20)


async def finish(world: World, ledger: FakeLedger) -> None:
    """Run a connector over what the killed one left until all have ended, then end it in order; in
    this process, for a start is most of what such a test takes."""
    async with connected(world.parts(ledger, world.adapter())):
        await ledger.until_final([payment.key for payment in ledger.payments()], 20)


# At this point, with this payer, so ends the payment after the next start.
UNIONPAY_POINTS = [
    ("before the attempt is stored", "tok_approve", "succeeded"),
    ("before the first byte", "tok_approve", "closed"),
    ("before the answer is stored", "tok_approve", "closed"),
    ("before the answer is stored", "tok_stolen_card", "closed"),
    ("before the report is submitted", "tok_approve", "succeeded"),
    ("before the commit is noted", "tok_approve", "succeeded"),
    ("before the report is submitted", "tok_timeout_charged", "closed"),
    ("before a reversal is sent", "tok_timeout_charged", "closed"),
    ("before a reversal's answer is stored", "tok_timeout_charged", "closed"),
    ("before a reversal's answer is stored", "tok_timeout", "closed"),
]


WALLET_POINTS = [
    ("before the attempt is stored", "tok_approve", "succeeded"),
    ("before the first byte", "tok_approve", "closed"),
    ("before the answer is stored", "tok_approve", "succeeded"),
    ("before the answer is stored", "tok_refuses", "declined"),
    ("before the report is submitted", "tok_approve", "succeeded"),
    ("before the commit is noted", "tok_approve", "succeeded"),
    ("before a notice is stored", "tok_approve", "succeeded"),
    ("before a notice is acknowledged", "tok_approve", "succeeded"),
    ("before an inquiry is sent", "tok_create_unanswered", "succeeded"),
    ("before an inquiry's answer is stored", "tok_create_unanswered", "succeeded"),
    ("before a reversal is sent", "tok_create_lost", "closed"),
    ("before a reversal's answer is stored", "tok_create_lost", "closed"),
    ("before a reversal's answer is stored", "tok_wrong_amount", "closed"),
    ("before a close is sent", "tok_never_pays", "expired"),
    ("before a close's answer is stored", "tok_never_pays", "expired"),
    ("before a close's answer is stored", "tok_pays_at_close", "succeeded"),
]
POINTS = [(UNIONPAY, *point) for point in UNIONPAY_POINTS] + [
    (WALLET, *point) for point in WALLET_POINTS
]


@pytest.mark.parametrize(("bench", "point", "token", "status"), POINTS)
def test_killed_at(tmp_path: Path, bench: Bench, point: str, token: str, status: str) -> None:
    world = World.make(tmp_path, bench)

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with bench.serve(world.folder):
            intent = world.intent(1, token)
            if "close" in point:
                dying = await child_dying(world, point)
                await ready(world)
                intent = replace(intent, expires_at=soon())
                (key,) = world.request(ledger, intent)
            else:
                (key,) = world.request(ledger, intent)
                dying = await child_dying(world, point)
            assert await ended(dying) == -signal.SIGKILL
            (later,) = world.request(ledger, world.intent(2))
            await finish(world, ledger)
        assert ledger.payment(key).status == status
        assert ledger.payment(later).status == "succeeded"
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "point", ["before a reversal is sent", "before a reversal's answer is stored"]
)
def test_killed_while_a_late_success_is_given_back(tmp_path: Path, point: str) -> None:
    world = World.make(tmp_path, WALLET)

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with wallet(world.folder):
            dying = await child_dying(world, point)
            await ready(world)
            intent = world.intent(1, "tok_pays_after_close")
            (key,) = world.request(ledger, replace(intent, expires_at=soon()))
            assert await ended(dying) == -signal.SIGKILL
            async with connected(world.parts(ledger, world.adapter())):
                await until(lambda: len(ledger.payment(key).reports) == 4)
        assert ledger.payment(key).status == "expired"
        assert not ledger.payment(key).excepted
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


def test_killed_while_a_payment_is_in_flight(tmp_path: Path) -> None:
    world = World.make(tmp_path)

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder):
            (key,) = world.request(ledger, world.intent(1, "tok_slow"))
            process = await child_dying(world, "never")
            await until(lambda: world.booked(key) is not None)
            await kill(process)
            assert ledger.payment(key).status == "requested"
            await finish(world, ledger)
        booked = world.booked(key)
        assert booked is not None
        assert (booked.purchases_seen, booked.charges, booked.reversals) == (1, 1, 1)
        assert [entry[2] for entry in ledger.payment(key).reports] == ["unknown", "closed"]
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


@pytest.mark.parametrize("bench", BENCHES.values(), ids=lambda bench: str(bench.acquirer_id))
def test_killed_again_and_again_under_load(tmp_path: Path, bench: Bench) -> None:
    world = World.make(tmp_path, bench)
    chance = random.Random(0)

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        number = 0
        async with bench.serve(world.folder):
            for _ in range(3):
                process = await child_dying(world, "never")
                try:
                    await ready(world)
                    for _ in range(4):
                        batch = [world.intent(number + n, chance.choice(bench.all_tokens))
                                 for n in range(10)]  # fmt: skip
                        number += len(batch)
                        world.request(ledger, *batch)
                        await asyncio.sleep(chance.uniform(0, 0.1))  # the kill's moment varies
                finally:
                    await kill(process)
                    (world.folder / "ready").unlink(missing_ok=True)
            process = await child_dying(world, "never")
            try:
                await ledger.until_final([payment.key for payment in ledger.payments()], 40)
                process.send_signal(signal.SIGTERM)
                assert await ended(process) == 0
            finally:
                await kill(process)
        assert len(ledger.payments()) == number
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())
