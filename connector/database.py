"""One SQLite file: what waits while it syncs is written together.

WAL and synchronous FULL: what `run` has answered is on stable storage. Statements run on the event
loop, for they are short and a second thread would wait for the interpreter between any two of them;
the sync, which takes milliseconds and no interpreter, has a thread of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from clearline import torn

_T = TypeVar("_T")
_GROUP: Final = 256
FORMAT: Final = 2


class DatabaseError(Exception):
    """The file can't be opened or written: the connector must end, and start again over it."""


@dataclass(frozen=True, slots=True)
class _Operation:
    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Done:
    operation: _Operation
    value: Any
    error: Exception | None


@dataclass(frozen=True, slots=True)
class _File:
    """The open file, its lock, and the thread that syncs it."""

    path: Path
    connection: sqlite3.Connection
    lock: int
    syncing: ThreadPoolExecutor


class Database:
    """Open it, use it from one event loop, close it. A file lock keeps a second process out."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._file: _File | None = None
        self._waiting: list[_Operation] = []
        self._writing: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Raises DatabaseError: the folder, another process, another format, no database."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise DatabaseError(f"{self._path}: {error.strerror or error}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            connection, _ = torn.opened(self._path, self._prepare)
        except BlockingIOError:
            os.close(lock)
            raise DatabaseError(f"{self._path} is in use by another connector") from None
        except (sqlite3.Error, OSError, DatabaseError) as error:
            os.close(lock)
            raise DatabaseError(f"{self._path}: {error}") from None
        self._file = _File(self._path, connection, lock, ThreadPoolExecutor(1, "outbox"))

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do `work` and sync. Raises what `work` raised (nothing of it is stored then), or
        DatabaseError when the file can't be written.

        A cancelled wait does not undo the work. It may be called again after it was undone with
        the work of others: what it does is done to the connection alone.
        """
        if self._file is None:
            raise DatabaseError(f"{self._path} is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._waiting.append(_Operation(work, future))
        if self._writing is None:
            self._writing = loop.create_task(self._write(self._file))
        return await future

    async def close(self) -> None:
        """Write what was asked for, then release the file."""
        if self._file is None:
            return
        file, self._file = self._file, None
        if self._writing is not None:
            await asyncio.wait({self._writing})
        await asyncio.get_running_loop().run_in_executor(file.syncing, file.connection.close)
        file.syncing.shutdown()
        os.close(file.lock)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise DatabaseError(f"format {version} is not known to this version")
        connection.executescript(self._schema)
        connection.execute(f"PRAGMA user_version = {FORMAT}")

    async def _write(self, file: _File) -> None:
        """Group after group, until nothing waits."""
        try:
            while self._waiting:
                group = self._waiting[:_GROUP]
                del self._waiting[:_GROUP]
                for done in await _store(file, group):
                    _resolve(done)
        finally:
            self._writing = None


async def _store(file: _File, group: Sequence[_Operation]) -> list[_Done]:
    """One transaction, and its sync unless nothing was written; a failed one undoes all."""
    db = file.connection
    before = db.total_changes
    try:
        done = _run_group(db, group)
        if db.total_changes == before:
            db.execute("COMMIT")
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(file.syncing, db.execute, "COMMIT")
    except sqlite3.Error as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if torn.is_torn(error):
            torn.condemn(file.path)
        failure = DatabaseError(f"{file.path}: the outbox can't be written: {error}")
        return [_Done(operation, None, failure) for operation in group]
    return done


def _run_group(db: sqlite3.Connection, group: Sequence[_Operation]) -> list[_Done]:
    """All of it in an open transaction. Errors are rare, and a savepoint costs as much as a step:
    only when one raises are all done again, so that it is undone alone."""
    db.execute("BEGIN IMMEDIATE")
    try:
        return [_Done(operation, operation.work(db), None) for operation in group]
    except sqlite3.OperationalError:
        raise
    except Exception:  # whoever asked for it is told below
        db.execute("ROLLBACK")
    db.execute("BEGIN IMMEDIATE")
    return [_run_guarded(db, operation) for operation in group]


def _run_guarded(db: sqlite3.Connection, operation: _Operation) -> _Done:
    db.execute("SAVEPOINT one")
    try:
        done = _Done(operation, operation.work(db), None)
    except sqlite3.OperationalError:
        raise
    except Exception as error:  # whatever it is, it goes to who asked
        db.execute("ROLLBACK TO one")
        done = _Done(operation, None, error)
    db.execute("RELEASE one")
    return done


def _resolve(done: _Done) -> None:
    future = done.operation.future
    if future.done():
        return
    if done.error is None:
        future.set_result(done.value)
    else:
        future.set_exception(done.error)
