"""A clock the ledger does not agree to ends no payment: connector/clock.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from fake_ledger import FakeLedger
from helpers_connector import World, connected, until
from scripted import ScriptedAdapter

from clearline import times
from clearline.fabric.blockstream import Position
from clearline.fabric.errors import EvaluateError, GrpcFailure
from clearline.intents import PaymentKey
from clearline.statuses import Reason
from connector.adapter import Answer, Capability, Verdict
from connector.clock import LedgersClock
from connector.ledger import Ledger
from connector.takeover import Contract

ACCEPTED = Answer(Verdict.ACCEPTED, Reason.ACCEPTED, b"native")
CLOSED = Answer(Verdict.CLOSED, Reason.OTHER, b"native")
REFUSAL = GrpcFailure(grpc.StatusCode.ABORTED, "chaincode response 400, timestamp_out_of_window")


@dataclass
class Doubted:
    """A ledger that refuses our timestamps while it is told to."""

    contract: Contract | None = None
    refuses: bool = True
    asked: int = 0

    async def evaluate(self, name: str, *args: bytes | str) -> bytes:
        self.asked += 1
        if self.refuses:
            raise EvaluateError("Evaluate", "", "not_applied", REFUSAL)
        return b"[null]" if self.contract is None else await self.contract.evaluate(name, *args)

    async def submit(self, name: str, *args: bytes | str) -> bytes:
        assert self.contract is not None
        return await self.contract.submit(name, *args)


def test_an_answer_counts_until_the_clock_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Doubted()
    clock = LedgersClock(ledger, "unionpay")
    ahead, now = 0, times.now

    async def run() -> None:
        nonlocal ahead
        past, soon = times.after(now(), -60), times.after(now(), 300)
        assert not await clock.passed(past)
        ledger.refuses = False
        assert await clock.passed(past)
        assert await clock.passed(past)
        assert not await clock.passed(soon)
        assert ledger.asked == 2
        ahead, ledger.refuses = 600, True
        assert not await clock.passed(soon)
        assert not await clock.passed(past)
        ahead, ledger.refuses = 0, False
        assert await clock.passed(past)
        assert ledger.asked == 5

    monkeypatch.setattr(times, "now", lambda: times.after(now(), ahead))
    asyncio.run(run())


def test_a_clock_that_is_put_right_while_the_ledger_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead, now = 600, times.now

    class Slow(Doubted):
        async def evaluate(self, name: str, *args: bytes | str) -> bytes:
            nonlocal ahead
            ahead = 0
            return b"[null]"

    monkeypatch.setattr(times, "now", lambda: times.after(now(), ahead))
    soon = times.after(now(), 300)

    async def run() -> bool:
        return await LedgersClock(Slow(), "unionpay").passed(soon)

    assert not asyncio.run(run())


@pytest.mark.parametrize("waits", ["for its payer", "to be sent"])
def test_nothing_expires_by_a_clock_that_is_doubted(tmp_path: Path, waits: str) -> None:
    """Neither told to the acquirer nor to the ledger, until it agrees."""
    world, doubted = World.make(tmp_path), Doubted()
    ledger = world.ledger()
    ledger.append(world.registered())
    adapter = ScriptedAdapter(frozenset({Capability.CLOSE}), [ACCEPTED], closes=[CLOSED])
    lasts = 1 if waits == "for its payer" else -1

    @asynccontextmanager
    async def opened(position: Position | None) -> AsyncIterator[Ledger]:
        async with ledger.opened(position) as real:
            doubted.contract = real.contract
            yield replace(real, contract=doubted)

    async def run() -> PaymentKey:
        async with connected(replace(world.parts(ledger, adapter), open_ledger=opened)):
            intent = replace(world.intent(1), expires_at=times.after(times.now(), lasts))
            if lasts < 0:
                intent = replace(intent, created=times.after(times.now(), -9))
            (key,) = world.request(ledger, intent)
            await until(lambda: doubted.asked >= 2)
            assert not ledger.payment(key).final
            assert "close" not in adapter.asked
            doubted.refuses = False
            await until(lambda: ledger.payment(key).final)
        return key

    payment = ledger_payment(ledger, asyncio.run(run()))
    assert payment == ("expired", "expired")
    assert adapter.asked.count("pay") == (1 if lasts > 0 else 0)
    ledger.close()


def ledger_payment(ledger: FakeLedger, key: PaymentKey) -> tuple[str, str]:
    payment = ledger.payment(key)
    return payment.status, payment.reason
