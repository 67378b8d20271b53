"""The wallet's own book: what became of each full reference, and what it still has to do.

SQLite, WAL, synchronous FULL: an entry is on stable storage before its answer leaves. A reference
has at most one charge and one reversal; `due` holds what payers and notices do later, so that a
wallet that was killed goes on with it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from acquirers.bookfile import Entries, clearing_date, open_book, transaction

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    reference TEXT PRIMARY KEY, state TEXT NOT NULL, merchant_code TEXT NOT NULL,
    payer_token TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
    charged_amount INTEGER NOT NULL, wallet_no TEXT NOT NULL, reason TEXT NOT NULL,
    mcc TEXT NOT NULL, expires_at TEXT NOT NULL, notify_url TEXT NOT NULL,
    clearing_date TEXT NOT NULL, ended_at TEXT NOT NULL,
    charges INTEGER NOT NULL CHECK (charges IN (0, 1)),
    reversals INTEGER NOT NULL CHECK (reversals BETWEEN 0 AND charges),
    creates_seen INTEGER NOT NULL, closes_seen INTEGER NOT NULL,
    reversals_seen INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refund (
    reference TEXT PRIMARY KEY, state TEXT NOT NULL, payment TEXT NOT NULL,
    merchant_code TEXT NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL,
    reason TEXT NOT NULL, due_at TEXT NOT NULL, clearing_date TEXT NOT NULL,
    requests_seen INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refund_of ON refund (payment);
CREATE TABLE IF NOT EXISTS nonce (nonce TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS due (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, what TEXT NOT NULL,
    reference TEXT NOT NULL, tries INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, what TEXT NOT NULL,
    reference TEXT NOT NULL, outcome TEXT NOT NULL);
"""


class State(StrEnum):
    """Where a payment stands in the wallet."""

    UNHEARD = "unheard"  # messages about it were seen, nothing was decided
    WAITING = "waiting"
    PAID = "paid"
    REFUSED = "refused"
    CLOSED = "closed"
    EXPIRED = "expired"
    REVERSED = "reversed"


@dataclass(frozen=True, slots=True)
class Entry:
    """All that happened under one reference. Amounts in minor units of `currency` (ISO 4217);
    `*_seen` count messages, repeats included; times RFC 3339."""

    reference: str
    state: str = State.UNHEARD
    merchant_code: str = ""
    payer_token: str = ""
    amount: int = 0
    currency: str = ""
    charged_amount: int = 0
    wallet_no: str = ""
    reason: str = ""
    mcc: str = ""
    expires_at: str = ""
    notify_url: str = ""
    clearing_date: str = ""
    ended_at: str = ""
    charges: int = 0
    reversals: int = 0
    creates_seen: int = 0
    closes_seen: int = 0
    reversals_seen: int = 0

    @property
    def net(self) -> int:
        """What the payer paid in the end, minor units."""
        return self.charged_amount * (self.charges - self.reversals)


class RefundState(StrEnum):
    """Where a refund stands in the wallet."""

    UNHEARD = "unheard"  # a request for it was lost, nothing was decided
    PROCESSING = "processing"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund under its own full reference, of the payment under reference `payment`. `amount` in
    minor units of `currency` (ISO 4217); one that is processing is done at `due_at`."""

    reference: str
    state: str = RefundState.UNHEARD
    payment: str = ""
    merchant_code: str = ""
    amount: int = 0
    currency: str = ""
    reason: str = ""
    due_at: str = ""
    clearing_date: str = ""
    requests_seen: int = 0

    @property
    def given(self) -> int:
        """What was given back, minor units."""
        return self.amount if self.state == RefundState.DONE else 0


@dataclass(frozen=True, slots=True)
class Due:
    """Something to be done at `at` (Unix seconds): a payer's act, or a notice by its kind."""

    at: float
    what: str
    reference: str
    tries: int = 0
    number: int = 0


_ENTRIES: Final = Entries(Entry)
_REFUNDS: Final = Entries(Refund, "refund")


class Book:
    """The book in one SQLite file. Not for more than one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the book. Raises sqlite3.Error when the file is none."""
        self._db = open_book(path, _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def transaction(self) -> AbstractContextManager[None]:
        """What is written inside is on stable storage afterwards, or not at all."""
        return transaction(self._db)

    def find(self, reference: str) -> Entry | None:
        """The entry of a reference."""
        return _ENTRIES.find(self._db, reference)

    def put(self, entry: Entry) -> None:
        """Store an entry, replacing the one of its reference."""
        _ENTRIES.put(self._db, entry)

    def clearing_date(self, now: datetime) -> str:
        """The day that what is charged now clears on."""
        return clearing_date(self._db, now)

    def find_refund(self, reference: str) -> Refund | None:
        """The refund of a reference."""
        return _REFUNDS.find(self._db, reference)

    def put_refund(self, refund: Refund) -> None:
        """Store a refund, replacing the one of its reference."""
        _REFUNDS.put(self._db, refund)

    def refunded(self, payment: str) -> int:
        """What of the payment under this reference was given back, or is about to be."""
        row = self._db.execute(
            "SELECT coalesce(sum(amount), 0) FROM refund WHERE payment = ? AND state IN (?, ?)",
            (payment, RefundState.PROCESSING, RefundState.DONE),
        ).fetchone()
        return int(row[0])

    def write(self, at: str, what: str, reference: str, outcome: str) -> int:
        """Append to the journal; answers the line's number."""
        cursor = self._db.execute(
            "INSERT INTO journal (at, what, reference, outcome) VALUES (?, ?, ?, ?)",
            (at, what, reference, outcome),
        )
        return int(cursor.lastrowid or 0)

    def use_nonce(self, nonce: str, at: int, oldest: int) -> bool:
        """Whether a nonce is new; those from before `oldest` are forgotten."""
        self._db.execute("DELETE FROM nonce WHERE at < ?", (oldest,))
        row = self._db.execute("INSERT OR IGNORE INTO nonce VALUES (?, ?)", (nonce, at))
        return row.rowcount == 1

    def plan(self, due: Due) -> None:
        """Remember what is to be done."""
        self._db.execute(
            "INSERT INTO due (at, what, reference, tries) VALUES (?, ?, ?, ?)",
            (due.at, due.what, due.reference, due.tries),
        )

    def planned(self) -> list[Due]:
        """All that is to be done, the earliest first."""
        rows = self._db.execute("SELECT at, what, reference, tries, id FROM due ORDER BY at, id")
        return [Due(*row) for row in rows]

    def settle(self, due: Due, again: Due | None) -> None:
        """It is done, or done again as `again` says."""
        self._db.execute("DELETE FROM due WHERE id = ?", (due.number,))
        if again is not None:
            self.plan(again)


def read_entries(path: Path) -> list[Entry]:
    """Every entry of a book, by reference, while its owner may be running.

    Raises sqlite3.Error when there is no book.
    """
    return _ENTRIES.read(path)


def read_refunds(path: Path) -> list[Refund]:
    """Every refund of a book, by reference, as `read_entries`."""
    return _REFUNDS.read(path)
