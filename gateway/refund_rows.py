"""Refunds in the projection's file: the table, and what is asked of it on either side."""

from __future__ import annotations

import sqlite3
from typing import Final

import orjson

from clearline import records, refunds
from clearline.answers import RefundAnswer
from clearline.canonical import Json
from clearline.codes import Code
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
    PRIMARY KEY (merchant_id, order_no, attempt, refund_no)
) WITHOUT ROWID;
"""
PUT: Final = "INSERT OR REPLACE INTO refunds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIND: Final = (
    "SELECT record, tx_id, block_number, status, intent_digest FROM refunds"
    " WHERE merchant_id = ? AND order_no = ? AND attempt = ? AND refund_no = ?"
)


def read(record: bytes) -> Refund:
    """The refund in a ledger record. Raises ValueError for none."""
    return records.from_json(Refund, orjson.loads(record))


def row(refund: Refund, tx_id: str, block_number: int, record: bytes) -> tuple[object, ...]:
    """The values of PUT."""
    return (*refund.key, refund.status, refund.intent_digest, tx_id, block_number, record)


def digest_of(db: sqlite3.Connection, key: RefundKey) -> str | None:
    """The digest of the intent a refund was made by, None when it is not on the ledger."""
    found = db.execute(_FIND, key).fetchone()
    return None if found is None else str(found[4])


def is_final(db: sqlite3.Connection, key: RefundKey) -> bool:
    """Whether a refund is on the ledger and has ended."""
    found = db.execute(_FIND, key).fetchone()
    return found is not None and Status(found[3]).final


def find(db: sqlite3.Connection, key: RefundKey) -> RefundAnswer | None:
    """A refund on the ledger."""
    found = db.execute(_FIND, key).fetchone()
    return None if found is None else _answer(*found[:3])


def of_order(
    db: sqlite3.Connection, merchant_id: str, order_no: str, attempt: int | None
) -> list[RefundAnswer]:
    """The refunds of an order on the ledger, or of one attempt at it, in their order."""
    rows = db.execute(
        "SELECT record, tx_id, block_number FROM refunds WHERE merchant_id = ? AND order_no = ?"
        " AND attempt = coalesce(?, attempt) ORDER BY attempt, refund_no",
        (merchant_id, order_no, attempt),
    )
    return [_answer(*found) for found in rows]


def received(
    db: sqlite3.Connection, key: RefundKey
) -> tuple[RefundAnswer, Code | None, str] | None:
    """The newest receipt of a refund that is not on the ledger: the answer, and, when it is known
    that it won't be, why and in which words."""
    found = db.execute(
        "SELECT intent_digest, payload, receipt, refusal, detail FROM receipts WHERE"
        " merchant_id = ? AND order_no = ? AND attempt = ?"
        " AND json_extract(payload, '$.refund_no') = ? ORDER BY refusal, stored_at DESC LIMIT 1",
        key,
    ).fetchone()
    if found is None:
        return None
    payload: Json = orjson.loads(found[1])
    intent = refunds.parse(payload["intent"]).intent
    answer = received_answer(intent, found[0], found[2])
    return answer, Code(found[3]) if found[3] else None, found[4]


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
