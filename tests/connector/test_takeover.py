"""Two connectors of one acquirer: one acts, and only an explicit epoch changes which.

Whatever happens, the acquirer's book shows no request twice and the ledger agrees with it.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from benches import BENCHES, UNIONPAY, Bench, Payer
from fake_ledger import Called, FakeLedger
from helpers_connector import World, agree, child, connected, setup, until

from clearline.fabric.blocks import Block
from clearline.fabric.blockstream import Position
from clearline.records import Kind, Lease
from clearline.reports import acquirer_reference
from clearline.statuses import Status
from connector.lease import Candidate, Claims
from connector.ledger import Ledger
from connector.service import Parts
from connector.takeover import TakeoverError, take_over

EACH = pytest.mark.parametrize("bench", BENCHES.values(), ids=lambda bench: str(bench.acquirer_id))


async def take(world: World, ledger: FakeLedger, parts: Parts) -> int:
    """`clearline connector take-over`, and wait until that connector acts."""
    parts.outbox.parent.mkdir(exist_ok=True)
    holder, acquirer_id = parts.candidate.holder, world.bench.acquirer_id
    lease = await take_over(Called(ledger), acquirer_id, holder, parts.claims)
    assert lease.holder == holder
    return lease.epoch


def shown(parts: Parts) -> str:
    """What a connector's files say of it."""
    assert parts.ready_file is not None
    assert parts.standby_file is not None
    there = (parts.ready_file.exists(), parts.standby_file.exists())
    return {(True, False): "ready", (False, True): "standby", (False, False): "none"}[there]


def pair(world: World) -> tuple[Parts, Parts]:
    """One that acts without a lease, one that stands by; each with its own view of the ledger."""
    first = world.named(world.parts(world.ledger(), world.adapter()), "a")
    second = world.named(world.parts(world.ledger(), world.adapter()), "b", "standby")
    return first, second


@EACH
def test_the_one_that_lost_the_lease_stops_and_may_take_it_back(
    tmp_path: Path, bench: Bench
) -> None:
    world, ledger = setup(tmp_path, bench)

    async def run() -> None:
        async with bench.serve(world.folder):
            first, second = pair(world)
            async with connected(first), connected(second):
                done = world.request(ledger, *(world.intent(n) for n in range(3)))
                await ledger.until_final(done)
                await until(lambda: (shown(first), shown(second)) == ("ready", "standby"))
                assert await take(world, ledger, second) == 1
                await until(lambda: (shown(first), shown(second)) == ("standby", "ready"))
                after = world.request(ledger, *(world.intent(n) for n in range(3, 6)))
                await ledger.until_final(after)
                assert await take(world, ledger, first) == 2
                await until(lambda: (shown(first), shown(second)) == ("ready", "standby"))
                back = world.request(ledger, *(world.intent(n) for n in range(6, 9)))
                await ledger.until_final(back)
            assert shown(first) == shown(second) == "none"
        assert {payment.status for payment in ledger.payments()} == {"succeeded"}
        agree(world, ledger)

    asyncio.run(run())


@EACH
def test_a_killed_one_is_taken_over_in_the_middle(tmp_path: Path, bench: Bench) -> None:
    world, ledger = setup(tmp_path, bench)

    async def run() -> None:
        async with bench.serve(world.folder):
            _, second = pair(world)
            async with connected(second):
                async with child(world, "a"):
                    slow = world.bench.tokens[Payer.PAYS_SLOWLY]
                    sent = world.request(ledger, world.intent(1, slow))
                    reference = acquirer_reference(sent[0], world.place.network)
                    await until(lambda: reference in bench.book(world.folder))
                # Killed; what it sent and what it only saw are both on the ledger.
                unsent = world.request(ledger, world.intent(2))
                assert await take(world, ledger, second) == 1
                later = world.request(ledger, world.intent(3))
                await ledger.until_final([*sent, *unsent, *later])
        assert ledger.payment(later[0]).status == "succeeded"
        assert ledger.payment(unsent[0]).status == "closed"
        assert ledger.payment(sent[0]).status == ("succeeded" if bench.responds else "closed")
        agree(world, ledger)

    asyncio.run(run())


@EACH
def test_a_stopped_one_that_wakes_up_does_no_harm(tmp_path: Path, bench: Bench) -> None:
    """SIGSTOP while payments are under way and others come; SIGCONT after the takeover."""
    world, ledger = setup(tmp_path, bench)

    async def run() -> None:
        async with bench.serve(world.folder):
            _, second = pair(world)
            async with connected(second), child(world, "a") as first:
                before = world.request(ledger, *(world.intent(n) for n in range(3)))
                await ledger.until_final(before)
                first.send_signal(signal.SIGSTOP)
                seen = world.request(ledger, *(world.intent(n) for n in range(3, 13)))
                await take(world, ledger, second)
                later = world.request(ledger, *(world.intent(n) for n in range(13, 16)))
                await ledger.until_final([*seen, *later])
                first.send_signal(signal.SIGCONT)
                await until((world.folder / "standby-a").exists)
                last = world.request(ledger, world.intent(16))
                await ledger.until_final(last)
        assert {ledger.payment(key).status for key in seen} == {"closed"}
        assert {ledger.payment(key).status for key in (*later, *last)} == {"succeeded"}
        agree(world, ledger)

    asyncio.run(run())


@dataclass
class Blinded:
    """A peer that shows no block after the gate is shut, while reports still go to the ledger."""

    inner: FakeLedger
    shut: asyncio.Event

    async def __aiter__(self) -> AsyncIterator[Block]:
        async for block in self.inner:
            if self.shut.is_set():
                await asyncio.Event().wait()
            yield block

    async def done(self, block: Block) -> None:
        await self.inner.done(block)

    @asynccontextmanager
    async def opened(self, position: Position | None) -> AsyncIterator[Ledger]:
        async with self.inner.opened(position) as ledger:
            yield Ledger(self, ledger.reports, ledger.tip, ledger.contract)


@EACH
def test_one_that_can_not_see_the_takeover_is_refused_by_the_ledger(
    tmp_path: Path, bench: Bench
) -> None:
    world, ledger = setup(tmp_path, bench)

    async def run() -> None:
        async with bench.serve(world.folder):
            blind = Blinded(world.ledger(), asyncio.Event())
            plain, second = pair(world)
            first = world.named(
                world.parts(blind.inner, world.adapter(), open_ledger=blind.opened), "a"
            )
            assert plain.outbox == first.outbox
            async with connected(first) as task, connected(second):
                slow = world.bench.tokens[Payer.PAYS_SLOWLY]
                (key,) = world.request(ledger, world.intent(1, slow))
                reference = acquirer_reference(key, world.place.network)
                await until(lambda: reference in bench.book(world.folder))
                blind.shut.set()
                await take(world, ledger, second)
                await ledger.until_final([key])
                (later,) = world.request(ledger, world.intent(2))
                await ledger.until_final([later])
                await until(lambda: shown(first) == "standby")
                assert not task.done()
        assert ledger.payment(later).status == "succeeded"
        agree(world, ledger)

    asyncio.run(run())


@EACH
def test_taken_over_again_and_again_under_load(tmp_path: Path, bench: Bench) -> None:
    world, ledger = setup(tmp_path, bench)
    chance = random.Random(0)

    async def run() -> None:
        number = 0
        async with bench.serve(world.folder):
            first, second = pair(world)
            async with connected(first), connected(second):
                for turn in range(4):
                    for _ in range(3):
                        batch = [
                            world.intent(number + n, chance.choice(bench.all_tokens))
                            for n in range(6)
                        ]
                        number += len(batch)
                        world.request(ledger, *batch)
                        await asyncio.sleep(chance.uniform(0, 0.1))  # the moment varies
                    await take(world, ledger, (second, first)[turn % 2])
                await ledger.until_final([item.key for item in ledger.payments()], 40)
        assert len(ledger.payments()) == number
        agree(world, ledger)

    asyncio.run(run())


def test_an_outbox_that_stood_by_does_not_act_without_a_lease(tmp_path: Path) -> None:
    world, ledger = setup(tmp_path, UNIONPAY)

    async def run() -> None:
        async with UNIONPAY.serve(world.folder):
            _, second = pair(world)
            async with connected(second):
                await until(lambda: shown(second) == "standby")
                (key,) = world.request(ledger, world.intent(1))
            acting = world.named(world.parts(world.ledger(), world.adapter()), "b")
            async with connected(acting):
                await until(lambda: shown(acting) == "standby")
            assert ledger.payment(key).status == Status.REQUESTED
            assert world.book() == {}
            await take(world, ledger, acting)
            async with connected(acting):
                await ledger.until_final([key])
        assert ledger.payment(key).status == "closed"  # nothing proves that nobody sent it
        agree(world, ledger)

    asyncio.run(run())


def test_a_lease_that_somebody_else_takes_first(tmp_path: Path) -> None:
    _, ledger = setup(tmp_path, UNIONPAY)
    claims = Claims(tmp_path / "claim.json")

    @dataclass
    class Racing(Called):
        async def submit(self, name: str, *args: bytes | str) -> bytes:
            await self.ledger.submit_call(name, args[0].replace(b"mine", b"other"))  # type: ignore
            return await super().submit(name, *args)

    async def run() -> None:
        with pytest.raises(TakeoverError, match="lease_taken"):
            await take_over(Racing(ledger), "unionpay", "mine", claims)
        assert claims.read() == 0
        lease = await take_over(Called(ledger), "unionpay", "mine", claims)
        assert (lease.epoch, claims.read()) == (2, 2)
        assert ledger.record(Kind.LEASE, "unionpay")["holder"] == "mine"

    asyncio.run(run())
    claims.path.write_text("{}")
    with pytest.raises(ValueError, match="no claim"):
        claims.read()


LEASE = Lease("unionpay", 3, "a", "BankOne")


@pytest.mark.parametrize(
    ("candidate", "lease", "claimed", "epoch"),
    [
        (Candidate("a"), None, 0, 0),
        (Candidate("a", stands_by=True), None, 0, None),
        (Candidate("a"), LEASE, 3, 3),
        (Candidate("a", stands_by=True), LEASE, 3, 3),
        (Candidate("a"), LEASE, 2, None),
        (Candidate("a"), LEASE, 4, None),
        (Candidate("a"), LEASE, 0, 3),
        (Candidate("b"), LEASE, 3, None),
        (Candidate("b"), LEASE, 0, None),
    ],
)
def test_which_epoch_to_act_under(
    candidate: Candidate, lease: Lease | None, claimed: int, epoch: int | None
) -> None:
    assert candidate.epoch(lease, claimed) == epoch
