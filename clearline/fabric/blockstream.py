"""Follows a peer's full blocks without losing or skipping one.

    follower = BlockFollower(network, FileBlockCheckpoint(path))
    async for block in follower:
        store_effect(block)             # effect first,
        await follower.done(block)      # checkpoint second: a crash between replays the block

Each block must continue the one before it (number and header hash), across restarts too: the
last block done is asked for again and must be the one in the checkpoint.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc

from clearline.fabric.blocks import Block, BlockError
from clearline.fabric.checkpointers import CheckpointError, read_checked, write_checked
from clearline.fabric.errors import EventsError
from clearline.fabric.events import Start
from clearline.fabric.network import Network
from clearline.logs import get_logger

_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

_log = get_logger("clearline.fabric.blockstream")


@dataclass(frozen=True)
class Position:
    """The last block done and the SHA-256 of its header, in hex."""

    block: int
    header_hash: str


class CheckpointAheadError(BlockError):
    """The checkpoint names a block that the peer doesn't have: the peer lost its ledger and
    hasn't caught up, or this is another network's checkpoint."""


class BlockCheckpoint(Protocol):
    """Where a follower keeps its position: a file, or a table beside the effects."""

    def load(self) -> Position | None:
        """The stored position; None when there is none. Raises CheckpointError when torn."""

    def save(self, position: Position) -> None:
        """Durable when it returns; called in a worker thread."""


class FileBlockCheckpoint:
    """A position in a file of its own, replaced atomically and synced."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Position | None:
        """See BlockCheckpoint."""
        stored = read_checked(self._path)
        if stored is None:
            return None
        block, header_hash = stored.get("block"), stored.get("header_hash")
        if not isinstance(block, int) or not isinstance(header_hash, str):
            raise CheckpointError(f"{self._path} is not a checkpoint of blocks")
        return Position(block, header_hash)

    def save(self, position: Position) -> None:
        """See BlockCheckpoint."""
        write_checked(self._path, {"block": position.block, "header_hash": position.header_hash})


class BlockFollower:
    """An async iterator of blocks that reconnects by itself. One consumer."""

    def __init__(
        self,
        network: Network,
        checkpoint: BlockCheckpoint,
        *,
        start_block: int = 0,
        ahead_patience_s: float = 10.0,
    ) -> None:
        """start_block: where to begin without a usable checkpoint. ahead_patience_s: how long a
        peer may take to reach the checkpoint's block before CheckpointAheadError."""
        self._network = network
        self._checkpoint = checkpoint
        self._start_block = start_block
        self._ahead_patience_s = ahead_patience_s
        self._last: Position | None = None  # last block handed out, or done before the start
        self._done: int = -1
        self._pause = _SHORTEST_PAUSE_S

    def __aiter__(self) -> AsyncIterator[Block]:
        """Blocks from the checkpoint on, without end.

        Raises BlockError when a block doesn't continue the chain, CheckpointAheadError when the
        peer stays behind the checkpoint.
        """
        return self._blocks()

    async def done(self, block: Block) -> None:
        """The effect of this block and of all before it is stored: move the checkpoint."""
        if block.number <= self._done:
            return
        position = Position(block.number, block.header_hash.hex())
        await asyncio.to_thread(self._checkpoint.save, position)
        self._done = block.number

    async def _blocks(self) -> AsyncGenerator[Block, None]:
        self._last = self._load()
        if self._last is not None:
            self._done = self._last.block
            await self._verify(self._last)
        while True:
            expected = self._start_block if self._last is None else self._last.block + 1
            events = self._network.block_events(Start(block=expected))
            try:
                async for block in events:
                    self._pause = _SHORTEST_PAUSE_S
                    self._continue(block, expected)
                    expected += 1
                    yield block
            except EventsError as error:
                await self._back_off(error)
            finally:
                await events.aclose()

    def _load(self) -> Position | None:
        try:
            position = self._checkpoint.load()
        except CheckpointError as error:
            start = {"reason": str(error), "start_block": self._start_block}
            _log.error("the checkpoint is torn: starting over", extra=start)
            return None
        if position is None:
            start_only = {"start_block": self._start_block}
            _log.warning("no checkpoint: starting from the beginning", extra=start_only)
        return position

    async def _verify(self, position: Position) -> None:
        """The peer's block of that number must be the one that was done."""
        loop = asyncio.get_running_loop()
        patience_ends: float | None = None
        while True:
            events = self._network.block_events(Start(block=position.block, stop=position.block))
            try:
                async for block in events:
                    if block.header_hash.hex() != position.header_hash:
                        raise BlockError(
                            f"block {position.block} of this peer is not the one in the"
                            " checkpoint: another network, or another history"
                        )
                return
            except EventsError as error:
                if error.code is grpc.StatusCode.NOT_FOUND:
                    patience_ends = patience_ends or loop.time() + self._ahead_patience_s
                    if loop.time() >= patience_ends:
                        raise CheckpointAheadError(
                            f"the checkpoint is at block {position.block}, which the peer"
                            " doesn't have"
                        ) from error
                await self._back_off(error)
            finally:
                await events.aclose()

    def _continue(self, block: Block, expected: int) -> None:
        if block.number != expected:
            raise BlockError(f"the peer sent block {block.number} instead of {expected}")
        last = self._last
        if last is not None and block.previous_hash.hex() != last.header_hash:
            raise BlockError(f"block {block.number} doesn't continue block {last.block}")
        self._last = Position(block.number, block.header_hash.hex())

    async def _back_off(self, error: EventsError) -> None:
        level = _log.info if error.code is grpc.StatusCode.UNAVAILABLE else _log.warning
        level("block stream broken: reconnecting", extra={"reason": str(error)})
        await asyncio.sleep(self._pause * random.uniform(0.75, 1.25))  # noqa: S311
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
