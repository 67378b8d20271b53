"""Cuts the stream of messages into batches, one batch a block (orderer/common/blockcutter).

Pure: no clock. Whoever holds it starts a timer when messages are left pending and calls `cut`.
"""

from __future__ import annotations

from dataclasses import dataclass

from network.embedded.channelconfig import BatchSize


@dataclass(frozen=True)
class Message:
    """An accepted envelope: its bytes as they go into a block, and the size that counts
    (payload + signature, bytes)."""

    raw: bytes
    size: int


Batch = tuple[Message, ...]


class Cutter:
    """Messages waiting to fill a batch."""

    def __init__(self) -> None:
        self._pending: list[Message] = []
        self._pending_bytes = 0

    @property
    def pending(self) -> int:
        """How many messages wait."""
        return len(self._pending)

    def ordered(self, message: Message, limits: BatchSize) -> tuple[Batch, ...]:
        """Take the next message; answers the batches that are full now: none, one or two.

        A message above the preferred size stands alone, after what waited. One that would
        overflow the preferred size cuts what waited and begins the next batch.
        """
        batches: list[Batch] = []
        if message.size > limits.preferred_max_bytes:
            if self._pending:
                batches.append(self.cut())
            batches.append((message,))
            return tuple(batches)
        if self._pending_bytes + message.size > limits.preferred_max_bytes:
            batches.append(self.cut())
        self._pending.append(message)
        self._pending_bytes += message.size
        if len(self._pending) >= limits.max_message_count:
            batches.append(self.cut())
        return tuple(batches)

    def cut(self) -> Batch:
        """Everything that waits, which may be nothing."""
        batch = tuple(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        return batch
