"""A payment through a connector: into its outbox, to the acquirer, and its result back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from fake_ledger import FakeLedger
from helpers_connector import World, connected, until
from recorder import Recorder
from scripted import ScriptedAdapter

from clearline.fabric.blocks import Block
from clearline.fabric.queue_items import ItemResult, QueueItem
from connector.adapter import Answer, Capability, Order


@dataclass
class Acquirer(ScriptedAdapter):
    """Notes when it is asked; from its answer on the report's way begins."""

    recorder: Recorder | None = None

    async def pay(self, order: Order, trace: str) -> Answer:
        assert self.recorder is not None
        self.recorder.told("payment forwarded")
        self.recorder.begin("result reported")
        return await super().pay(order, trace)


async def play(recorder: Recorder, folder: Path) -> None:
    """One payment, in a folder that is there."""
    world = World.make(folder)
    ledger = world.ledger()
    ledger.append(world.registered())
    _watch(recorder, ledger.tip() + 1)
    acquirer = Acquirer(frozenset({Capability.REVERSAL}), recorder=recorder)
    parts = world.parts(ledger, acquirer)
    async with asyncio.timeout(30), connected(parts):
        assert parts.ready_file is not None
        await until(parts.ready_file.exists)
        recorder.begin("payment forwarded")
        recorder.begin("block done")
        (key,) = world.request(ledger, world.intent(1))
        await until(lambda: ledger.payment(key).final)
    ledger.close()


def _watch(recorder: Recorder, requested: int) -> None:
    """Note when the block with the request is done, and a report before it is submitted."""
    done, submit = FakeLedger.done, FakeLedger.submit

    async def watched_done(self: FakeLedger, block: Block) -> None:
        if block.number == requested:
            recorder.told("block done")
        await done(self, block)

    async def watched_submit(self: FakeLedger, item: QueueItem) -> ItemResult:
        recorder.told("result reported")
        return await submit(self, item)

    FakeLedger.done = watched_done  # type: ignore[method-assign]
    FakeLedger.submit = watched_submit  # type: ignore[method-assign]
