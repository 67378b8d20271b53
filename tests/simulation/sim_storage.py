"""SQLite files written without threads: a step is done a moment after it was asked for, or never.

Both stores keep their own schema and statements; what is replaced is the writing thread and what
only matters to a disk (WAL, syncs, locks). A process that is killed loses what was not done yet,
from some step on, and never half a step.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sim_process import Base, Process, own_process

from clearline.fabric import store as queue_store
from clearline.fabric.store import QueueStore, StoredState, StoreError
from connector.database import Database, DatabaseError

_T = TypeVar("_T")
_Step = tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]


class SimFile:
    """A SQLite file as one process writes it. `likely_full`: that a group of steps fails."""

    def __init__(self, world: Base, path: Path, failure: type[Exception]) -> None:
        self._world = world
        self._process: Process = own_process()
        self._failure = failure
        self._steps: list[_Step] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        # Nobody else has it open while a step is done: no locks, which are a third of it.
        self.db = sqlite3.connect(f"file:{path}?vfs=unix-none", uri=True, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = MEMORY")
        self.db.execute("PRAGMA synchronous = OFF")
        self._process.at_death.append(self._die)

    def step(self, work: Callable[[sqlite3.Connection], _T]) -> asyncio.Future[_T]:
        """Ask for a step; done (and synced, had there been a disk) when the future is."""
        self._process.point("before a step")
        future: asyncio.Future[_T] = self._world.loop.create_future()
        self._steps.append((work, future))
        if len(self._steps) == 1:
            self._world.later(self._world.disk_seconds(), self._write)
        return future

    def close(self) -> None:
        """Write what was asked for, and close."""
        if self._process.alive:
            self._write()
            self.db.close()

    def _write(self) -> None:
        steps, self._steps = self._steps, []
        if not steps or not self._process.alive:
            return
        if self._world.disk_is_full():
            self._world.note(self._process.name, "disk full", self.path.name)
            for _, future in steps:
                _settle(future, None, self._failure("disk full"))
            return
        for (_, future), (value, error) in zip(steps, self._commit(steps), strict=True):
            _settle(future, value, error)

    def _commit(self, steps: list[_Step]) -> list[tuple[Any, Exception | None]]:
        """One transaction a step: the same as one for all, where nothing dies between them."""
        outcomes: list[tuple[Any, Exception | None]] = []
        for work, _ in steps:
            self.db.execute("BEGIN")
            try:
                outcomes.append((work(self.db), None))
                self.db.execute("COMMIT")
            except Exception as error:
                self.db.execute("ROLLBACK")
                outcomes.append((None, error))
        return outcomes

    def _die(self) -> None:
        """What a disk did before the process was gone: the first steps, or all, or none."""
        done = self._world.chance.randint(0, len(self._steps))
        if done:
            self._commit(self._steps[:done])
        self._steps.clear()
        self.db.close()


class SimDatabase(Database):
    """The outbox's file."""

    def __init__(self, path: Path, schema: str) -> None:
        super().__init__(path, schema)
        self._at = path
        self._ddl = schema
        self._file: Any = None  # a SimFile

    def open(self) -> None:
        self._file = SimFile(own_process().world, self._at, DatabaseError)
        self._file.db.executescript(self._ddl)

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._file is None:
            raise DatabaseError("closed")
        value: _T = await self._file.step(work)
        own_process().point("after a step")
        return value

    async def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


class SimQueueStore(QueueStore):
    """The commit queue's file."""

    def __init__(self, world: Base, path: Path) -> None:
        super().__init__(path)
        self._world = world
        self._at = path
        self._file: SimFile | None = None

    async def open(self) -> StoredState:
        self._file = SimFile(self._world, self._at, StoreError)
        self._file.db.executescript(queue_store._SCHEMA)
        return await self._do(queue_store._load)

    async def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> asyncio.Future[_T]:
        if self._file is None:
            future: asyncio.Future[_T] = self._world.loop.create_future()
            future.set_exception(StoreError("closed"))
            return future
        return self._file.step(work)

    def holds_envelope(self, tx_id: str) -> bool:
        """Whether an envelope is on stable storage."""
        assert self._file is not None
        found = self._file.db.execute("SELECT 1 FROM envelopes WHERE tx_id = ?", (tx_id,))
        return found.fetchone() is not None


def _settle(future: asyncio.Future[Any], value: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
