"""Refunds in the order book: what was signed, how each stands, and what is proven of it.

A signed refund is stored before it is posted and never thrown away. A number whose refund no
gateway took may be signed anew; every other one keeps its intent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from clearline import refunds, reports, times
from clearline.refunds import RefundIntent
from merchant import bookfile
from merchant.attempts import KeptReceipt
from merchant.verify import Dispute


class RefundStatus(StrEnum):
    """Where a refund stands. Only SUCCEEDED and DECLINED are final, proven by a bank."""

    SIGNED = "signed"  # stored, perhaps posted, no answer yet
    RECEIVED = "received"
    REQUESTED = "requested"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    REFUSED = "refused"  # by every gateway; not on the ledger as they say
    LAPSED = "lapsed"  # it expired before any gateway took it
    DISPUTED = "disputed"  # an answer was not believed

    @property
    def final(self) -> bool:
        """Whether it has ended, proven."""
        return self in (RefundStatus.SUCCEEDED, RefundStatus.DECLINED)


RENEWABLE: Final = frozenset({RefundStatus.REFUSED, RefundStatus.LAPSED})
_COLUMNS: Final = (
    "order_no, attempt, refund_no, amount, currency, compact, status, code, detail, gateway,"
    " result, tx_id, block_number, changed_at"
)


@dataclass(frozen=True, slots=True)
class BookedRefund:
    """A refund as the book knows it; `amount` in minor units, `compact` its newest signed intent,
    `result` the bank's signed text (empty until one is proven)."""

    order_no: str
    attempt: int
    refund_no: int
    amount: int
    currency: str
    compact: str
    status: RefundStatus
    code: str = ""
    detail: str = ""
    gateway: str = ""
    result: str = ""
    tx_id: str = ""
    block_number: int | None = None
    changed_at: str = ""

    @property
    def intent(self) -> RefundIntent:
        """What was signed."""
        return refunds.parse(self.compact).intent


@dataclass(frozen=True, slots=True)
class RefundChange:
    """What an answer made of a refund; `receipt` is the gateway's signed word (a JWS), empty when
    it gave none."""

    status: RefundStatus
    gateway: str = ""
    code: str = ""
    detail: str = ""
    result: str = ""
    tx_id: str = ""
    block_number: int | None = None
    receipt: str = ""


class RefundBook:
    """The refunds of one order book, over its connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of(self, order_no: str) -> list[BookedRefund]:
        """The refunds of an order, in their order."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM refunds WHERE order_no = ?"  # noqa: S608  no input in it
            " ORDER BY attempt, refund_no",
            (order_no,),
        ).fetchall()
        return [_booked(list(row)) for row in rows]

    def intents(self, refund: BookedRefund) -> list[RefundIntent]:
        """Every intent ever signed under a refund's number, oldest first."""
        return [refunds.parse(compact).intent for compact in self.signed(*_key(refund))]

    def signed(self, order_no: str, attempt: int, refund_no: int) -> list[str]:
        """The same as JWS texts."""
        rows = self._db.execute(
            "SELECT compact FROM refund_intents WHERE order_no = ? AND attempt = ?"
            " AND refund_no = ? ORDER BY rowid",
            (order_no, attempt, refund_no),
        ).fetchall()
        return [row[0] for row in rows]

    def receipts(self) -> list[KeptReceipt]:
        """Every receipt a gateway gave for a refund, oldest first."""
        rows = self._db.execute(
            "SELECT order_no, attempt, gateway, receipt, refund_no FROM refund_receipts"
            " ORDER BY rowid"
        ).fetchall()
        return [KeptReceipt(*row) for row in rows]

    def given_back(self) -> dict[str, int]:
        """What the banks have proven to be given back, by order, in minor units."""
        rows = self._db.execute(
            "SELECT order_no, sum(amount) FROM refunds WHERE status = ? GROUP BY order_no",
            (RefundStatus.SUCCEEDED,),
        )
        return dict(rows.fetchall())

    def store(self, intent: RefundIntent, compact: str) -> BookedRefund:
        """Store a signed refund before it is posted; answers what is to be posted: another process
        may have signed the same number first, and then its intent is the one."""
        now = times.now()
        key = (intent.order_no, intent.attempt, intent.refund_no)
        with bookfile.writing(self._db):
            row = self._db.execute(
                "SELECT status FROM refunds WHERE order_no = ? AND attempt = ? AND refund_no = ?",
                key,
            ).fetchone()
            if row is None or RefundStatus(row[0]) in RENEWABLE:
                self._db.execute(
                    "INSERT OR IGNORE INTO refund_intents VALUES (?, ?, ?, ?, ?, ?)",
                    (*key, intent.digest(), compact, now),
                )
                self._db.execute(
                    "INSERT OR REPLACE INTO refunds (order_no, attempt, refund_no, amount,"
                    " currency, compact, status, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*key, intent.amount, intent.currency, compact, RefundStatus.SIGNED, now),
                )
        return self._one(key)

    def record(self, refund: BookedRefund, change: RefundChange) -> BookedRefund:
        """Write what an answer made of a refund; answers it as it then is. A proven end stays;
        another one proven by another report is an equivocation, and stays disputed. A receipt is
        kept whatever becomes of the refund."""
        key = _key(refund)
        with bookfile.writing(self._db):
            if change.receipt:
                self._db.execute(
                    "INSERT OR IGNORE INTO refund_receipts VALUES (?, ?, ?, ?, ?, ?)",
                    (*key, change.gateway, change.receipt, times.now()),
                )
            before = self._one(key)
            if _older(change, before):
                return before
            if before.status.final or before.code == Dispute.EQUIVOCATION:
                if not change.status.final or _same(before.result, change.result):
                    return before
                detail = f"the bank signed {before.status} and {change.status}"
                change = RefundChange(
                    RefundStatus.DISPUTED,
                    change.gateway,
                    Dispute.EQUIVOCATION,
                    detail,
                    before.result,
                )
            self._db.execute(
                "UPDATE refunds SET status = ?, code = ?, detail = ?, gateway = ?, result = ?,"
                " tx_id = ?, block_number = ?, changed_at = ?"
                " WHERE order_no = ? AND attempt = ? AND refund_no = ?",
                (
                    change.status,
                    change.code,
                    change.detail,
                    change.gateway,
                    change.result,
                    change.tx_id,
                    change.block_number,
                    times.now(),
                    *key,
                ),
            )
        return self._one(key)

    def _one(self, key: Sequence[object]) -> BookedRefund:
        order_no, attempt, number = key
        return next(
            one
            for one in self.of(str(order_no))
            if (one.attempt, one.refund_no) == (attempt, number)
        )


def _older(change: RefundChange, before: BookedRefund) -> bool:
    """Whether it tells of something on its way that a later block has told otherwise."""
    known, told = before.block_number, change.block_number
    return not change.status.final and known is not None and told is not None and told < known


def _booked(row: list[Any]) -> BookedRefund:
    row[6] = RefundStatus(row[6])
    return BookedRefund(*row)


def _key(refund: BookedRefund) -> tuple[str, int, int]:
    return refund.order_no, refund.attempt, refund.refund_no


def _same(one: str, other: str) -> bool:
    # ES256 signs the same report with other bytes each time.
    return reports.parse_refund(one).report == reports.parse_refund(other).report
