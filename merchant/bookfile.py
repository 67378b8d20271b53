"""The order book's file: its form, its format's number, whose it is."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from merchant.attempts import BookError

_VERSION: Final = 6
_APPLICATION_ID: Final = 0x434C4D42
_SCHEMA: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE orders (
    order_no TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    content TEXT NOT NULL,
    taken_at TEXT NOT NULL
);
CREATE TABLE intents (
    order_no TEXT NOT NULL REFERENCES orders,
    attempt INTEGER NOT NULL CHECK (attempt BETWEEN 1 AND 9999),
    digest TEXT NOT NULL,
    compact TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    signed_at TEXT NOT NULL,
    PRIMARY KEY (order_no, attempt, digest)
);
CREATE TABLE attempts (
    order_no TEXT NOT NULL REFERENCES orders,
    attempt INTEGER NOT NULL,
    digest TEXT NOT NULL,
    status TEXT NOT NULL,
    code TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    gateway TEXT NOT NULL DEFAULT '',
    result TEXT NOT NULL DEFAULT '',
    tx_id TEXT NOT NULL DEFAULT '',
    block_number INTEGER,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (order_no, attempt)
);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    order_no TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    at TEXT NOT NULL,
    gateway TEXT NOT NULL,
    verdict TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX answers_of ON answers (order_no, attempt);
"""
# Since format 2: webhooks.
_EVENTS: Final = (
    "CREATE TABLE events (event_id TEXT PRIMARY KEY, at TEXT NOT NULL, verdict TEXT NOT NULL)"
)
# Since format 3: what the merchant wants closed.
_CLOSES: Final = """
CREATE TABLE closes (
    order_no TEXT NOT NULL REFERENCES orders,
    attempt INTEGER NOT NULL,
    compact TEXT NOT NULL,
    signed_at TEXT NOT NULL,
    PRIMARY KEY (order_no, attempt)
);
DROP VIEW IF EXISTS standing;
DROP VIEW IF EXISTS tried;
CREATE VIEW tried AS
    SELECT a.order_no, a.attempt, i.compact, i.expires_at, a.status, a.code, a.detail, a.gateway,
        a.result, a.tx_id, a.block_number, a.changed_at, coalesce(c.compact, '') AS close
    FROM attempts a JOIN intents i USING (order_no, attempt, digest)
    LEFT JOIN closes c USING (order_no, attempt);
CREATE VIEW standing AS
    SELECT o.rowid AS place, o.content, t.* FROM orders o LEFT JOIN tried t
    ON t.order_no = o.order_no
    AND t.attempt = (SELECT max(attempt) FROM attempts b WHERE b.order_no = o.order_no);
"""
# Since format 4: what was found of receipts, and is not to be found again.
_FOUND: Final = """
CREATE TABLE omissions (
    receipt TEXT PRIMARY KEY,
    found_at TEXT NOT NULL,
    witness TEXT NOT NULL,
    block INTEGER NOT NULL,
    answered INTEGER NOT NULL
);
CREATE TABLE refusals (
    receipt TEXT NOT NULL,
    refusal TEXT NOT NULL,
    found_at TEXT NOT NULL,
    PRIMARY KEY (receipt, refusal)
);
"""
# Since format 5: refunds.
_REFUNDS: Final = """
CREATE TABLE refund_intents (
    order_no TEXT NOT NULL REFERENCES orders,
    attempt INTEGER NOT NULL,
    refund_no INTEGER NOT NULL CHECK (refund_no BETWEEN 1 AND 9999),
    digest TEXT NOT NULL,
    compact TEXT NOT NULL,
    signed_at TEXT NOT NULL,
    PRIMARY KEY (order_no, attempt, refund_no, digest)
);
CREATE TABLE refunds (
    order_no TEXT NOT NULL REFERENCES orders,
    attempt INTEGER NOT NULL,
    refund_no INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    compact TEXT NOT NULL,
    status TEXT NOT NULL,
    code TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    gateway TEXT NOT NULL DEFAULT '',
    result TEXT NOT NULL DEFAULT '',
    tx_id TEXT NOT NULL DEFAULT '',
    block_number INTEGER,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (order_no, attempt, refund_no)
);
"""
# Since format 6: what gateways signed for refunds. Before, no receipt of one was kept.
_REFUND_RECEIPTS: Final = """
CREATE TABLE refund_receipts (
    order_no TEXT NOT NULL REFERENCES orders,
    attempt INTEGER NOT NULL,
    refund_no INTEGER NOT NULL,
    gateway TEXT NOT NULL,
    receipt TEXT NOT NULL,
    kept_at TEXT NOT NULL,
    PRIMARY KEY (order_no, attempt, refund_no, receipt)
);
"""
# From format n to n + 1.
_STEPS: Final = (_SCHEMA, _EVENTS, _CLOSES, _FOUND, _REFUNDS, _REFUND_RECEIPTS)


def opened(path: Path, about: dict[str, str]) -> sqlite3.Connection:
    """The file, made when there is none and brought to this format. Raises BookError."""
    try:
        # Made by us first, so that no other account of the machine can ever read it.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(path, timeout=30, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        _prepare(db, path, about)
    except (sqlite3.Error, OSError) as error:
        raise BookError(f"can't open the order book {path}: {error}") from None
    return db


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction: all of it or nothing."""
    # IMMEDIATE: of two processes the second waits here, not in the middle of its work.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _prepare(db: sqlite3.Connection, path: Path, about: dict[str, str]) -> None:
    with writing(db):
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        new = version == 0 and tables == 0
        if new or (application == _APPLICATION_ID and 0 < version < _VERSION):
            for statement in ";\n".join(_STEPS[version:]).split(";\n"):
                db.execute(statement)
            if new:
                db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_VERSION}")
            application, version = _APPLICATION_ID, _VERSION
    if application != _APPLICATION_ID:
        raise BookError(f"{path} is not an order book")
    if version != _VERSION:
        raise BookError(f"{path} is of format {version}, this program reads {_VERSION}")
    found = dict(db.execute("SELECT name, value FROM about").fetchall())
    if found != about:
        raise BookError(
            f"{path} belongs to merchant {found.get('merchant_id')} in network "
            f"{found.get('network')}, the profile says {about['merchant_id']} in "
            f"{about['network']}; use another folder"
        )
