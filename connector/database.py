"""One SQLite file, one writing thread: what waits while it syncs is written together.

WAL and synchronous FULL: what `run` has answered is on stable storage.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
_GROUP: Final = 256
FORMAT: Final = 2


class DatabaseError(Exception):
    """The file can't be opened or written: the connector must end, and start again over it."""


@dataclass(frozen=True, slots=True)
class _Operation:
    work: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Database:
    """Open it, use it from one event loop, close it. A file lock keeps a second process out."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._operations: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Raises DatabaseError: the folder, another process, another format, no database."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise DatabaseError(f"{self._path}: {error.strerror or error}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            connection = self._connect()
        except BlockingIOError:
            os.close(lock)
            raise DatabaseError(f"{self._path} is in use by another connector") from None
        except (sqlite3.Error, DatabaseError) as error:
            os.close(lock)
            raise DatabaseError(f"{self._path}: {error}") from None
        self._thread = threading.Thread(
            target=self._write, args=(connection, lock), name="outbox", daemon=True
        )
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do `work` and sync. Raises what `work` raised (nothing of it is stored then), or
        DatabaseError when the file can't be written.

        A cancelled wait does not undo the work.
        """
        if self._thread is None:
            raise DatabaseError(f"{self._path} is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._operations.put(_Operation(work, loop, future))
        return await future

    async def close(self) -> None:
        """Write what was asked for, then release the file."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._operations.put(None)
            await asyncio.to_thread(thread.join)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            connection.close()
            raise DatabaseError(f"format {version} is not known to this version")
        connection.executescript(self._schema)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        return connection

    def _write(self, connection: sqlite3.Connection, lock: int) -> None:
        more = True
        while more:
            group: list[_Operation] = []
            operation = self._operations.get()
            while operation is not None and len(group) < _GROUP:
                group.append(operation)
                try:
                    operation = self._operations.get_nowait()
                except queue.Empty:
                    break
            else:
                if operation is None:
                    more = False
                else:
                    group.append(operation)
            if group:
                _resolve(_run_group(connection, group))
        connection.close()
        os.close(lock)


@dataclass(frozen=True, slots=True)
class _Done:
    operation: _Operation
    value: Any
    error: Exception | None


def _run_group(connection: sqlite3.Connection, group: Sequence[_Operation]) -> list[_Done]:
    """One transaction; an operation that raises is undone alone, a failed sync undoes all."""
    done: list[_Done] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for operation in group:
            connection.execute("SAVEPOINT one")
            try:
                done.append(_Done(operation, operation.work(connection), None))
            except sqlite3.OperationalError:
                raise
            except Exception as error:  # whatever it is, it goes to who asked
                connection.execute("ROLLBACK TO one")
                done.append(_Done(operation, None, error))
            connection.execute("RELEASE one")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        failure = DatabaseError(f"the outbox can't be written: {error}")
        return [_Done(operation, None, failure) for operation in group]
    return done


def _resolve(done: Sequence[_Done]) -> None:
    def settle() -> None:
        for one in done:
            if one.operation.future.done():
                continue
            if one.error is None:
                one.operation.future.set_result(one.value)
            else:
                one.operation.future.set_exception(one.error)

    try:
        done[0].operation.loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return
