"""The committer's side of the projection: what the ledger says, kept in SQLite from its blocks.

A block's effect and the checkpoint are one SQLite transaction, so a crash loses neither; replaying
a block changes nothing. Only writes of VALID transactions in the contract's namespace count. The
file can be made again from block 0, so it is not synced at each block; the receipts beside that
can't, and are synced before anybody has one (`synced`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from clearline import records, torn
from clearline.fabric.blocks import Block
from clearline.fabric.blockstream import Position
from clearline.intents import PaymentKey
from clearline.records import Acquirer, Kind
from clearline.refunds import RefundKey
from clearline.statuses import Status
from gateway import projected, receipt_book, refund_rows
from gateway.messages import Named, payment_of
from gateway.projected import PaymentChange
from gateway.projection_formats import FORMAT, bring_up
from gateway.receipt_book import ReceiptBook
from gateway.wal_sync import WalSync

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    last_block INTEGER NOT NULL,
    last_hash BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS payments (
    seq INTEGER PRIMARY KEY,
    merchant_id TEXT NOT NULL,
    order_no TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    status TEXT NOT NULL,
    acquirer_id TEXT NOT NULL,
    created TEXT NOT NULL,
    intent_digest TEXT NOT NULL,
    tx_id TEXT NOT NULL,
    block_number INTEGER NOT NULL,
    record BLOB NOT NULL,
    submitter TEXT NOT NULL,
    UNIQUE (merchant_id, order_no, attempt)
);
CREATE INDEX IF NOT EXISTS payments_listed
    ON payments (merchant_id, seq, status, acquirer_id, created);
CREATE TABLE IF NOT EXISTS registry (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    block_number INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
"""
# `submitter` is of the first write: who put the payment on the ledger.
_PUT_PAYMENT: Final = """
INSERT INTO payments
    (merchant_id, order_no, attempt, status, acquirer_id, created, intent_digest, tx_id,
    block_number, record, submitter)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (merchant_id, order_no, attempt) DO UPDATE SET status = excluded.status,
    intent_digest = excluded.intent_digest, tx_id = excluded.tx_id,
    block_number = excluded.block_number, record = excluded.record
"""
# CROSS: the keys first, then the index, whatever SQLite makes of a table it can't see into.
_DIGESTS: Final = """
SELECT merchant_id, order_no, attempt, intent_digest FROM json_each(?) AS asked
CROSS JOIN payments ON merchant_id = json_extract(asked.value, '$[0]')
    AND order_no = json_extract(asked.value, '$[1]')
    AND attempt = json_extract(asked.value, '$[2]')
"""


class ProjectionError(Exception):
    """The projection can't be kept; the message says why and what to do."""


class Projection:
    """The writing side; one process, one thread."""

    def __init__(self, path: Path, namespace: str) -> None:
        """Raises ProjectionError when the file is foreign or can't be written; one that is torn is
        made again."""
        self._namespace = namespace
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection, self.remade = torn.opened(path, _prepare)
            row = self._connection.execute("SELECT last_block, last_hash FROM meta").fetchone()
            self.receipts = ReceiptBook(self._connection)
            self.synced = WalSync(path)
        except (sqlite3.Error, OSError, ProjectionError) as error:
            raise self._unkept(error) from error
        self.last_block: int = row[0] if row else -1
        self._last_hash: bytes = row[1] if row else b""

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    @property
    def position(self) -> Position | None:
        """The last block applied, None before the first."""
        return Position(self.last_block, self._last_hash.hex()) if self.last_block >= 0 else None

    def apply(self, block: Block) -> tuple[PaymentChange, ...]:
        """Take the next block; one that was taken before changes nothing.

        Raises ProjectionError when the block does not continue the chain that is held, or the
        file can't be written.
        """
        if block.number <= self.last_block:
            return ()
        if block.number != self.last_block + 1 or (
            block.number > 0 and block.previous_hash != self._last_hash
        ):
            raise ProjectionError(
                f"block {block.number} does not continue block {self.last_block} of {self._path}: "
                "the file is of another ledger; remove it to have it made again"
            )
        payments, refunds, registered = projected.effects(block, self._namespace)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_PUT_PAYMENT, [row for row, _ in payments.values()])
            self._connection.executemany(refund_rows.PUT, [row for row, _ in refunds.values()])
            changes = [change for _, change in (*payments.values(), *refunds.values())]
            named = [(payment_of(one.key), one.intent_digest) for one in changes]
            ended = self.receipts.among(named)
            closed = {payment_of(change.key) for change in changes if change.closing}
            self.receipts.end(ended, closed)
            self._connection.executemany(
                "INSERT OR REPLACE INTO registry VALUES (?, ?, ?, ?)", registered.values()
            )
            self._connection.execute(
                "INSERT OR REPLACE INTO meta VALUES (1, ?, ?)", (block.number, block.header_hash)
            )
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            raise self._unkept(error) from error
        self.last_block, self._last_hash = block.number, block.header_hash
        self.receipts.ended(ended, closed)
        return tuple(changes)

    def digest_of(self, key: Named) -> str | None:
        """The digest of the intent this payment or refund was made by, None when it is not on the
        ledger."""
        if isinstance(key, RefundKey):
            return refund_rows.digest_of(self._connection, key)
        row = self._connection.execute(
            "SELECT intent_digest FROM payments"
            " WHERE merchant_id = ? AND order_no = ? AND attempt = ?",
            key,
        ).fetchone()
        return None if row is None else str(row[0])

    def is_closing(self, key: Named) -> bool:
        """Whether the merchant's close stands on the payment; never on a refund."""
        if isinstance(key, RefundKey):
            return False
        row = self._connection.execute(
            "SELECT record FROM payments WHERE merchant_id = ? AND order_no = ? AND attempt = ?",
            key,
        ).fetchone()
        return row is not None and bool(orjson.loads(row[0]).get("close"))

    def digests_of(self, keys: Sequence[Named]) -> dict[Named, str]:
        """As digest_of, of those of the keys that are on the ledger; one statement for all
        payments."""
        refunds = [key for key in keys if isinstance(key, RefundKey)]
        found: dict[Named, str] = {}
        if len(refunds) < len(keys):
            asked = orjson.dumps([list(key) for key in keys if len(key) == 3]).decode()
            rows = self._connection.execute(_DIGESTS, (asked,))
            found |= {PaymentKey(row[0], row[1], row[2]): row[3] for row in rows}
        for refund in refunds:
            digest = refund_rows.digest_of(self._connection, refund)
            if digest is not None:
                found[refund] = digest
        return found

    def is_final(self, key: Named) -> bool:
        """Whether the payment or refund is on the ledger and has ended."""
        if isinstance(key, RefundKey):
            return refund_rows.is_final(self._connection, key)
        row = self._connection.execute(
            "SELECT status FROM payments WHERE merchant_id = ? AND order_no = ? AND attempt = ?",
            key,
        ).fetchone()
        return row is not None and Status(row[0]).final

    def owner_of(self, acquirer_id: str) -> str | None:
        """The organisation (MSP id) an acquirer belongs to, None when it is not registered."""
        row = self._connection.execute(
            "SELECT record FROM registry WHERE kind = ? AND id = ?",
            (Kind.ACQUIRER.value, acquirer_id),
        ).fetchone()
        if row is None:
            return None
        return records.from_json(Acquirer, orjson.loads(row[0])).msp_id

    def _unkept(self, error: Exception) -> ProjectionError:
        if torn.is_torn(error):
            torn.condemn(self._path)
        return ProjectionError(f"can't keep the projection in {self._path}: {error}")


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 0 <= version <= FORMAT:
        raise ProjectionError(f"it is of format {version}, not {FORMAT}; remove it")
    if 0 < version < FORMAT:
        bring_up(connection, version)
    connection.executescript(SCHEMA + receipt_book.SCHEMA + refund_rows.SCHEMA)
    connection.execute(f"PRAGMA user_version = {FORMAT}")
