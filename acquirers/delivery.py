"""The files a bank finds each day: what was cleared, a file for each merchant code and currency.

    H,clearline-acquirer-file,1,<name>,<merchant code>,<currency>,<clearing date>
    D,<acquirer's reference>,<reference>,<kind>,<amount>
    T,<lines>,<payments>,<refunds>,<fees>,<adjustments>,<net>

CSV (RFC 4180) of ASCII, lines ended by CR LF. `reference` is the one the bank sent, `kind` payment,
refund, fee or adjustment; a fee follows what it is taken for. Amounts are integers in minor units,
never negative but those of adjustments (what the merchant gets by them) and the net:
payments - refunds - fees + adjustments. A fee is its payment's share in basis points, half a minor
unit rounded up.

To make a day's files closes the day: what is charged later clears on the next one. So a file never
changes; asked for again, it is the one that is there.
"""

from __future__ import annotations

import csv
import io
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from acquirers.bookfile import clearing_date, transaction
from acquirers.kinds import Kind, Line
from acquirers.settings import Place
from clearline.money import NUMERIC

FORMAT: Final = "clearline-acquirer-file"
_VERSION: Final = 1
_LETTERS: Final = {number: letters for letters, number in NUMERIC.items()}


class DeliveryError(ValueError):
    """There is no such file, or no such money; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a file. `amount` in minor units."""

    own_reference: str
    reference: str
    kind: str
    amount: int


def fee(amount: int, basis_points: int) -> int:
    """What is taken of an amount: half a minor unit is rounded up."""
    return (amount * basis_points + 5_000) // 10_000


def deliver(kind: Kind, place: Place, day: str, now: datetime) -> list[Path]:
    """Close the day and make its files, one for each merchant code and currency that has lines.

    Raises DeliveryError for a day that has not begun, sqlite3.Error when there is no book, OSError
    when a file can't be written.
    """
    with closing(_opened(place.book)) as db:
        if _close(db, day, now):
            return sorted(place.delivery.glob(f"{place.name}-{day}-*.csv"))
        adjustments = db.execute(
            "SELECT id, reference, merchant_code, amount, currency FROM adjustment"
            " WHERE clearing_date = ? ORDER BY id",
            (day,),
        ).fetchall()
        rows: dict[tuple[str, str], list[Row]] = {}
        for line in kind.read(place.book):
            if line.clearing_date == day and line.net > 0:
                rows.setdefault(_account(line), []).extend(_rows(line, place.fee_basis_points))
        for one in kind.refunds(place.book):
            if one.clearing_date == day and one.given > 0:
                given = Row(one.reference, one.reference, "refund", one.given)
                account = (one.merchant_code, _LETTERS.get(one.currency, one.currency))
                rows.setdefault(account, []).append(given)
        for number, reference, code, amount, currency in adjustments:
            adjusted = Row(_adjustment(number), reference, "adjustment", amount)
            rows.setdefault((code, currency), []).append(adjusted)
        place.delivery.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = [
            _written(place, (code, currency, day), found)
            for (code, currency), found in sorted(rows.items())
        ]
        db.execute("UPDATE closed SET delivered = 1 WHERE date = ?", (day,))
        return made


def _close(db: sqlite3.Connection, day: str, now: datetime) -> bool:
    """Close the day; whether its files were made before. Raises DeliveryError."""
    with transaction(db):
        current = clearing_date(db, now)
        if day > current:
            raise DeliveryError(f"{day} has not begun: what is charged now clears on {current}")
        # A day before the current one is over as well, though nobody has asked for it yet.
        db.execute("INSERT OR IGNORE INTO closed VALUES (?, 0)", (day,))
        (delivered,) = db.execute("SELECT delivered FROM closed WHERE date = ?", (day,)).fetchone()
    return bool(delivered)


def charge_back(kind: Kind, place: Place, reference: str, amount: int, now: datetime) -> str:
    """Take a payment's money back from its merchant, `amount` minor units (0: all of it), in the
    file of the day that is open: the adjustment's reference. Raises DeliveryError, sqlite3.Error.
    """
    line = next((one for one in kind.read(place.book) if one.reference == reference), None)
    if line is None or line.net <= 0:
        raise DeliveryError(f"the book holds no money under {reference[:64]}")
    taken = amount or line.net
    if not 0 < taken <= line.net:
        raise DeliveryError(f"at most {line.net} can be charged back")
    code, currency = _account(line)
    with closing(_opened(place.book)) as db, transaction(db):
        cursor = db.execute(
            "INSERT INTO adjustment (reference, merchant_code, amount, currency, clearing_date)"
            " VALUES (?, ?, ?, ?, ?)",
            (reference, code, -taken, currency, clearing_date(db, now)),
        )
        return _adjustment(int(cursor.lastrowid or 0))


def render(name: str, account: tuple[str, str, str], rows: Sequence[Row]) -> bytes:
    """A file's bytes; `account` is merchant code, currency and day."""
    text = io.StringIO(newline="")
    write = csv.writer(text).writerow
    write(["H", FORMAT, _VERSION, name, *account])
    for row in rows:
        write(["D", row.own_reference, row.reference, row.kind, row.amount])
    sums = {kind: _sum(rows, kind) for kind in ("payment", "refund", "fee", "adjustment")}
    net = sums["payment"] - sums["refund"] - sums["fee"] + sums["adjustment"]
    write(["T", len(rows), *sums.values(), net])
    return text.getvalue().encode("ascii")


def _sum(rows: Iterable[Row], kind: str) -> int:
    return sum(row.amount for row in rows if row.kind == kind)


def _rows(line: Line, basis_points: int) -> list[Row]:
    taken = fee(line.net, basis_points)
    paid = [Row(line.own_reference, line.reference, "payment", line.net)]
    return paid + [Row(line.own_reference, line.reference, "fee", taken)] * (taken > 0)


def _account(line: Line) -> tuple[str, str]:
    return line.merchant_code, _LETTERS.get(line.currency, line.currency)


def _adjustment(number: int) -> str:
    return f"CB-{number:06d}"


def _written(place: Place, account: tuple[str, str, str], rows: Sequence[Row]) -> Path:
    code, currency, day = account
    path = place.delivery / f"{place.name}-{day}-{code}-{currency}.csv"
    if path.exists():
        return path
    made = path.with_suffix(".new")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(render(place.name, account, rows))
        file.flush()
        os.fsync(file.fileno())
    made.rename(path)
    return path


def _opened(book: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{book}?mode=rw", uri=True, isolation_level=None)
