"""The connector's side of the ledger: blocks in, reports out, behind two small protocols."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

import grpc

from clearline.fabric.blocks import Block
from clearline.fabric.errors import EventsError
from clearline.fabric.events import Start
from clearline.fabric.queue_items import ItemResult, QueueItem
from connector.takeover import Contract

_PAUSE_S: Final = 0.5


class BlockSource(Protocol):
    """Full blocks of the own peer, from the stored position on, without end or gap."""

    def __aiter__(self) -> AsyncIterator[Block]:
        """The blocks."""

    async def done(self, block: Block) -> None:
        """The effect of this block is stored."""


class ReportQueue(Protocol):
    """Takes items to the ledger: clearline.fabric.commit_queue.CommitQueue."""

    async def submit(self, item: QueueItem) -> ItemResult:
        """The committed outcome. Raises QueueFull, QueueClosed, ItemRefused."""


class BlockStore(Protocol):
    """A peer's blocks: clearline.fabric.network.Network."""

    def block_events(self, start: Start) -> AsyncGenerator[Block, None]:
        """Full blocks. Raises EventsError."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Both ends, `tip`: the number of the newest block when this process started, and the
    `contract` that the lease is taken at.

    Nothing is forwarded before the follower has done that block: an outbox that lost its memory
    must not act on requests whose results are a few blocks on.
    """

    blocks: BlockSource
    reports: ReportQueue
    tip: int
    contract: Contract


async def find_tip(network: BlockStore) -> int:
    """The number of the newest block the peer has, -1 for none; waits for a peer that is away.

    Deliver says NOT_FOUND for a single block that is not there (common/deliver/deliver.go); the
    newest is found in about 2 log2(height) questions.
    """
    if not await _has(network, 0):
        return -1
    there, beyond = 0, 1
    while await _has(network, beyond):
        there, beyond = beyond, 2 * beyond
    while beyond - there > 1:
        middle = (there + beyond) // 2
        if await _has(network, middle):
            there = middle
        else:
            beyond = middle
    return there


async def _has(network: BlockStore, number: int) -> bool:
    while True:
        try:
            async with aclosing(network.block_events(Start(block=number, stop=number))) as events:
                async for _ in events:
                    return True
            return False
        except EventsError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return False
            await asyncio.sleep(_PAUSE_S)
