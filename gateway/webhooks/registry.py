"""The workers' side of the store: registering webhooks, showing them, reading events back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from clearline import canonical, torn
from clearline.canonical import Json
from clearline.codes import Code, Refusal
from clearline.webhooks import Action, Registration
from gateway.webhooks import store, telling
from gateway.webhooks.store import StoreError

_COLUMNS: Final = (
    "webhook_id, url, events, created, sequence, status, reason, from_block, delivered, given_up,"
    " failures, last_success, last_failure, last_error,"
    " (SELECT count(*) FROM deliveries d WHERE d.webhook = w.webhook)"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A webhook as its merchant sees it: field for field what GET answers, without the keys.

    `status` is `active`, or `disabled` with the `reason` (`gone`, `key_revoked`). `pending` events
    wait, `failures` attempts in a row got no answer, `given_up` events had all their attempts.
    """

    webhook_id: str
    url: str
    events: list[str]
    created: str
    sequence: int
    status: str
    reason: str
    from_block: int
    delivered: int
    given_up: int
    failures: int
    last_success: str
    last_failure: str
    last_error: str
    pending: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it was or would be sent; `seq` is its place on the ledger."""

    seq: int
    event_id: str
    body: bytes


class Registry:
    """Safe to use from many threads; each has a connection of its own."""

    def __init__(self, path: Path, most: int) -> None:
        """`most`: webhooks one merchant may have."""
        self._path = path
        self._most = most
        self._local = threading.local()

    def put(self, wish: Registration, key_id: str, last_block: int) -> tuple[Shown, bool]:
        """Register or change a webhook; whether it is new. `last_block`: events after it are sent.

        Raises Refusal `webhook_stale`, `conflict`, `webhook_limit` or `key_revoked`.
        """
        with self._writing() as db:
            before = _before(db, wish)
            if before is not None and before.same:
                return _shown(db, wish.merchant_id, wish.webhook_id), False
            _check_key(db, wish.merchant_id, key_id, last_block)
            new = before is None or before.status == "removed"
            if new:
                (count,) = db.execute(
                    "SELECT count(*) FROM webhooks WHERE merchant_id = ? AND status <> 'removed'",
                    (wish.merchant_id,),
                ).fetchone()
                if count >= self._most:
                    raise Refusal(Code.WEBHOOK_LIMIT, f"{count} webhooks of {self._most}")
            _write(db, wish, key_id, max(last_block, store.last_block(db)))
            return _shown(db, wish.merchant_id, wish.webhook_id), new

    def remove(self, wish: Registration) -> None:
        """Remove a webhook and what waits for it. Raises Refusal as `put`, or `webhook_unknown`."""
        with self._writing() as db:
            before = _before(db, wish)
            if before is None:
                raise _unknown(wish.webhook_id)
            if before.same:
                return
            if before.status == "removed":
                raise _unknown(wish.webhook_id)
            db.execute("DELETE FROM deliveries WHERE webhook = ?", (before.number,))
            db.execute(
                "UPDATE webhooks SET status = 'removed', url = '', events = '[]', reason = '',"
                " sequence = ?, digest = ?, last_error = '' WHERE webhook = ?",
                (wish.sequence, wish.digest(), before.number),
            )

    def show(self, merchant_id: str, webhook_id: str) -> Shown:
        """One webhook. Raises Refusal `webhook_unknown`."""
        with self._connected() as db:
            return _shown(db, merchant_id, webhook_id)

    def all(self, merchant_id: str) -> list[Shown]:
        """A merchant's webhooks, by id."""
        with self._connected() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM webhooks w WHERE merchant_id = ?"  # noqa: S608
                " AND status <> 'removed' ORDER BY webhook_id",
                (merchant_id,),
            ).fetchall()
            return [_row(row) for row in rows]

    def events(self, merchant_id: str, after: int, limit: int) -> tuple[list[StoredEvent], int]:
        """Up to `limit` of a merchant's events beyond place `after`, oldest first; and the last
        block whose events are stored."""
        with self._connected() as db:
            db.execute("BEGIN")
            try:
                rows = db.execute(
                    "SELECT seq, event_id, type, timestamp, tx_id, record FROM events"
                    " WHERE merchant_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                    (merchant_id, after, limit),
                ).fetchall()
                last_block = store.last_block(db)
            finally:
                db.execute("ROLLBACK")
        events = [
            StoredEvent(seq, event_id, telling.stored(seq, *told)) for seq, event_id, *told in rows
        ]
        return events, last_block

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._connected() as db:
            with store.writing(db):
                yield db
            if self._local.file != torn.identity(self._path):
                raise StoreError(f"{self._path} was begun anew meanwhile")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection. Raises Refusal `webhooks_unavailable`."""
        try:
            db: sqlite3.Connection | None = getattr(self._local, "db", None)
            # One that was torn or lost, and begun anew, is another file: what is kept in the old
            # one is read by nobody.
            if db is not None and self._local.file != torn.identity(self._path):
                self._forget()
                db = None
            if db is None:
                before = torn.identity(self._path)
                db = self._local.db = store.connect(self._path)
                self._local.file = before or torn.identity(self._path)
            yield db
        except (sqlite3.Error, StoreError, OSError) as error:
            self._forget()
            raise Refusal(Code.WEBHOOKS_UNAVAILABLE, f"the store: {error}") from None

    def _forget(self) -> None:
        """SQLite leaves the log of a moved file's successor alone (pager.c, databaseIsUnmoved)."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        self._local.db = None
        if db is not None:
            db.close()


def _check_key(db: sqlite3.Connection, merchant_id: str, key_id: str, last_block: int) -> None:
    """The notifier may have seen a revocation that the worker's look was too early for."""
    row = db.execute(
        "SELECT active_keys FROM merchants WHERE merchant_id = ?", (merchant_id,)
    ).fetchone()
    if row is None or key_id in orjson.loads(row[0]):
        return
    if store.last_block(db) < last_block:
        # A new key: were it stored now, the blocks before it would take it for a revoked one.
        raise Refusal(Code.WEBHOOKS_UNAVAILABLE, "the notifier has not seen this key yet")
    raise Refusal(Code.KEY_REVOKED, "the signing key is not active")


@dataclass(frozen=True, slots=True)
class _Before:
    """What a registration meets: the webhook's row, and whether it says exactly this."""

    number: int
    status: str
    same: bool


def _before(db: sqlite3.Connection, wish: Registration) -> _Before | None:
    row = db.execute(
        "SELECT webhook, status, sequence, digest FROM webhooks"
        " WHERE merchant_id = ? AND webhook_id = ?",
        (wish.merchant_id, wish.webhook_id),
    ).fetchone()
    if row is None:
        return None
    number, status, sequence, digest = row
    if wish.sequence < sequence:
        raise Refusal(Code.WEBHOOK_STALE, f"sequence {sequence} was taken")
    if wish.sequence == sequence and wish.digest() != digest:
        raise Refusal(Code.CONFLICT, f"another registration has sequence {sequence}")
    return _Before(number, status, wish.sequence == sequence)


def _write(db: sqlite3.Connection, wish: Registration, key_id: str, from_block: int) -> None:
    assert wish.action is Action.REGISTER  # noqa: S101
    events = canonical.dumps([event.value for event in wish.events]).decode()
    # What waits goes to the new address at once; what is new begins with the next block.
    db.execute(
        "INSERT INTO webhooks (merchant_id, webhook_id, url, events, key_id, sequence, digest,"
        " created, from_block, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'active')"
        " ON CONFLICT (merchant_id, webhook_id) DO UPDATE SET url = excluded.url,"
        " events = excluded.events, key_id = excluded.key_id, sequence = excluded.sequence,"
        " digest = excluded.digest, created = excluded.created, reason = '', failures = 0,"
        " resume_at = 0, last_error = '', from_block = CASE WHEN status = 'active'"
        " THEN from_block ELSE excluded.from_block END, status = 'active'",
        (
            wish.merchant_id,
            wish.webhook_id,
            wish.url,
            events,
            key_id,
            wish.sequence,
            wish.digest(),
            wish.created,
            from_block,
        ),
    )
    db.execute(
        "UPDATE deliveries SET due_at = stored_at WHERE webhook ="
        " (SELECT webhook FROM webhooks WHERE merchant_id = ? AND webhook_id = ?)",
        (wish.merchant_id, wish.webhook_id),
    )


def _shown(db: sqlite3.Connection, merchant_id: str, webhook_id: str) -> Shown:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM webhooks w"  # noqa: S608
        " WHERE merchant_id = ? AND webhook_id = ? AND status <> 'removed'",
        (merchant_id, webhook_id),
    ).fetchone()
    if row is None:
        raise _unknown(webhook_id)
    return _row(row)


def _row(row: tuple[Any, ...]) -> Shown:
    webhook_id, url, events, *rest = row
    listed: Json = orjson.loads(events)
    return Shown(webhook_id, url, listed, *rest)


def _unknown(webhook_id: str) -> Refusal:
    return Refusal(Code.WEBHOOK_UNKNOWN, f"there is no webhook {webhook_id}")
