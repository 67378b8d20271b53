"""What the committer needs of the ledger: the commit queue and its peer, behind two protocols."""

from __future__ import annotations

import asyncio
from typing import Protocol

from clearline.fabric.commit_queue import QueueStats
from clearline.fabric.queue_items import ItemResult, QueueItem


class Queue(Protocol):
    """What the committer needs of clearline.fabric.commit_queue.CommitQueue."""

    def put(self, item: QueueItem) -> asyncio.Future[ItemResult]:
        """The committed outcome, once it is known."""

    async def accept(self, item: QueueItem) -> None:
        """Durable when it returns."""

    async def result(self, item_id: str) -> ItemResult | None:
        """The outcome when it is decided."""

    def depth(self) -> int:
        """Items waiting or on their way."""

    def stats(self) -> QueueStats:
        """Numbers for metrics."""


class Peer(Protocol):
    """What the committer asks its peer beside the block stream."""

    async def has_block(self, number: int) -> bool | None:
        """Whether the peer has this block; None when it can't be asked."""
