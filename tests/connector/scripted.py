"""An acquirer and a queue that say what a test tells them to, and one payment through them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fake_ledger import FakeLedger
from helpers_connector import World, connected, until

from clearline.codes import Outcome
from clearline.fabric.blockstream import Position
from clearline.fabric.queue_items import ItemResult, QueueItem
from clearline.intents import PayIntent, PaymentKey
from clearline.statuses import Reason
from connector.adapter import Answer, Capability, Heard, NoAnswerError, Order, Verdict
from connector.ledger import Ledger

APPROVED = Answer(Verdict.APPROVED, Reason.APPROVED, b"native")
UNSURE = Answer(Verdict.UNSURE, Reason.OTHER, b"native")
REVERSED = Answer(Verdict.REVERSED, Reason.REVERSED, b"native")
NO_ANSWER = NoAnswerError(Reason.TIMED_OUT)


@dataclass
class ScriptedAdapter:
    """An acquirer that answers as its scripts say, the last line again and again."""

    capabilities: frozenset[Capability]
    payments: list[Answer | Exception] = field(default_factory=lambda: [APPROVED])
    inquiries: list[Answer | Exception] = field(default_factory=list)
    reversals: list[Answer | Exception] = field(default_factory=list)
    closes: list[Answer | Exception] = field(default_factory=list)
    refunds: list[Answer | Exception] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    heard: Heard | None = None

    async def start(self, heard: Heard) -> None:
        self.heard = heard
        self.asked.append("start")

    async def stop(self) -> None:
        self.asked.append("stop")

    async def ready(self) -> None:
        await asyncio.sleep(0)

    def new_trace(self) -> str:
        return "trace"

    async def pay(self, order: Order, trace: str) -> Answer:
        return self._say("pay", self.payments)

    async def inquire(self, order: Order, trace: str) -> Answer:
        return self._say("inquire", self.inquiries)

    async def close(self, order: Order, trace: str) -> Answer:
        return self._say("close", self.closes)

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        return self._say(f"reverse {tries}", self.reversals)

    async def refund(self, order: Order, trace: str, tries: int) -> Answer:
        return self._say(f"refund {tries}", self.refunds)

    async def inquire_refund(self, order: Order, trace: str) -> Answer:
        return self._say("inquire_refund", self.refunds)

    def _say(self, what: str, script: list[Answer | Exception]) -> Answer:
        self.asked.append(what)
        line = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(line, Exception):
            raise line
        return line


@dataclass
class ScriptedQueue:
    """Answers each submission with the next of these, then as the ledger does."""

    inner: FakeLedger
    script: list[Outcome | Exception]

    async def submit(self, item: QueueItem) -> ItemResult:
        if not self.script:
            return await self.inner.submit(item)
        line = self.script.pop(0)
        if isinstance(line, Exception):
            raise line
        return ItemResult(item.item_id, line.to_json(), "tx", None)


def run(
    folder: Path,
    adapter: ScriptedAdapter,
    script: list[Outcome | Exception],
    check: Callable[[World, FakeLedger, PaymentKey], bool],
    change: Callable[[PayIntent], PayIntent] = lambda intent: intent,
) -> tuple[World, FakeLedger, PaymentKey]:
    """One payment through a scripted acquirer and queue, until `check` holds."""
    world = World.make(folder)
    ledger = world.ledger()
    ledger.append(world.registered())
    parts = world.parts(ledger, adapter)

    @asynccontextmanager
    async def scripted(position: Position | None) -> AsyncIterator[Ledger]:
        async with ledger.opened(position) as real:
            yield Ledger(real.blocks, ScriptedQueue(ledger, script), real.tip, real.contract)

    async def go() -> PaymentKey:
        async with connected(replace(parts, open_ledger=scripted)):
            (key,) = world.request(ledger, change(world.intent(1)))
            await until(lambda: check(world, ledger, key))
        return key

    return world, ledger, asyncio.run(go())
