"""The file of a company's own book: SQLite, one entry a reference in each of its tables.

WAL, synchronous FULL: an entry is on stable storage before its answer leaves. Each book also has
the days that are closed, whose files were made, and its adjustments.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_CLEARING: Final = """
CREATE TABLE IF NOT EXISTS closed (
    date TEXT PRIMARY KEY, delivered INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS adjustment (
    id INTEGER PRIMARY KEY AUTOINCREMENT, reference TEXT NOT NULL, merchant_code TEXT NOT NULL,
    amount INTEGER NOT NULL, currency TEXT NOT NULL, clearing_date TEXT NOT NULL);
"""
_CUT_OVER: Final = timedelta(hours=1)  # before midnight UTC
_Entry = TypeVar("_Entry", bound="DataclassInstance")


def open_book(path: Path, schema: str) -> sqlite3.Connection:
    """Open or make it; for one thread at a time. Raises sqlite3.Error when the file is none."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    path.chmod(0o600)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.executescript(schema + _CLEARING)
    return db


def clearing_date(db: sqlite3.Connection, now: datetime) -> str:
    """The day that what is charged now clears on: the clock's, from 23:00 UTC on the next one's;
    never one that is closed."""
    by_clock = (now + _CUT_OVER).date()
    (last,) = db.execute("SELECT max(date) FROM closed").fetchone()
    if last is None:
        return by_clock.isoformat()
    return max(by_clock, date.fromisoformat(last) + timedelta(days=1)).isoformat()


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """What is written inside is on stable storage afterwards, or not at all."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


class Entries(Generic[_Entry]):
    """The entries of one kind, a dataclass whose fields are the table's columns."""

    def __init__(self, kind: type[_Entry], table: str = "entry") -> None:
        self._kind: Any = kind
        self._table = table
        self._names = [item.name for item in fields(kind)]
        self._columns = ", ".join(self._names)
        self._marks = ", ".join("?" for _ in self._names)

    def find(self, db: sqlite3.Connection, reference: str) -> _Entry | None:
        """The entry of a reference."""
        row = db.execute(
            f"SELECT {self._columns} FROM {self._table} WHERE reference = ?",  # noqa: S608
            (reference,),
        ).fetchone()
        return self._kind(*row) if row else None

    def put(self, db: sqlite3.Connection, entry: _Entry) -> None:
        """Store an entry, replacing the one of its reference."""
        db.execute(
            f"INSERT OR REPLACE INTO {self._table} ({self._columns}) VALUES ({self._marks})",  # noqa: S608
            [getattr(entry, name) for name in self._names],
        )

    def read(self, path: Path) -> list[_Entry]:
        """Every entry of a book, by reference, while its owner may be running.

        Raises sqlite3.Error when there is no book.
        """
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            query = f"SELECT {self._columns} FROM {self._table} ORDER BY reference"  # noqa: S608
            rows = db.execute(query)
            return [self._kind(*row) for row in rows]
