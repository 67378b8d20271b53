"""Where blocks come from: the auditor's own peer, or a file exported from one."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import grpc

from clearline.fabric.blocks import BlockError
from clearline.fabric.errors import EventsError
from clearline.fabric.events import Start
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile

# An export is this line, then each block as a 4-byte big-endian length and its bytes.
_MAGIC: Final = b"clearline blocks 1\n"
_LENGTH: Final = struct.Struct(">I")
_NO_END: Final = 2**63


class SourceError(Exception):
    """Blocks can't be had; the text says what to do."""


async def from_peer(profile: Profile, first: int = 0) -> AsyncIterator[bytes]:
    """Every block the peer has now, from number `first` on. Raises SourceError."""
    async with Gateway.connect(profile) as gateway:
        blocks = gateway.network(profile.channel).block_events(Start(block=first, stop=_NO_END))
        try:
            async for block in blocks:
                yield block.raw
        except EventsError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise SourceError(f"{profile.peer.endpoint}: {error}") from None
        except BlockError as error:
            raise SourceError(f"{profile.peer.endpoint} sent what is no block: {error}") from None


async def from_file(path: Path) -> AsyncIterator[bytes]:
    """The blocks of an export. Raises SourceError when it is none, or ends inside a block."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise SourceError(f"{path} is no export of blocks (`clearline audit export` makes one)")
        while head := file.read(_LENGTH.size):
            length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else -1
            raw = file.read(max(length, 0))
            if len(raw) != length:
                raise SourceError(f"{path} ends inside a block")
            yield raw


class Export:
    """Writes blocks to a new file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._file.write(_MAGIC)

    def add(self, raw: bytes) -> None:
        """Append one block."""
        self._file.write(_LENGTH.pack(len(raw)) + raw)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
