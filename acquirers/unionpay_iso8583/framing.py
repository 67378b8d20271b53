"""Frames on the wire: two bytes of length, most significant first, then the message."""

from __future__ import annotations

import asyncio
from typing import Final

MAX_MESSAGE: Final = 2048
MIN_MESSAGE: Final = 20  # type, bitmap and MAC
_FRAME_SECONDS: Final = 10.0


class FrameError(ValueError):
    """The peer does not speak this framing; the connection is of no more use."""


async def read_frame(reader: asyncio.StreamReader, idle_seconds: float) -> bytes | None:
    """The next message, None when the peer closed between messages.

    Raises FrameError for a length out of bounds, a message cut short, one that trickles in for
    more than 10 s; TimeoutError when no message begins within `idle_seconds`.
    """
    async with asyncio.timeout(idle_seconds):
        first = await reader.read(1)
    if not first:
        return None
    try:
        async with asyncio.timeout(_FRAME_SECONDS):
            length = int.from_bytes(first + await reader.readexactly(1), "big")
            if not MIN_MESSAGE <= length <= MAX_MESSAGE:
                raise FrameError(f"length {length} is outside {MIN_MESSAGE}..{MAX_MESSAGE}")
            return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise FrameError("the message was cut short") from None
    except TimeoutError:
        raise FrameError("the message did not arrive whole in time") from None


def frame(message: bytes) -> bytes:
    """A message with its length in front."""
    return len(message).to_bytes(2, "big") + message
