"""Syncs the log of a SQLite file that is written with `synchronous = NORMAL`, when somebody asks.

What a transaction wrote to the log is read again after a power cut once the log was synced after
it ("Write-Ahead Logging", sqlite.org/wal.html): one sync for all that was committed before.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


class WalSync:
    """Of one database file, in one event loop; those who ask while a sync is under way share the
    next one."""

    def __init__(self, path: Path) -> None:
        self._log = path.with_name(path.name + "-wal")
        self._turn = asyncio.Lock()
        self._asked = 0
        self._done = 0

    async def __call__(self) -> None:
        """Return once everything committed before the call is on stable storage. Raises OSError."""
        self._asked = mine = self._asked + 1
        async with self._turn:
            if self._done >= mine:
                return
            begun = self._asked
            await asyncio.to_thread(_sync, self._log)
            self._done = begun


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
