"""The acquirer's own book: what was charged and reversed under each full reference, and the vault:
which tokens there are, and whose account each one is.

SQLite, WAL, synchronous FULL: an entry is on stable storage before its answer leaves. A reference
has at most one charge and one reversal; the journal keeps every message that reached the book.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from acquirers.bookfile import Entries, clearing_date, open_book, transaction
from acquirers.unionpay_iso8583 import sandbox

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS vault (
    token TEXT PRIMARY KEY, account TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (
    reference TEXT PRIMARY KEY, merchant_code TEXT NOT NULL, payer_token TEXT NOT NULL,
    amount INTEGER NOT NULL, currency TEXT NOT NULL, code TEXT NOT NULL, rrn TEXT NOT NULL,
    auth_code TEXT NOT NULL, clearing_date TEXT NOT NULL,
    charges INTEGER NOT NULL CHECK (charges IN (0, 1)),
    reversals INTEGER NOT NULL CHECK (reversals BETWEEN 0 AND charges),
    fenced INTEGER NOT NULL CHECK (fenced IN (0, 1)),
    purchases_seen INTEGER NOT NULL, reversals_seen INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refund (
    reference TEXT PRIMARY KEY, original TEXT NOT NULL, merchant_code TEXT NOT NULL,
    amount INTEGER NOT NULL, currency TEXT NOT NULL, code TEXT NOT NULL, rrn TEXT NOT NULL,
    clearing_date TEXT NOT NULL, given INTEGER NOT NULL CHECK (given IN (0, 1)),
    requests_seen INTEGER NOT NULL, repeats_seen INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refund_of ON refund (original);
CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, mti TEXT NOT NULL,
    stan TEXT NOT NULL, institution TEXT NOT NULL, reference TEXT NOT NULL,
    amount INTEGER NOT NULL, code TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """All that happened under one reference. `amount` in minor units, `currency` ISO 4217 numeric.

    `code` is the response code of the purchase, empty while none was decided; `fenced`: 1 when a
    reversal came first, so that no purchase may follow; `*_seen` count messages, repeats included.
    """

    reference: str
    merchant_code: str = ""
    payer_token: str = ""
    amount: int = 0
    currency: str = ""
    code: str = ""
    rrn: str = ""
    auth_code: str = ""
    clearing_date: str = ""
    charges: int = 0
    reversals: int = 0
    fenced: int = 0
    purchases_seen: int = 0
    reversals_seen: int = 0

    @property
    def net(self) -> int:
        """What the payer paid in the end, minor units."""
        return self.amount * (self.charges - self.reversals)


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund under its own full reference, of the payment under `original`. `code` is empty while
    none was decided; `given`: 1 when the money was given back."""

    reference: str
    original: str = ""
    merchant_code: str = ""
    amount: int = 0
    currency: str = ""
    code: str = ""
    rrn: str = ""
    clearing_date: str = ""
    given: int = 0
    requests_seen: int = 0
    repeats_seen: int = 0


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One message as the book took it."""

    at: str
    mti: str
    stan: str
    institution: str
    reference: str
    amount: int
    code: str


# Its user_version: a book of an earlier version has a vault that was never filled.
_VAULT_FILLED: Final = 1
_ENTRIES: Final = Entries(Entry)
_REFUNDS: Final = Entries(Refund, "refund")


_Decided = TypeVar("_Decided", Entry, Refund)


class Book:
    """The book in one SQLite file, for one user at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the book; a new one's vault holds the sandbox's tokens. Raises
        sqlite3.Error when the file is none."""
        self._db = open_book(path, _SCHEMA)
        self._fill_vault()

    def _fill_vault(self) -> None:
        """Once in a book's life: a token that was taken out later stays out."""
        (filled,) = self._db.execute("PRAGMA user_version").fetchone()
        if filled >= _VAULT_FILLED:
            return
        with transaction(self._db):
            for token in sandbox.TOKENS:
                self.open_account(token, sandbox.account(token))
            self._db.execute(f"PRAGMA user_version = {_VAULT_FILLED}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin(self) -> None:
        """Begin a transaction: what is written until `commit` is there whole or not at all. One
        that was left open is undone."""
        self.undo()
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """What was written since `begin` is on stable storage afterwards. It may be called in
        another thread, for it syncs."""
        self._db.execute("COMMIT")

    def undo(self) -> None:
        """Nothing was written since `begin`."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

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

    def refunded(self, original: str) -> int:
        """What of the payment under this reference was given back, minor units."""
        row = self._db.execute(
            "SELECT coalesce(sum(amount), 0) FROM refund WHERE original = ? AND given = 1",
            (original,),
        ).fetchone()
        return int(row[0])

    def open_account(self, token: str, account: str) -> None:
        """Remember in the vault whose token this is; one that is there stays as it is."""
        self._db.execute("INSERT OR IGNORE INTO vault VALUES (?, ?)", (token, account))

    def close_account(self, token: str) -> None:
        """Take a token out of the vault: nothing more is charged to it."""
        self._db.execute("DELETE FROM vault WHERE token = ?", (token,))

    def account(self, token: str) -> str | None:
        """The account that the vault holds for a token; None: nobody has this token."""
        row = self._db.execute("SELECT account FROM vault WHERE token = ?", (token,)).fetchone()
        return str(row[0]) if row else None

    def write(self, line: JournalLine) -> int:
        """Append to the journal; answers the line's number."""
        cursor = self._db.execute(
            "INSERT INTO journal (at, mti, stan, institution, reference, amount, code)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            astuple(line),
        )
        return int(cursor.lastrowid or 0)

    def decide(self, line_number: int, entry: _Decided) -> _Decided:
        """Give an entry its retrieval reference number: twelve digits, from the journal's."""
        return replace(entry, rrn=f"{line_number % 10**12:012d}")


def read_entries(path: Path) -> list[Entry]:
    """Every entry of a book, by reference, while its owner may be running.

    Raises sqlite3.Error when there is no book.
    """
    return _ENTRIES.read(path)


def read_refunds(path: Path) -> list[Refund]:
    """Every refund of a book, by reference, as `read_entries`."""
    return _REFUNDS.read(path)
