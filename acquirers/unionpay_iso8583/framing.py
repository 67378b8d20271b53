"""Frames on the wire: two bytes of length, most significant first, then the message."""

from __future__ import annotations

import asyncio
from typing import Final

MAX_MESSAGE: Final = 2048
MIN_MESSAGE: Final = 20  # type, bitmap and MAC
_FRAME_SECONDS: Final = 10.0
_AT_ONCE: Final = 65_536


class FrameError(ValueError):
    """The peer does not speak this framing; the connection is of no more use."""


class Frames:
    """The messages of one connection, in their order. What arrived in one piece is taken apart
    without another turn of the loop for each."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._data = b""
        self._at = 0

    async def next(self, idle_seconds: float) -> bytes | None:
        """The next message, None when the peer closed between messages.

        Raises FrameError for a length out of bounds, a message cut short, one that trickles in for
        more than 10 s; TimeoutError when no message begins within `idle_seconds`.
        """
        whole = self._whole()
        if whole is None and self._at == len(self._data):
            async with asyncio.timeout(idle_seconds):
                if not await self._more():
                    return None
            whole = self._whole()
        if whole is not None:
            return whole
        try:
            async with asyncio.timeout(_FRAME_SECONDS):
                while (whole := self._whole()) is None:
                    if not await self._more():
                        raise FrameError("the message was cut short")
        except TimeoutError:
            raise FrameError("the message did not arrive whole in time") from None
        return whole

    def _whole(self) -> bytes | None:
        """The next message when all of it is here."""
        begin = self._at + 2
        if len(self._data) < begin:
            return None
        length = int.from_bytes(self._data[self._at : begin], "big")
        if not MIN_MESSAGE <= length <= MAX_MESSAGE:
            raise FrameError(f"length {length} is outside {MIN_MESSAGE}..{MAX_MESSAGE}")
        if len(self._data) < begin + length:
            return None
        self._at = begin + length
        return self._data[begin : self._at]

    async def _more(self) -> bool:
        """Wait for more bytes; False when the peer has closed."""
        arrived = await self._reader.read(_AT_ONCE)
        self._data, self._at = self._data[self._at :] + arrived, 0
        return bool(arrived)


def frame(message: bytes) -> bytes:
    """A message with its length in front."""
    return len(message).to_bytes(2, "big") + message
