"""Who waits for what a peer commits: transaction outcomes.

After internal/pkg/gateway/commit (notifier.go, finder.go). Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from network.embedded.peer.block_processor import CommittedBlock


@dataclass(frozen=True)
class TxStatus:
    """A committed transaction's validation code and block."""

    code: int
    block: int


class CommitNotifier:
    """Futures by transaction id, set when the id is in a block."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[TxStatus]]] = {}

    @contextmanager
    def subscribe(self, tx_id: str) -> Iterator[asyncio.Future[TxStatus]]:
        """A future for one id, dropped at the end of the `with` block.

        Subscribe first and look at the ledger then: nothing falls in between.
        """
        future: asyncio.Future[TxStatus] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(tx_id, set())
        waiters.add(future)
        try:
            yield future
        finally:
            future.cancel()
            waiters.discard(future)
            if not waiters and self._waiting.get(tx_id) is waiters:
                del self._waiting[tx_id]

    def publish(self, block: CommittedBlock) -> None:
        """Wake those who wait for a transaction of this block."""
        for tx in block.transactions:
            for future in self._waiting.pop(tx.tx_id, ()):
                if not future.done():
                    future.set_result(TxStatus(tx.code, block.number))
