"""The webhooks' SQLite file: what the notifier and the HTTP workers share.

Events and deliveries of a block are written with the checkpoint in one synced transaction.
Registrations can't be made again from the ledger, so the file is to be backed up. One that is torn
is kept aside and begun anew by the notifier: the workers only ever open what is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from clearline import torn

FORMAT: Final = 2
_BUSY: Final = 5.0  # seconds to wait for another process's transaction; they take milliseconds
# `seq` of an event is its place on the ledger (see place), so that every gateway gives the same.
# A webhook that was removed stays with its sequence, or an old registration could be replayed.
# `record` of an event is the body itself where it has no `tx_id`: it was stored by format 1.
# `turn` of a delivery is 0 when nothing earlier of its payment is undelivered, else 1.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    last_block INTEGER NOT NULL,
    last_hash BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS merchants (
    merchant_id TEXT PRIMARY KEY,
    active_keys TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    merchant_id TEXT NOT NULL,
    payment TEXT NOT NULL,
    type TEXT NOT NULL,
    record BLOB NOT NULL,
    stored_at REAL NOT NULL,
    tx_id TEXT NOT NULL DEFAULT '',
    timestamp TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS events_listed ON events (merchant_id, seq);
CREATE TABLE IF NOT EXISTS webhooks (
    webhook INTEGER PRIMARY KEY,
    merchant_id TEXT NOT NULL,
    webhook_id TEXT NOT NULL,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    key_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    digest TEXT NOT NULL,
    created TEXT NOT NULL,
    from_block INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    failures INTEGER NOT NULL DEFAULT 0,
    resume_at REAL NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER NOT NULL DEFAULT 0,
    last_success TEXT NOT NULL DEFAULT '',
    last_failure TEXT NOT NULL DEFAULT '',
    last_error TEXT NOT NULL DEFAULT '',
    UNIQUE (merchant_id, webhook_id)
);
CREATE TABLE IF NOT EXISTS deliveries (
    webhook INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    payment TEXT NOT NULL,
    turn INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL,
    stored_at REAL NOT NULL,
    PRIMARY KEY (webhook, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (webhook, turn, due_at);
CREATE INDEX IF NOT EXISTS deliveries_of ON deliveries (webhook, payment, seq);
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (seq);
"""
_TO_2: Final = (
    "ALTER TABLE events RENAME COLUMN body TO record",
    "ALTER TABLE events ADD COLUMN tx_id TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE events ADD COLUMN timestamp TEXT NOT NULL DEFAULT ''",
)


class StoreError(Exception):
    """The file can't be used; the message says why and what to do."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection that syncs what it commits. Makes the file when there is none.

    Raises StoreError for a file of another format, sqlite3.Error or OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        _prepare(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def owned(path: Path) -> tuple[sqlite3.Connection, bool]:
    """The same for the notifier, who alone begins a torn file anew; whether it was. Raises as
    `connect`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return torn.opened(path, partial(_prepare, path))


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    with writing(connection):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not 0 <= version <= FORMAT:
            raise StoreError(f"{path} is of format {version}, not {FORMAT}")
        for statement in _SCHEMA.split(";\n") if version == 0 else _TO_2 * (version < FORMAT):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction, all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def place(block: int, transaction: int, item: int) -> int:
    """Where an event is on the ledger, as one number over 0 that grows with it."""
    return (block << 32 | transaction << 16 | item) + 1


def block_of(seq: int) -> int:
    """The block of the event at a place."""
    return (seq - 1) >> 32


def last_block(connection: sqlite3.Connection) -> int:
    """The last block whose events are stored, -1 before the first."""
    row = connection.execute("SELECT last_block FROM meta").fetchone()
    return -1 if row is None else int(row[0])
