"""Refunds in the projection's file: the table, and what is asked of it on either side."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

import orjson

from clearline import records, refunds
from clearline.answers import RefundAnswer
from clearline.codes import Code
from clearline.intents import PaymentKey
from clearline.refunds import Refund, RefundKey
from clearline.statuses import Status

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS refunds (
    merchant_id TEXT NOT NULL,
    order_no TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    refund_no INTEGER NOT NULL,
    status TEXT NOT NULL,
    intent_digest TEXT NOT NULL,
    tx_id TEXT NOT NULL,
    block_number INTEGER NOT NULL,
    record BLOB NOT NULL,
    submitter TEXT NOT NULL,
    PRIMARY KEY (merchant_id, order_no, attempt, refund_no)
) WITHOUT ROWID;
"""
# `submitter` is of the first write, as a payment's.
PUT: Final = """
INSERT INTO refunds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (merchant_id, order_no, attempt, refund_no) DO UPDATE SET status = excluded.status,
    intent_digest = excluded.intent_digest, tx_id = excluded.tx_id,
    block_number = excluded.block_number, record = excluded.record
"""
SHOWN: Final = 50  # refunds with a payment, the newest; the list has all
_FIND: Final = (
    "SELECT record, tx_id, block_number, status, intent_digest FROM refunds"
    " WHERE merchant_id = ? AND order_no = ? AND attempt = ? AND refund_no = ?"
)


def read(record: bytes) -> Refund:
    """The refund in a ledger record. Raises ValueError for none."""
    return records.from_json(Refund, orjson.loads(record))


def row(
    refund: Refund, tx_id: str, block_number: int, record: bytes, submitter: str
) -> tuple[object, ...]:
    """The values of PUT."""
    end = (refund.status, refund.intent_digest, tx_id, block_number, record, submitter)
    return (*refund.key, *end)


def digest_of(db: sqlite3.Connection, key: RefundKey) -> str | None:
    """The digest of the intent a refund was made by, None when it is not on the ledger."""
    found = db.execute(_FIND, key).fetchone()
    return None if found is None else str(found[4])


def is_final(db: sqlite3.Connection, key: RefundKey) -> bool:
    """Whether a refund is on the ledger and has ended."""
    found = db.execute(_FIND, key).fetchone()
    return found is not None and Status(found[3]).final


@dataclass(frozen=True, slots=True)
class Origin:
    """How a refund came onto the ledger, as a payment's (gateway.reader)."""

    intent_digest: str
    requested_at: str
    submitter: str
    block_number: int


@dataclass(frozen=True, slots=True)
class Received:
    """A refund this gateway holds and that is not on the ledger; `refusal` and `detail` say why,
    once it is known that it won't be, and `signed` is this gateway's word on that (a JWS; empty
    when the reason is no verdict on the intent)."""

    answer: RefundAnswer
    refusal: Code | None
    detail: str
    signed: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a payment's refunds with it: the newest SHOWN, in their order, and the block
    of the newest change of any; -1 when there is none."""

    refunds: tuple[RefundAnswer, ...]
    block_number: int


@dataclass(frozen=True, slots=True)
class Page:
    """Refunds in their order, and the attempt and number of the last when more follow."""

    refunds: tuple[RefundAnswer, ...]
    last: tuple[int, int] | None


class RefundRows:
    """The reading side: what a snapshot of the projection has of refunds."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def find(self, key: RefundKey) -> RefundAnswer | None:
        """A refund on the ledger."""
        found = self._db.execute(_FIND, key).fetchone()
        return None if found is None else _answer(*found[:3])

    def numbered(
        self, merchant_id: str, order_no: str, attempt: int | None, refund_no: int
    ) -> RefundAnswer | None:
        """The refund with this number on the ledger, of one attempt or the newest that has it."""
        found = self._db.execute(
            "SELECT record, tx_id, block_number FROM refunds WHERE merchant_id = ?"
            " AND order_no = ? AND attempt = coalesce(?, attempt) AND refund_no = ?"
            " ORDER BY attempt DESC LIMIT 1",
            (merchant_id, order_no, attempt, refund_no),
        ).fetchone()
        return None if found is None else _answer(*found)

    def page(
        self,
        order: tuple[str, str],
        attempt: int | None,
        after: tuple[int, int],
        limit: int,
    ) -> Page:
        """Up to `limit` of an order's refunds on the ledger, or of one attempt at it, beyond the
        attempt and number of `after`; `order` is its merchant and number."""
        rows = self._db.execute(
            "SELECT record, tx_id, block_number FROM refunds WHERE merchant_id = ? AND order_no = ?"
            " AND (attempt, refund_no) > (?, ?) AND attempt = coalesce(?, attempt)"
            " ORDER BY attempt, refund_no LIMIT ?",
            (*order, *after, attempt, limit + 1),
        ).fetchall()
        found = tuple(_answer(*one) for one in rows[:limit])
        more = len(rows) > limit
        return Page(found, (found[-1].attempt, found[-1].refund_no) if more else None)

    def of_payment(self, key: PaymentKey) -> Shown:
        """What is shown of a payment's refunds with it."""
        where = " FROM refunds WHERE merchant_id = ? AND order_no = ? AND attempt = ?"
        (newest,) = self._db.execute(
            f"SELECT coalesce(max(block_number), -1){where}",
            key,
        ).fetchone()
        rows = self._db.execute(
            f"SELECT record, tx_id, block_number{where} ORDER BY refund_no DESC LIMIT {SHOWN}",
            key,
        ).fetchall()
        return Shown(tuple(_answer(*one) for one in reversed(rows)), int(newest))

    def origin(self, key: RefundKey) -> Origin | None:
        """Where a refund on the ledger comes from."""
        found = self._db.execute(
            "SELECT record, submitter, block_number FROM refunds WHERE merchant_id = ?"
            " AND order_no = ? AND attempt = ? AND refund_no = ?",
            key,
        ).fetchone()
        if found is None:
            return None
        refund = read(found[0])
        return Origin(refund.intent_digest, refund.requested_at, found[1], int(found[2]))

    def received(self, key: RefundKey) -> Received | None:
        """The newest receipt of a refund that is not on the ledger."""
        found = self._db.execute(
            "SELECT intent_digest, payload, receipt, refusal, detail FROM receipts WHERE"
            " merchant_id = ? AND order_no = ? AND attempt = ?"
            " AND json_extract(payload, '$.refund_no') = ? ORDER BY refusal, stored_at DESC"
            " LIMIT 1",
            key,
        ).fetchone()
        if found is None:
            return None
        digest, payload, receipt, code, detail = found
        intent = refunds.parse(orjson.loads(payload)["intent"]).intent
        answer = received_answer(intent, digest, receipt)
        signed = self._refusal(key, digest) if code else ""
        return Received(answer, Code(code) if code else None, detail, signed)

    def _refusal(self, key: RefundKey, intent_digest: str) -> str:
        found = self._db.execute(
            "SELECT refusal FROM refusals WHERE merchant_id = ? AND order_no = ? AND attempt = ?"
            " AND intent_digest = ? ORDER BY seq DESC LIMIT 1",
            (*key.payment, intent_digest),
        ).fetchone()
        return "" if found is None else str(found[0])


def received_answer(intent: refunds.RefundIntent, digest: str, receipt: str) -> RefundAnswer:
    """What is said of a refund that is stored here and not yet on the ledger."""
    return RefundAnswer(
        *intent.key,
        status=Status.RECEIVED.value,
        final=False,
        amount=intent.amount,
        currency=intent.currency,
        acquirer_id="",
        intent_digest=digest,
        receipt=receipt,
    )


def _answer(record: bytes, tx_id: str, block_number: int) -> RefundAnswer:
    return answer_of(read(record), tx_id, block_number)


def answer_of(refund: Refund, tx_id: str, block_number: int) -> RefundAnswer:
    """What is said of a refund record; `tx_id` and `block_number` are of its newest change."""
    return RefundAnswer(
        *refund.key,
        status=refund.status,
        final=refund.final,
        amount=refund.amount,
        currency=refund.currency,
        acquirer_id=refund.acquirer_id,
        intent_digest=refund.intent_digest,
        reason=refund.reason,
        clearing_date=refund.clearing_date,
        result=refund.result or None,
        tx_id=tx_id,
        block_number=block_number,
    )
