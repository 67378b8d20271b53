"""How the committer is, for readiness and metrics."""

from __future__ import annotations

from gateway.ledger_ports import Peer, Queue
from gateway.messages import Standing
from gateway.projection import Projection
from gateway.watches import Watches

_NEAR = 100  # blocks the projection may be behind while the peer makes more
_MOVING = 1.0  # seconds in which it must have applied one of them


class Readiness:
    """Holds the projection against the peer. Use it from one event loop."""

    def __init__(self, queue: Queue, projection: Projection, peer: Peer, watches: Watches) -> None:
        self._queue = queue
        self._projection = projection
        self._peer = peer
        self._watches = watches
        self._levelled = False

    async def standing(self) -> Standing:
        """Whether the peer is followed, and whether the projection is where it is."""
        last = self._projection.last_block
        ahead = await self._peer.has_block(last + 1)
        if ahead is False:
            self._levelled = True
        level = ahead is False
        if ahead and self._levelled:
            # Blocks are always being made under load: near is enough for whoever was level once.
            moving = await self._watches.block(last + 1, _MOVING) > last
            level = moving and await self._peer.has_block(last + _NEAR) is False
        return Standing(
            following=ahead is not None,
            level=level,
            last_block=self._projection.last_block,
            depth=self._queue.depth(),
        )

    def numbers(self) -> dict[str, float]:
        """For metrics: see gateway.metrics for the names."""
        stats = self._queue.stats()
        return {
            "last_block": self._projection.last_block,
            "queue_depth": self._queue.depth(),
            "queue_ready": stats.waiting,
            "queue_in_flight_batches": stats.in_flight_batches,
            "queue_committed": stats.committed_items,
            "queue_refused": stats.refused_items,
            "queue_split_batches": stats.split_batches,
            "queue_endorsed": stats.batches.endorsed,
            "queue_submitted": stats.batches.submitted,
            "queue_resubmitted": stats.batches.resubmitted,
            "queue_answered_unordered": stats.batches.answered_unordered,
        }
