"""What a process puts on stable storage and what it promises, in order, seen from inside.

Needs no strace: SQLite's connections, LMDB's environments and os.fsync are replaced by ones that
note what they did. A commit counts as durable when the settings read back from the connection or
environment that made it say that it syncs (SQLite: `synchronous`; LMDB: its flags); the libraries
do the rest in C, and system_calls.py sees that they did.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import lmdb

_FULL: Final = 2  # PRAGMA synchronous: a transaction is synced before its COMMIT returns


class Mode(StrEnum):
    """What a run does."""

    HONEST = "honest"
    UNSYNCED = "unsynced"
    """Planted bug: nothing is ever synced, as under PRAGMA synchronous = NORMAL and sync=False."""
    EARLY = "early"
    """Planted bug: the promise is made before the store is done (see plants.py)."""


class Kind(StrEnum):
    """What happened."""

    BEGIN = "begin"
    TOLD = "told"
    COMMITTED = "committed"
    """A database's transaction that changed something."""
    SYNCED = "synced"
    RENAMED = "renamed"
    """Or linked: a whole file has its name."""


@dataclass(frozen=True)
class Event:
    """name: a promise, or the path of a file or folder (the new one of a rename).

    durable: of a rename, that the file was synced before it.
    """

    kind: Kind
    name: str
    durable: bool = True


@dataclass
class Recorder:
    """Events of this process; `marks` also goes to a file, for who watches from outside."""

    mode: Mode
    marks: int
    events: list[Event] = field(default_factory=list)
    _told: dict[str, threading.Event] = field(default_factory=dict)
    _late: list[threading.Thread] = field(default_factory=list)
    _state: threading.Lock = field(default_factory=threading.Lock)

    @property
    def syncs(self) -> bool:
        """Whether a sync is one."""
        return self.mode is not Mode.UNSYNCED

    def begin(self, promise: str) -> None:
        """From here on what the promise needs may be stored."""
        self._mark(Event(Kind.BEGIN, promise))

    def told(self, promise: str) -> None:
        """The promise is made now. Only the first time counts."""
        event = self._event(promise)
        if not event.is_set():
            self._mark(Event(Kind.TOLD, promise))
            event.set()

    def pending(self, promise: str) -> bool:
        """For planted bugs: whether it was begun and is not made."""
        begun = Event(Kind.BEGIN, promise) in self.events
        return begun and not self._event(promise).is_set()

    def after(self, promise: str, work: Callable[[], object]) -> None:
        """For planted bugs: work that is done once the promise was made."""

        def wait() -> None:
            assert self._event(promise).wait(20), f"{promise} was never made"
            work()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        self._late.append(thread)

    def settle(self) -> None:
        """Until all such work is done; what it works on is closed after this."""
        while self._late:
            self._late.pop().join(25)

    def note(self, event: Event) -> None:
        """Something was stored."""
        with self._state:
            self.events.append(event)

    def _mark(self, event: Event) -> None:
        with self._state:
            self.events.append(event)
            os.write(self.marks, f"{event.kind} {event.name}\n".encode())

    def _event(self, promise: str) -> threading.Event:
        with self._state:
            return self._told.setdefault(promise, threading.Event())


def watch(recorder: Recorder) -> None:
    """Note what this process stores from now on; UNSYNCED takes the syncs away."""
    _watch_sqlite(recorder, "FULL" if recorder.syncs else "NORMAL")
    _watch_lmdb(recorder, {} if recorder.syncs else {"sync": False})
    _watch_files(recorder, os.fsync if recorder.syncs else lambda _: None)


def _watch_sqlite(recorder: Recorder, level: str) -> None:
    honest = sqlite3.connect

    class Watched(sqlite3.Connection):
        """Notes each COMMIT that changed something."""

        file = ""
        committed = 0

        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "PRAGMA synchronous = FULL":
                return super().execute(f"PRAGMA synchronous = {level}")
            if sql != "COMMIT" or self.total_changes == self.committed:
                return super().execute(sql, *arguments)
            self.committed = self.total_changes
            (synchronous,) = super().execute("PRAGMA synchronous").fetchone()
            cursor = super().execute(sql)
            recorder.note(Event(Kind.COMMITTED, self.file, synchronous >= _FULL))
            return cursor

    def connect(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = honest(database, *arguments, **options | {"factory": Watched})
        assert isinstance(connection, Watched)
        connection.file = str(database)
        return connection

    sqlite3.connect = connect  # type: ignore[assignment]


def _watch_lmdb(recorder: Recorder, forced: dict[str, bool]) -> None:
    honest = lmdb.open

    class Transaction:
        """A write transaction as a context; inside it the real one is used."""

        def __init__(self, environment: Any, made: Any) -> None:
            self._environment = environment
            self._made = made

        def __enter__(self) -> Any:
            return self._made.__enter__()

        def __exit__(self, *raised: Any) -> None:
            self._made.__exit__(*raised)
            if raised[0] is None:
                flags = self._environment.flags()
                durable = flags["sync"] and flags["metasync"]
                recorder.note(Event(Kind.COMMITTED, self._environment.path(), durable))

    class Environment:
        """The real one, but for write transactions."""

        def __init__(self, made: Any) -> None:
            self._made = made

        def begin(self, *arguments: Any, **options: Any) -> Any:
            made = self._made.begin(*arguments, **options)
            return Transaction(self._made, made) if options.get("write") else made

        def __getattr__(self, name: str) -> Any:
            return getattr(self._made, name)

    def open_(path: str, **options: Any) -> Environment:
        return Environment(honest(path, **options | forced))

    module: Any = lmdb
    module.open = open_


def _watch_files(recorder: Recorder, fsync: Callable[[int], None]) -> None:
    """fsync, rename and link. A descriptor is known by its inode: not every system can say its
    path.

    A planted bug of EARLY: a folder is not synced after its rename.
    """
    synced: set[tuple[int, int]] = set()
    folders: dict[tuple[int, int], str] = {}

    def watched_fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        inode = found.st_dev, found.st_ino
        if not stat.S_ISDIR(found.st_mode):
            fsync(descriptor)
            synced.add(inode)
        elif recorder.mode is not Mode.EARLY:
            fsync(descriptor)
            recorder.note(Event(Kind.SYNCED, folders.get(inode, ""), recorder.syncs))

    def watched(honest: Callable[..., None]) -> Any:
        def call(source: Any, target: Any, **options: Any) -> None:
            found = Path(source).stat()
            whole = recorder.syncs and (found.st_dev, found.st_ino) in synced
            honest(source, target, **options)
            folder = Path(target).parent
            place = folder.stat()
            folders[place.st_dev, place.st_ino] = str(folder)
            recorder.note(Event(Kind.RENAMED, str(target), whole))

        return call

    os.fsync = watched_fsync  # type: ignore[assignment]
    os.replace, os.link = watched(os.replace), watched(os.link)
