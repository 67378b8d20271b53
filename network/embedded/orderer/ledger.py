"""The orderer's blocks on stable storage: one LMDB environment, one synced transaction a batch.

`append` returns only after LMDB has synced the file; nothing is delivered before that. After a
kill the environment holds whole blocks only, and the next number follows from the last one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb

_BLOCKS = b"blocks"


class LedgerError(RuntimeError):
    """The data folder can't be used or a block can't be stored; the text says why."""


class Ledger:
    """Serialised blocks by number. `append` may run in another thread than the readers."""

    def __init__(self, folder: Path, map_bytes: int = 1 << 40) -> None:
        """Open or make the folder; one process at a time.

        `map_bytes` bounds the file's growth and costs address space only. Raises LedgerError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise LedgerError(f"{folder} is in use by another orderer process") from error
        try:
            self._env: Any = lmdb.open(
                str(folder / "ledger"), map_size=map_bytes, max_dbs=1, max_readers=64
            )
            self._db: Any = self._env.open_db(_BLOCKS)
        except lmdb.Error as error:
            os.close(self._lock)
            raise LedgerError(f"{folder}: the ledger can't be opened: {error}") from error
        self.height = self._read_height()

    def append(self, blocks: Sequence[bytes]) -> int:
        """Store the next blocks, in order, in one transaction; answers the new height.

        They are on stable storage when this returns. Raises LedgerError: none was stored.
        """
        height = self.height
        try:
            with self._env.begin(write=True, db=self._db) as transaction:
                for offset, block in enumerate(blocks):
                    stored = transaction.put(
                        _key(height + offset), block, overwrite=False, append=True
                    )
                    if not stored:
                        raise LedgerError(f"block {height + offset} is there already")
        except lmdb.Error as error:
            raise LedgerError(f"blocks from {height} can't be stored: {error}") from error
        self.height = height + len(blocks)
        return self.height

    def block(self, number: int) -> bytes:
        """The serialised block. Raises LookupError when there is none."""
        with self._env.begin(db=self._db) as transaction:
            raw = transaction.get(_key(number))
        if raw is None:
            raise LookupError(f"no block {number}")
        return bytes(raw)

    def close(self) -> None:
        """Give the folder free."""
        self._env.close()
        os.close(self._lock)

    def _read_height(self) -> int:
        with self._env.begin(db=self._db) as transaction, transaction.cursor() as cursor:
            return int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 0


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")
