"""A channel that the peer has joined: its ledger, configuration and committed height.

The block source of Deliver, and what endorser, gateway service and puller share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fabric_protos.common import common_pb2

from clearline.logs import get_logger
from network.embedded.channelconfig import Bundle
from network.embedded.deliver import Height
from network.embedded.peer.block_processor import (
    BlockProcessor,
    CommittedBlock,
    genesis_commit,
)
from network.embedded.peer.commit_notifier import CommitNotifier, TxStatus
from network.embedded.peer.events import RecentEvents, block_events
from network.embedded.peer.ledger import Ledger

_log = get_logger(__name__)


class Channel:
    """One channel. Belongs to one event loop; blocks are processed in a thread of its own."""

    def __init__(self, channel_id: str, ledger: Ledger) -> None:
        """Take up a ledger that holds at least the genesis block. Raises ChannelConfigError."""
        self.channel_id = channel_id
        self.ledger = ledger
        self.bundle = Bundle.from_config_block(ledger.config_block())
        self.notifier = CommitNotifier()
        self.generation = 0
        """Grows when chaincode definitions or approvals change."""
        self.on_config: list[Callable[[Bundle], None]] = []
        self._height = Height(ledger.height)
        self._newest = (-1, b"")  # number and bytes: all streams that are level ask for this one
        self._events = RecentEvents()
        self._processor = BlockProcessor(ledger, self.bundle)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"commit-{channel_id}")

    @classmethod
    def create(cls, channel_id: str, folder: Path, genesis: Any, map_bytes: int) -> Channel:
        """Store a parsed genesis block as a new ledger. Raises LedgerError."""
        ledger = Ledger(folder, map_bytes)
        try:
            if ledger.height == 0:
                ledger.commit(genesis_commit(genesis))
            return cls(channel_id, ledger)
        except BaseException:
            ledger.close()
            raise

    @property
    def height(self) -> int:
        """Number of committed blocks."""
        return self._height.value

    def block(self, number: int) -> bytes:
        """A committed block's bytes. Raises LookupError."""
        newest, data = self._newest
        if newest == number:
            return data
        found = self.ledger.block(number)
        if found is None:
            raise LookupError(f"no block {number}")
        return found

    def events(self, number: int) -> Iterator[Any]:
        """The ChaincodeEvent messages of a committed block's valid transactions, in order. Raises
        LookupError."""
        recent = self._events.of(number)
        return block_events(self.block(number)) if recent is None else recent

    async def wait_above(self, number: int) -> None:
        """Return when the height is above `number`. Raises deliver.SourceClosed."""
        await self._height.wait_above(number)

    async def apply(self, raw: bytes) -> None:
        """Commit the next block. Raises BlockRefusedError or LedgerError."""
        loop = asyncio.get_running_loop()
        committed = await loop.run_in_executor(self._worker, self._processor.process, raw)
        self._announce(committed)

    def _announce(self, committed: CommittedBlock) -> None:
        if committed.lifecycle_changed or committed.bundle is not None:
            self.generation += 1
        if committed.bundle is not None:
            self.bundle = committed.bundle
            for listener in self.on_config:
                listener(committed.bundle)
        self._newest = (committed.number, committed.raw)
        self._events.add(committed.number, committed.transactions)
        self._height.advance(committed.number + 1)
        self.notifier.publish(committed)
        _log.debug(
            "block committed",
            extra={"block": committed.number, "transactions": len(committed.transactions)},
        )

    async def tx_status(self, tx_id: str) -> TxStatus:
        """A transaction's outcome; waits for an id that is in no block yet."""
        with self.notifier.subscribe(tx_id) as future:
            found = self.ledger.tx_location(tx_id)
            if found is not None:
                return TxStatus(found.code, found.block)
            return await future

    def transaction(self, tx_id: str) -> tuple[bytes, int] | None:
        """(serialised envelope, validation code) of a committed transaction."""
        found = self.ledger.tx_location(tx_id)
        if found is None:
            return None
        block = common_pb2.Block.FromString(self.block(found.block))
        return block.data.data[found.position], found.code

    async def close(self) -> None:
        """Let the block in work finish, end waiting streams, give the ledger free."""
        self._height.close()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._worker.shutdown)
        self.ledger.close()
