"""What this gateway gave its signed word for: receipts, the refusals that end them, the missed.

Part of the projection's file: a payment on the ledger ends its receipt in the same transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from clearline.codes import Code
from clearline.intents import PaymentKey
from clearline.refusals import KEPT_DAYS

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS receipts (
    merchant_id TEXT NOT NULL,
    order_no TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    intent_digest TEXT NOT NULL,
    payload TEXT NOT NULL,
    receipt TEXT NOT NULL,
    refusal TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    stored_at REAL NOT NULL,
    PRIMARY KEY (merchant_id, order_no, attempt, intent_digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refusals (
    seq INTEGER PRIMARY KEY,
    merchant_id TEXT NOT NULL,
    order_no TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    intent_digest TEXT NOT NULL,
    refusal TEXT NOT NULL,
    stored_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS refusals_of ON refusals (merchant_id, order_no, attempt);
CREATE INDEX IF NOT EXISTS refusals_by_age ON refusals (stored_at);
CREATE TABLE IF NOT EXISTS missed (
    merchant_id TEXT NOT NULL,
    order_no TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    intent_digest TEXT NOT NULL,
    deadline TEXT NOT NULL,
    receipt TEXT NOT NULL,
    PRIMARY KEY (merchant_id, order_no, attempt, intent_digest)
) WITHOUT ROWID;
"""
# A close names its payment and nothing else: whichever stands on it is the one receipted. A refund
# has no route either, but a number.
_CLOSED: Final = """
DELETE FROM receipts WHERE merchant_id = ? AND order_no = ? AND attempt = ?
    AND json_extract(payload, '$.acquirer_id') IS NULL
    AND json_extract(payload, '$.refund_no') IS NULL
"""
_DAY: Final = 86_400.0
_REASONS_KEPT: Final = 7 * _DAY  # seconds why a received intent is not there can be read

Named = tuple[PaymentKey, str]  # a payment and an intent's digest


@dataclass(frozen=True, slots=True)
class OpenReceipt:
    """An intent this gateway gave a receipt for, and whose end it has not seen yet; of a refund
    `key` is the payment's, and the number stands in `payload`."""

    key: PaymentKey
    intent_digest: str
    payload: str
    receipt: str


class ReceiptBook:
    """The writing side, over the projection's connection; one process, one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # In memory too: hardly any payment has a receipt, and each block asks for all of its.
        self._received = self._load_received()

    def put(self, held: OpenReceipt) -> None:
        """Note that a client was given a receipt."""
        self._connection.execute(
            "INSERT OR REPLACE INTO receipts (merchant_id, order_no, attempt, intent_digest,"
            " payload, receipt, stored_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*held.key, held.intent_digest, held.payload, held.receipt, time.time()),
        )
        self._received.add((held.key, held.intent_digest))

    def refuse(self, named: Named, code: Code, detail: str, signed: str) -> None:
        """Note why a received intent did not get onto the ledger, with the signed refusal (empty
        when there is none to give); forget old such notes."""
        key, digest = named
        now = time.time()
        if signed:  # first: a reason without it would not be asked for again
            self._connection.execute(
                "INSERT INTO refusals (merchant_id, order_no, attempt, intent_digest, refusal,"
                " stored_at) VALUES (?, ?, ?, ?, ?, ?)",
                (*key, digest, signed, now),
            )
            self._connection.execute(
                "DELETE FROM refusals WHERE stored_at < ?", (now - KEPT_DAYS * _DAY - _DAY,)
            )
        self._connection.execute(
            "UPDATE receipts SET refusal = ?, detail = ? WHERE merchant_id = ? AND order_no = ?"
            " AND attempt = ? AND intent_digest = ?",
            (code.value, detail, *key, digest),
        )
        forgotten = self._connection.execute(
            "DELETE FROM receipts WHERE refusal <> '' AND stored_at < ?", (now - _REASONS_KEPT,)
        )
        if forgotten.rowcount:
            self._received = self._load_received()

    def note_missed(self, named: Named, deadline: str, receipt: str) -> None:
        """Note that a receipt's word was not kept; the note stays, whatever comes of the intent."""
        self._connection.execute(
            "INSERT OR IGNORE INTO missed VALUES (?, ?, ?, ?, ?, ?)",
            (*named[0], named[1], deadline, receipt),
        )

    def open(self) -> list[OpenReceipt]:
        """Receipts whose end is not known, oldest first."""
        return [
            OpenReceipt(PaymentKey(row[0], row[1], row[2]), row[3], row[4], row[5])
            for row in self._connection.execute(
                "SELECT merchant_id, order_no, attempt, intent_digest, payload, receipt"
                " FROM receipts WHERE refusal = '' ORDER BY stored_at"
            )
        ]

    def among(self, named: Collection[Named]) -> list[Named]:
        """Those of them that a receipt was given for."""
        return [one for one in named if one in self._received]

    def end(self, ended: Collection[Named], closed: Collection[PaymentKey]) -> None:
        """Within the block's transaction: these are on the ledger, on those stands a close."""
        self._connection.executemany(
            "DELETE FROM receipts WHERE merchant_id = ? AND order_no = ? AND attempt = ?"
            " AND intent_digest = ?",
            [(*key, digest) for key, digest in ended],
        )
        self._connection.executemany(_CLOSED, closed)

    def ended(self, ended: Collection[Named], closed: Collection[PaymentKey]) -> None:
        """After that transaction: the same."""
        self._received.difference_update(ended)
        if closed:
            self._received = self._load_received()  # a refund's may be among them and stay

    def _load_received(self) -> set[Named]:
        return {
            (PaymentKey(row[0], row[1], row[2]), row[3])
            for row in self._connection.execute(
                "SELECT merchant_id, order_no, attempt, intent_digest FROM receipts"
            )
        }
