"""A connector in a process of its own, which kills itself at a chosen point.

    python connector_child.py FOLDER POINT ACQUIRER

The points are methods of doubles that stand around the real adapter and the fake ledger.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benches import BENCHES
from fake_ledger import FakeLedger
from helpers_connector import World

from clearline.fabric.blockstream import Position
from clearline.fabric.queue_items import ItemResult, QueueItem
from connector.adapter import Adapter, Answer, Capability, Heard, Order
from connector.ledger import Ledger
from connector.service import Connector


def die(here: str, point: str) -> None:
    """kill -9 of this process, when this is the point."""
    if here == point:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class DyingAdapter:
    """The real adapter; dies around its verbs."""

    inner: Adapter
    point: str

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.inner.capabilities

    async def start(self, heard: Heard) -> None:
        async def notice(reference: str, answer: Answer) -> bool:
            die("before a notice is stored", self.point)
            stored = await heard.notice(reference, answer)
            die("before a notice is acknowledged", self.point)
            return stored

        await self.inner.start(Heard(heard.late, notice))

    async def stop(self) -> None:
        await self.inner.stop()

    async def ready(self) -> None:
        await self.inner.ready()

    def new_trace(self) -> str:
        die("before the attempt is stored", self.point)
        return self.inner.new_trace()

    async def pay(self, order: Order, trace: str) -> Answer:
        die("before the first byte", self.point)
        answer = await self.inner.pay(order, trace)
        die("before the answer is stored", self.point)
        return answer

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        die("before a reversal is sent", self.point)
        answer = await self.inner.reverse(order, trace, tries)
        die("before a reversal's answer is stored", self.point)
        return answer

    async def inquire(self, order: Order, trace: str) -> Answer:
        die("before an inquiry is sent", self.point)
        answer = await self.inner.inquire(order, trace)
        die("before an inquiry's answer is stored", self.point)
        return answer

    async def close(self, order: Order, trace: str) -> Answer:
        die("before a close is sent", self.point)
        answer = await self.inner.close(order, trace)
        die("before a close's answer is stored", self.point)
        return answer

    async def refund(self, order: Order, trace: str, tries: int) -> Answer:
        die("before a refund is sent", self.point)
        answer = await self.inner.refund(order, trace, tries)
        die("before a refund's answer is stored", self.point)
        return answer

    async def inquire_refund(self, order: Order, trace: str) -> Answer:
        return await self.inner.inquire_refund(order, trace)


@dataclass
class DyingLedger:
    """The fake ledger; dies around a submission."""

    inner: FakeLedger
    point: str

    async def submit(self, item: QueueItem) -> ItemResult:
        die("before the report is submitted", self.point)
        result = await self.inner.submit(item)
        die("before the commit is noted", self.point)
        return result

    @asynccontextmanager
    async def opened(self, position: Position | None) -> AsyncIterator[Ledger]:
        async with self.inner.opened(position) as ledger:
            yield Ledger(ledger.blocks, self, ledger.tip, ledger.contract)


async def main(folder: Path, point: str, bench: str, name: str = "") -> None:
    world = World.make(folder, BENCHES[bench])
    ledger = world.ledger()
    dying = DyingLedger(ledger, point)
    parts = world.parts(ledger, DyingAdapter(world.bench.adapter(folder), point))
    if name:
        parts = world.named(parts, name)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Connector(replace(parts, open_ledger=dying.opened)).run(stop)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
