"""The workers' side of the projection: read-only, one SQLite connection a thread."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import orjson

from clearline import intents, jws, records
from clearline.answers import EXCEPTION_MEMBERS, PaymentAnswer
from clearline.canonical import Json
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.jws import JwsError, PublicKey
from clearline.records import Acquirer, KeyRecord, Kind, Merchant, Payment
from clearline.statuses import Status
from gateway.refund_rows import RefundRows
from gateway.selection import Selection

RETRY_AFTER: Final = 1  # seconds; a committer is back within five


@dataclass(frozen=True, slots=True)
class ReceivedView:
    """An intent this gateway holds and that is not on the ledger; `refusal` says why, once it is
    known that it won't be, and `signed` is this gateway's word on that (a JWS; empty when the
    reason is no verdict on the intent)."""

    answer: PaymentAnswer
    refusal: Code | None
    detail: str
    signed: str


@dataclass(frozen=True, slots=True)
class Origin:
    """How a payment came onto the ledger: by which intent, when as its transaction says, by the
    owner of which key (an RFC 7638 thumbprint, empty when it is not known); and what became of it:
    its newest block, and whether it is closed for further closes."""

    intent_digest: str
    requested_at: str
    submitter: str
    block_number: int
    closing: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Payments, newest first, and where the next page begins (None after the last)."""

    payments: tuple[PaymentAnswer, ...]
    next_seq: int | None


_MOST: Final = 100_000  # of an index that holds what is asked for: 0.02 s
_COLUMNS: Final = "seq, tx_id, block_number, record"
# CROSS: the keys first, then the index, whatever SQLite makes of a table it can't see into.
_OF_KEYS: Final = f"""
SELECT {_COLUMNS} FROM json_each(?) AS asked
CROSS JOIN payments ON merchant_id = json_extract(asked.value, '$[0]')
    AND order_no = json_extract(asked.value, '$[1]')
    AND attempt = json_extract(asked.value, '$[2]')
"""  # noqa: S608  no input in it


class Snapshot:
    """One consistent view."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen: dict[tuple[Kind, str], bytes | None] = {}

    @property
    def last_block(self) -> int:
        """The last block applied in this view; -1 before the first."""
        row = self._connection.execute("SELECT last_block FROM meta").fetchone()
        return -1 if row is None else int(row[0])

    def merchant(self, merchant_id: str) -> Merchant | None:
        """The merchant's record."""
        found = self._registered(Kind.MERCHANT, merchant_id)
        return None if found is None else _merchant(found)

    def acquirer(self, acquirer_id: str) -> Acquirer | None:
        """The acquirer's record."""
        found = self._registered(Kind.ACQUIRER, acquirer_id)
        return None if found is None else _acquirer(found)

    def registered(self, kind: Kind, prefix: str) -> list[tuple[int, bytes]]:
        """The records of a kind whose id begins so, by id: block of the last change, and bytes."""
        rows = self._connection.execute(
            "SELECT block_number, record FROM registry WHERE kind = ? AND id >= ? AND id < ?"
            " ORDER BY id",
            (kind.value, prefix, f"{prefix}\x7f"),
        )
        return [(int(row[0]), bytes(row[1])) for row in rows]

    def payment(self, key: PaymentKey) -> PaymentAnswer | None:
        """A payment on the ledger."""
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM payments"  # noqa: S608  no input in it
            " WHERE merchant_id = ? AND order_no = ? AND attempt = ?",
            key,
        ).fetchone()
        return None if row is None else _answer(row)

    def has(self, key: PaymentKey) -> bool:
        """Whether a payment is on the ledger."""
        row = self._connection.execute(
            "SELECT 1 FROM payments WHERE merchant_id = ? AND order_no = ? AND attempt = ?", key
        ).fetchone()
        return row is not None

    def payments(self, keys: Sequence[PaymentKey]) -> dict[PaymentKey, PaymentAnswer]:
        """Those of these payments that are on the ledger; one statement for all."""
        if len(keys) == 1:
            found = self.payment(keys[0])
            return {} if found is None else {keys[0]: found}
        asked = orjson.dumps([list(key) for key in keys]).decode()
        answers = [_answer(row) for row in self._connection.execute(_OF_KEYS, (asked,))]
        return {PaymentKey(one.merchant_id, one.order_no, one.attempt): one for one in answers}

    def newest(self, merchant_id: str, order_no: str) -> PaymentAnswer | None:
        """The last attempt at an order that is on the ledger."""
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM payments"  # noqa: S608
            " WHERE merchant_id = ? AND order_no = ? ORDER BY attempt DESC LIMIT 1",
            (merchant_id, order_no),
        ).fetchone()
        return None if row is None else _answer(row)

    def received(self, merchant_id: str, order_no: str, attempt: int | None) -> ReceivedView | None:
        """The newest receipt of a pay intent for an order, or for one attempt at it."""
        row = self._connection.execute(
            "SELECT attempt, intent_digest, payload, receipt, refusal, detail FROM receipts"
            " WHERE merchant_id = ? AND order_no = ? AND attempt = coalesce(?, attempt)"
            " AND json_extract(payload, '$.acquirer_id') IS NOT NULL"  # close and refund have none
            " ORDER BY attempt DESC, refusal, stored_at DESC LIMIT 1",
            (merchant_id, order_no, attempt),
        ).fetchone()
        if row is None:
            return None
        payload: Json = orjson.loads(row[2])
        intent = intents.parse(payload["intent"]).intent
        answer = received_answer(intent, row[1], payload["acquirer_id"], row[3])
        signed = self.refusals(intent.key, row[1])
        code = Code(row[4]) if row[4] else None
        return ReceivedView(answer, code, row[5], signed[-1] if code and signed else "")

    def refusals(self, key: PaymentKey, intent_digest: str | None = None) -> tuple[str, ...]:
        """This gateway's signed refusals of receipts for a payment, oldest first; of one intent,
        or of all."""
        rows = self._connection.execute(
            "SELECT refusal FROM refusals WHERE merchant_id = ? AND order_no = ? AND attempt = ?"
            " AND intent_digest = coalesce(?, intent_digest) ORDER BY seq",
            (*key, intent_digest),
        )
        return tuple(row[0] for row in rows)

    def origin(self, key: PaymentKey) -> Origin | None:
        """Where a payment on the ledger comes from."""
        row = self._connection.execute(
            "SELECT record, submitter, block_number FROM payments"
            " WHERE merchant_id = ? AND order_no = ? AND attempt = ?",
            key,
        ).fetchone()
        if row is None:
            return None
        payment = records.from_json(Payment, orjson.loads(row[0]))
        closing = bool(payment.close) or payment.final
        return Origin(payment.intent_digest, payment.requested_at, row[1], int(row[2]), closing)

    @property
    def refunds(self) -> RefundRows:
        """The refunds in this view."""
        return RefundRows(self._connection)

    def page(
        self, merchant_id: str, wanted: Selection, before: int | None, limit: int, most: int = _MOST
    ) -> Page:
        """Up to `limit` of the `wanted` of a merchant's payments, newest first, made before place
        `before`. No more than `most` are looked at: then a page has fewer, even none, and is not
        the last."""
        before = 2**63 - 1 if before is None else before
        end = None if wanted.everything else self._place(merchant_id, before, most)
        condition, values = wanted.condition()
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM payments WHERE merchant_id = ? AND seq < ? AND seq >= ?"  # noqa: S608  marks for all input
            f" AND {condition} ORDER BY seq DESC LIMIT ?",
            (merchant_id, before, 0 if end is None else end, *values, limit + 1),
        ).fetchall()
        if len(rows) > limit:
            rows.pop()
            end = int(rows[-1][0])
        return Page(tuple(_answer(row) for row in rows), end)

    def _place(self, merchant_id: str, before: int, count: int) -> int | None:
        """That of the oldest of the `count` payments before a place; None when there are no more
        than these."""
        row = self._connection.execute(
            "SELECT seq FROM payments WHERE merchant_id = ? AND seq < ?"
            " ORDER BY seq DESC LIMIT 2 OFFSET ?",
            (merchant_id, before, count - 1),
        ).fetchall()
        return int(row[0][0]) if len(row) == 2 else None

    def _registered(self, kind: Kind, name: str) -> bytes | None:
        # A batch asks for the same few again and again.
        if (kind, name) not in self._seen:
            row = self._connection.execute(
                "SELECT record FROM registry WHERE kind = ? AND id = ?", (kind.value, name)
            ).fetchone()
            self._seen[kind, name] = None if row is None else bytes(row[0])
        return self._seen[kind, name]


class Reader:
    """Gives snapshots of the projection; safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """A consistent view for as long as the block lasts; keep it short.

        Raises Refusal `ledger_unavailable` while there is no projection to read.
        """
        try:
            connection = self._connection()
            connection.execute("BEGIN")
        except sqlite3.Error as error:
            self._forget()
            raise unavailable(f"the projection can't be read: {error}") from None
        try:
            yield Snapshot(connection)
        except sqlite3.Error as error:
            self._forget()
            raise unavailable(f"the projection can't be read: {error}") from None
        finally:
            if getattr(self._local, "connection", None) is connection:
                connection.rollback()

    def has(self, key: PaymentKey) -> bool:
        """Whether a payment is on the ledger, without a snapshot: for one that asks this only.

        Raises Refusal as `snapshot`.
        """
        try:
            return Snapshot(self._connection()).has(key)
        except sqlite3.Error as error:
            self._forget()
            raise unavailable(f"the projection can't be read: {error}") from None

    def _connection(self) -> sqlite3.Connection:
        # A projection that was removed and made anew is another file: who keeps the old one open
        # reads for ever what was.
        file = self._file()
        if getattr(self._local, "file", None) != file:
            self._forget()
            self._local.file = file
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            uri = f"{self._path.resolve().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None)
            connection.execute("PRAGMA query_only = 1")
            self._local.connection = connection
        return connection

    def _file(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _forget(self) -> None:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            connection.close()


def unavailable(detail: str) -> Refusal:
    """The refusal for what only the ledger could answer."""
    return Refusal(Code.LEDGER_UNAVAILABLE, detail)


def verification_key(record: KeyRecord) -> PublicKey:
    """A key of the ledger, revoked or not. Raises Refusal `key_unknown` for an unusable one."""
    try:
        return jws.public_key(record.jwk, jws.Algorithm(record.algorithm))
    except (JwsError, ValueError) as error:
        raise Refusal(Code.KEY_UNKNOWN, f"the key on the ledger can't be used: {error}") from None


def received_answer(
    intent: intents.PayIntent, digest: str, acquirer_id: str, receipt: str
) -> PaymentAnswer:
    """What is said of an intent that is stored here and not yet on the ledger."""
    return PaymentAnswer(
        merchant_id=intent.merchant_id,
        order_no=intent.order_no,
        attempt=intent.attempt,
        status=Status.RECEIVED.value,
        final=False,
        amount=intent.amount,
        currency=intent.currency,
        acquirer_id=acquirer_id,
        intent_digest=digest,
        receipt=receipt,
    )


def requested_answer(
    intent: intents.PayIntent, digest: str, acquirer_id: str, tx_id: str, block_number: int
) -> PaymentAnswer:
    """What is said of an intent that a block has just put on the ledger."""
    return PaymentAnswer(
        merchant_id=intent.merchant_id,
        order_no=intent.order_no,
        attempt=intent.attempt,
        status=Status.REQUESTED.value,
        final=False,
        amount=intent.amount,
        currency=intent.currency,
        acquirer_id=acquirer_id,
        intent_digest=digest,
        tx_id=tx_id,
        block_number=block_number,
    )


def payment_answer(payment: Payment, tx_id: str, block_number: int) -> PaymentAnswer:
    """What is said of a payment record; `tx_id` and `block_number` are of its newest change."""
    return PaymentAnswer(
        merchant_id=payment.merchant_id,
        order_no=payment.order_no,
        attempt=payment.attempt,
        status=payment.status,
        final=payment.final,
        amount=payment.amount,
        currency=payment.currency,
        acquirer_id=payment.acquirer_id,
        intent_digest=payment.intent_digest,
        reason=payment.reason,
        response=payment.response or None,
        result=payment.result or None,
        close=payment.close or None,
        exceptions=tuple(
            {name: one[name] for name in EXCEPTION_MEMBERS} for one in payment.exceptions
        ),
        refunded_amount=payment.refunded_amount,
        tx_id=tx_id,
        block_number=block_number,
    )


def _answer(row: tuple[int, str, int, bytes]) -> PaymentAnswer:
    _, tx_id, block_number, data = row
    payment = records.from_json(Payment, orjson.loads(data))
    return payment_answer(payment, tx_id, block_number)


@lru_cache(maxsize=1024)
def _merchant(data: bytes) -> Merchant:
    return records.from_json(Merchant, orjson.loads(data))


@lru_cache(maxsize=64)
def _acquirer(data: bytes) -> Acquirer:
    return records.from_json(Acquirer, orjson.loads(data))
