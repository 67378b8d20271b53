"""The order book: SQLite, one file, the merchant's own memory of what it asked and what is proven.

An attempt's signed intent is stored before it is posted and is never thrown away; a retry posts
the same bytes. One process writes at a time, in transactions; SQLite syncs each of them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from clearline import reports, times
from merchant.attempts import (
    RENEWABLE,
    Attempt,
    BookError,
    Change,
    Entry,
    KeptAnswer,
    KeptReceipt,
    NewIntent,
    News,
    OrderStatus,
    State,
)
from merchant.orders import Order
from merchant.verify import Dispute

_VERSION: Final = 2
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
CREATE VIEW tried AS
    SELECT a.order_no, a.attempt, i.compact, i.expires_at, a.status, a.code, a.detail, a.gateway,
        a.result, a.tx_id, a.block_number, a.changed_at
    FROM attempts a JOIN intents i USING (order_no, attempt, digest);
CREATE VIEW standing AS
    SELECT o.rowid AS place, o.content, t.* FROM orders o LEFT JOIN tried t
    ON t.order_no = o.order_no
    AND t.attempt = (SELECT max(attempt) FROM attempts b WHERE b.order_no = o.order_no);
"""
_EVENTS: Final = (
    "CREATE TABLE events (event_id TEXT PRIMARY KEY, at TEXT NOT NULL, verdict TEXT NOT NULL)"
)
# How far a status that is not proven is on its way: news of an earlier one changes nothing.
_WAY: Final = {
    OrderStatus.REFUSED: 0,
    OrderStatus.LAPSED: 0,
    OrderStatus.SIGNED: 0,
    OrderStatus.RECEIVED: 1,
    OrderStatus.REQUESTED: 2,
    OrderStatus.ACCEPTED: 3,
    OrderStatus.UNKNOWN: 3,
}


class OrderBook:
    """One merchant's orders in one network."""

    def __init__(self, path: Path, network: str, merchant_id: str) -> None:
        """Open the book, making it when there is none. Raises BookError."""
        try:
            # Made by us first, so that no other account of the machine can ever read it.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._prepare(path, {"network": network, "merchant_id": merchant_id})
        except (sqlite3.Error, OSError) as error:
            raise BookError(f"can't open the order book {path}: {error}") from None

    def _prepare(self, path: Path, about: dict[str, str]) -> None:
        with self._writing():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == 0 and tables == 0:
                for statement in (*_SCHEMA.split(";\n"), _EVENTS):
                    self._db.execute(statement)
                self._db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
                self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
                return
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            if application == _APPLICATION_ID and version == 1:
                # Format 1 had no webhooks.
                self._db.execute(_EVENTS)
                self._db.execute(f"PRAGMA user_version = {_VERSION}")
                version = _VERSION
        if application != _APPLICATION_ID:
            raise BookError(f"{path} is not an order book")
        if version != _VERSION:
            raise BookError(f"{path} is of format {version}, this program reads {_VERSION}")
        found = dict(self._db.execute("SELECT name, value FROM about").fetchall())
        if found != about:
            raise BookError(
                f"{path} belongs to merchant {found.get('merchant_id')} in network "
                f"{found.get('network')}, the profile says {about['merchant_id']} in "
                f"{about['network']}; use another folder"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # IMMEDIATE: of two processes the second waits here, not in the middle of its work.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file; committed work is on the disk already."""
        self._db.close()

    def add(self, orders: Iterable[Order]) -> list[Entry]:
        """Put orders into the book in one transaction; answers what became of each.

        The same row again is SAME, or UPDATED when the profile filled it otherwise and no gateway
        has it yet; another row under a number that is taken is CONFLICT and changes nothing.
        """
        entries: list[Entry] = []
        now = times.now()
        with self._writing():
            for order in orders:
                entries.append(self._add(order, now))
        return entries

    def _add(self, order: Order, now: str) -> Entry:
        before = self.state(order.order_no)
        content = order.to_text()
        if before is None:
            self._db.execute(
                "INSERT INTO orders VALUES (?, ?, ?, ?)",
                (order.order_no, order.digest, content, now),
            )
            return Entry.ADDED
        if before.order.digest != order.digest:
            return Entry.CONFLICT
        if before.order == order or before.status not in RENEWABLE | {OrderStatus.NEW}:
            return Entry.SAME
        self._db.execute(
            "UPDATE orders SET content = ? WHERE order_no = ?", (content, order.order_no)
        )
        return Entry.UPDATED

    def states(self) -> Iterator[State]:
        """Every order with its newest attempt, in the order they were taken."""
        rows = self._db.execute("SELECT * FROM standing ORDER BY place").fetchall()
        return (_state(row) for row in rows)

    def state(self, order_no: str) -> State | None:
        """One order with its newest attempt."""
        row = self._db.execute(
            "SELECT s.* FROM standing s JOIN orders o ON o.rowid = s.place WHERE o.order_no = ?",
            (order_no,),
        ).fetchone()
        return _state(row) if row else None

    def counts(self) -> dict[OrderStatus, int]:
        """How many orders stand where."""
        rows = self._db.execute(
            "SELECT coalesce(status, 'new'), count(*) FROM standing GROUP BY 1"
        ).fetchall()
        return {OrderStatus(status): count for status, count in rows}

    def attempts(self, order_no: str) -> list[Attempt]:
        """All attempts at an order, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM tried WHERE order_no = ? ORDER BY attempt", (order_no,)
        ).fetchall()
        return [_attempt(row) for row in rows]

    def intents(self, order_no: str, attempt: int) -> list[str]:
        """Every intent ever signed for an attempt, as JWS texts, oldest first."""
        rows = self._db.execute(
            "SELECT compact FROM intents WHERE order_no = ? AND attempt = ? ORDER BY rowid",
            (order_no, attempt),
        ).fetchall()
        return [row[0] for row in rows]

    def answers(self, order_no: str, attempt: int) -> list[KeptAnswer]:
        """The answers that changed an attempt, oldest first."""
        rows = self._db.execute(
            "SELECT at, gateway, verdict, body FROM answers "
            "WHERE order_no = ? AND attempt = ? ORDER BY id",
            (order_no, attempt),
        ).fetchall()
        return [KeptAnswer(*row) for row in rows]

    def receipts(self) -> list[KeptReceipt]:
        """Every receipt a gateway gave, oldest first."""
        rows = self._db.execute(
            "SELECT order_no, attempt, gateway, json_extract(body, '$.receipt') AS receipt"
            " FROM answers WHERE json_valid(body) AND receipt IS NOT NULL ORDER BY id"
        ).fetchall()
        found = {(row[0], row[1], row[3]): KeptReceipt(*row) for row in rows}
        return list(found.values())

    def store(self, intents: Sequence[NewIntent]) -> list[Attempt]:
        """Store signed intents before they are posted, in one synced transaction.

        Answers what is to be posted: another process may have signed the same attempt first, and
        then its intent is the one. A lapsed or refused attempt takes the new one, keeping the old.
        """
        now = times.now()
        with self._writing():
            for new in intents:
                row = self._db.execute(
                    "SELECT status FROM attempts WHERE order_no = ? AND attempt = ?",
                    (new.order_no, new.attempt),
                ).fetchone()
                if row is not None and row[0] not in RENEWABLE:
                    continue
                self._db.execute(
                    "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?)",
                    (new.order_no, new.attempt, new.digest, new.compact, new.expires_at, now),
                )
                self._db.execute(
                    "INSERT OR REPLACE INTO attempts "
                    "(order_no, attempt, digest, status, changed_at) VALUES (?, ?, ?, ?, ?)",
                    (new.order_no, new.attempt, new.digest, OrderStatus.SIGNED, now),
                )
            rows = [
                self._db.execute(
                    "SELECT * FROM tried WHERE order_no = ? AND attempt = ?",
                    (new.order_no, new.attempt),
                ).fetchone()
                for new in intents
            ]
        return [_attempt(row) for row in rows]

    def record(self, changes: Sequence[Change]) -> list[Change]:
        """Write what answers made of attempts, in one transaction; answers what was written.

        A proven end stays. Another end proven by another result is an equivocation: the attempt
        becomes disputed and stays so.
        """
        now = times.now()
        with self._writing():
            return [self._record(change, now) for change in changes]

    def taken(self, event_id: str) -> bool:
        """Whether this event was taken before."""
        row = self._db.execute("SELECT 1 FROM events WHERE event_id = ?", (event_id,)).fetchone()
        return row is not None

    def take(self, news: Sequence[News]) -> list[Change | None]:
        """Write what events made of attempts, and that they were taken, in one transaction.

        An event that was taken before changes nothing, nor does one that tells less than is
        known. One that is disputed is written and not taken: sent again, it may be believed.
        """
        now = times.now()
        with self._writing():
            return [self._take(item, now) for item in news]

    def _take(self, item: News, now: str) -> Change | None:
        if self.taken(item.event_id):
            return None
        change = item.change
        disputed = change is not None and change.status is OrderStatus.DISPUTED
        written = None
        if change is not None and self._is_news(change):
            written = self._record(change, now)
        if not disputed:
            verdict = item.verdict if written is None else str(written.status)
            self._db.execute("INSERT INTO events VALUES (?, ?, ?)", (item.event_id, now, verdict))
        return written

    def _is_news(self, change: Change) -> bool:
        status, code, block = self._db.execute(
            "SELECT status, code, block_number FROM attempts WHERE order_no = ? AND attempt = ?",
            (change.order_no, change.attempt),
        ).fetchone()
        before = OrderStatus(status)
        if change.status.final:
            return True
        if change.status is OrderStatus.DISPUTED:
            return (before, code) != (change.status, change.code)
        if before not in _WAY or _WAY[change.status] < _WAY[before]:
            return False
        return block is None or change.block_number is None or change.block_number > block

    def _record(self, change: Change, now: str) -> Change:
        key = (change.order_no, change.attempt)
        status, code, result = self._db.execute(
            "SELECT status, code, result FROM attempts WHERE order_no = ? AND attempt = ?", key
        ).fetchone()
        before = OrderStatus(status)
        if before.final or code == Dispute.EQUIVOCATION:
            if not change.status.final or _same_report(change.result, result):
                return Change(*key, before, change.gateway, code)
            change = Change(
                *key,
                OrderStatus.DISPUTED,
                change.gateway,
                Dispute.EQUIVOCATION,
                f"the bank signed {before} and {change.status}: two results of one payment",
                result,
                body=change.body,
            )
        self._db.execute(
            "UPDATE attempts SET status = ?, code = ?, detail = ?, gateway = ?, result = ?, "
            "tx_id = ?, block_number = ?, changed_at = ? WHERE order_no = ? AND attempt = ?",
            (
                change.status,
                change.code,
                change.detail,
                change.gateway,
                change.result,
                change.tx_id,
                change.block_number,
                now,
                *key,
            ),
        )
        self._db.execute(
            "INSERT INTO answers (order_no, attempt, at, gateway, verdict, body) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (*key, now, change.gateway, change.code or change.status, change.body),
        )
        return change


def _same_report(one: str, other: str) -> bool:
    # ES256 signs the same report with other bytes each time.
    return reports.parse(one).report == reports.parse(other).report


def _attempt(row: tuple[Any, ...]) -> Attempt:
    order_no, attempt, compact, expires_at, status, *rest = row
    return Attempt(order_no, attempt, compact, expires_at, OrderStatus(status), *rest)


def _state(row: tuple[Any, ...]) -> State:
    _, content, *tried = row
    return State(Order.from_text(content), None if tried[0] is None else _attempt(tuple(tried)))
