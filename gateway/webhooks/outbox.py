"""The notifier's side of the store: events out of blocks, deliveries that are due, what became
of them. One process, one thread at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from clearline import canonical, records, times, torn
from clearline.fabric.blocks import Block
from clearline.fabric.blockstream import Position
from clearline.logs import get_logger
from clearline.records import Kind, Merchant
from gateway.webhooks import schedule, store, telling
from gateway.webhooks.store import StoreError
from gateway.webhooks.telling import Told

_DAY: Final = 86_400.0
_PRUNED: Final = 5_000  # events forgotten at once
_BEYOND: Final = 2**63 - 1  # of every place on the ledger

_log = get_logger("clearline.gateway.webhooks")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A registered webhook, as far as deliveries need it."""

    number: int
    merchant_id: str
    webhook_id: str
    url: str


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery whose time has come, with the body to send."""

    webhook: Webhook
    seq: int
    payment: str
    attempts: int
    stored_at: float
    event_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Attempted:
    """What became of an attempt. `error` is empty when it was delivered; `gone`: the receiver
    wants no more (410); `unwell`: it is about the receiver, not about this message."""

    due: Due
    error: str = ""
    gone: bool = False
    unwell: bool = False
    retry_after: float = 0.0


class Outbox:
    """Use it from one thread at a time."""

    def __init__(
        self, path: Path, network: str, namespace: str, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises StoreError when the file is foreign or can't be written; one that is torn is begun
        anew, from block 0 and without a webhook (`remade`)."""
        self._network = network
        self._namespace = namespace
        self._path = path
        self._clock = clock
        try:
            self._db, self.remade = store.owned(path)
            row = self._db.execute("SELECT last_block, last_hash FROM meta").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"can't keep webhooks in {path}: {error}") from error
        self._last_block: int = row[0] if row else -1
        self._last_hash: bytes = row[1] if row else b""

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def check_sound(self, error: sqlite3.Error) -> None:
        """Raises StoreError when `error` says that the file is torn: whoever opens it next begins
        it anew. Any other may pass."""
        if torn.is_torn(error):
            torn.condemn(self._path)
            raise StoreError(f"{self._path} is torn: {error}") from error

    @property
    def position(self) -> Position | None:
        """The last block applied, None before the first."""
        return Position(self._last_block, self._last_hash.hex()) if self._last_block >= 0 else None

    def apply(self, block: Block) -> int:
        """Store a block's events, their deliveries and the checkpoint; how many events it had.

        A block that was taken before changes nothing. Raises StoreError when it does not continue
        the chain that is held; sqlite3.Error when the file can't be written now.
        """
        if block.number <= self._last_block:
            return 0
        if block.number != self._last_block + 1 or (
            block.number > 0 and block.previous_hash != self._last_hash
        ):
            raise StoreError(
                f"block {block.number} does not continue block {self._last_block} of {self._path}: "
                "the file is of another ledger"
            )
        found = list(telling.told(block, self._network, self._namespace))
        merchants = dict(self._merchants(block))
        now = self._clock()
        with store.writing(self._db):
            for merchant_id, keys in merchants.items():
                self._put_merchant(merchant_id, keys, block.number)
            self._db.executemany(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(event, now) for event in found],
            )
            if found:
                self._plan(found, block.number, now)
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES (1, ?, ?)", (block.number, block.header_hash)
            )
        self._last_block, self._last_hash = block.number, block.header_hash
        return len(found)

    def due(self, busy: Collection[tuple[int, str]], slots: int, per_webhook: int) -> list[Due]:
        """Up to `slots` deliveries whose time has come, the earliest of each webhook first.

        `busy` are webhooks' numbers and payments under way; a webhook that is unwell gets one.
        """
        now = self._clock()
        found: list[Due] = []
        taken: dict[int, int] = {}
        for number, _ in busy:
            taken[number] = taken.get(number, 0) + 1
        rows = self._db.execute(
            "SELECT webhook, merchant_id, webhook_id, url, failures FROM webhooks w"
            " WHERE status = 'active' AND resume_at <= ? AND EXISTS (SELECT 1 FROM deliveries d"
            " WHERE d.webhook = w.webhook AND d.turn = 0 AND d.due_at <= ?) ORDER BY resume_at,"
            " last_success",
            (now, now),
        ).fetchall()
        for number, merchant_id, webhook_id, url, failures in rows:
            webhook = Webhook(number, merchant_id, webhook_id, url)
            most = 1 if failures else per_webhook
            room = min(most - taken.get(number, 0), slots - len(found))
            if room > 0:
                found.extend(self._due_of(webhook, busy, room, now))
        return found

    def next_due(self) -> float | None:
        """When a delivery that waits is due, seconds since 1970; None when none does."""
        row = self._db.execute(
            "SELECT min(max(d.due_at, w.resume_at)) FROM webhooks w JOIN deliveries d"
            " ON d.webhook = w.webhook AND d.turn = 0 AND d.due_at = (SELECT min(due_at)"
            " FROM deliveries e WHERE e.webhook = w.webhook AND e.turn = 0)"
            " WHERE w.status = 'active'"
        ).fetchone()
        return None if row[0] is None else float(row[0])

    def record(self, attempts: Iterable[Attempted]) -> None:
        """Write what became of attempts, in one transaction. Raises sqlite3.Error."""
        now, said = self._clock(), times.now()
        with store.writing(self._db):
            for attempt in attempts:
                if attempt.gone:
                    self._disable(attempt.due.webhook.number, "gone", said, attempt.error)
                elif attempt.error:
                    self._failed(attempt, now, said)
                else:
                    self._delivered(attempt.due, now, said)

    def prune(self, keep_days: int) -> int:
        """Forget events older than `keep_days` that nobody is owed; how many."""
        before = self._clock() - keep_days * _DAY
        # Events are stored in their order: what is kept is not looked through.
        kept = self._db.execute(
            "SELECT seq FROM events WHERE stored_at >= ? ORDER BY seq LIMIT 1", (before,)
        ).fetchone()
        with store.writing(self._db):
            return self._db.execute(
                "DELETE FROM events WHERE seq IN (SELECT seq FROM events e WHERE seq < ?"
                " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = e.seq)"
                " ORDER BY seq LIMIT ?)",
                (kept[0] if kept else _BEYOND, _PRUNED),
            ).rowcount

    # Blocks

    def _merchants(self, block: Block) -> Iterator[tuple[str, list[str]]]:
        """Merchants' active keys as a block leaves them."""
        for transaction in block.transactions:
            if not transaction.is_valid:
                continue
            for write in transaction.writes:
                if telling.kind_of(write, self._namespace) != Kind.MERCHANT:
                    continue
                try:
                    merchant = records.from_json(Merchant, orjson.loads(write.value))
                except (ValueError, TypeError):
                    continue  # the committer's log has it
                keys = [name for name, key in merchant.keys.items() if key.status == "active"]
                yield merchant.merchant_id, keys

    def _put_merchant(self, merchant_id: str, keys: list[str], block: int) -> None:
        """Who takes a key back takes back what was registered with it before: blocks that are
        seen again, in a file begun anew, may be older than the key."""
        self._db.execute(
            "INSERT OR REPLACE INTO merchants VALUES (?, ?)",
            (merchant_id, canonical.dumps(sorted(keys)).decode()),
        )
        rows = self._db.execute(
            "SELECT webhook, key_id FROM webhooks"
            " WHERE merchant_id = ? AND status = 'active' AND from_block < ?",
            (merchant_id, block),
        ).fetchall()
        for number, key_id in rows:
            if key_id not in keys:
                self._disable(number, "key_revoked", times.now(), "")

    def _plan(self, found: list[Told], block: int, now: float) -> None:
        wanted: dict[str, list[tuple[int, frozenset[str]]]] = {}
        for number, merchant_id, events in self._db.execute(
            "SELECT webhook, merchant_id, events FROM webhooks"
            " WHERE status = 'active' AND from_block < ?",
            (block,),
        ):
            wanted.setdefault(merchant_id, []).append((number, frozenset(orjson.loads(events))))
        for event in found:
            for number, events in wanted.get(event.payment.merchant_id, ()):
                if event.type in events:
                    self._db.execute(
                        "INSERT INTO deliveries (webhook, seq, payment, turn, due_at, stored_at)"
                        " VALUES (?1, ?2, ?3, EXISTS (SELECT 1 FROM deliveries"
                        " WHERE webhook = ?1 AND payment = ?3), ?4, ?4)",
                        (number, event.seq, str(event.payment), now),
                    )

    # Deliveries

    def _due_of(
        self, webhook: Webhook, busy: Collection[tuple[int, str]], room: int, now: float
    ) -> Iterator[Due]:
        rows = self._db.execute(
            "SELECT d.seq, d.payment, d.attempts, d.stored_at, e.event_id, e.type, e.timestamp,"
            " e.tx_id, e.record FROM deliveries d JOIN events e USING (seq)"
            " WHERE d.webhook = ? AND d.turn = 0 AND d.due_at <= ?"
            " ORDER BY d.due_at, d.seq LIMIT ?",
            (webhook.number, now, room + len(busy)),
        ).fetchall()
        for seq, payment, attempts, stored_at, name, *told in rows:
            if room and (webhook.number, payment) not in busy:
                room -= 1
                body = telling.stored(seq, *told)
                yield Due(webhook, seq, payment, attempts, stored_at, name, body)

    def _delivered(self, due: Due, now: float, said: str) -> None:
        if self._finish(due, now):
            self._db.execute(
                "UPDATE webhooks SET failures = 0, resume_at = 0, delivered = delivered + 1,"
                " last_success = ? WHERE webhook = ?",
                (said, due.webhook.number),
            )

    def _failed(self, attempt: Attempted, now: float, said: str) -> None:
        due = attempt.due
        number = due.webhook.number
        wait = schedule.delay(due.attempts + 1)
        if wait is None or now - due.stored_at > schedule.LONGEST:
            if self._finish(due, now):
                self._db.execute(
                    "UPDATE webhooks SET given_up = given_up + 1 WHERE webhook = ?", (number,)
                )
                fields = {"webhook": number, "event": due.event_id, "reason": attempt.error}
                _log.error("given up", extra=fields)
        else:
            self._db.execute(
                "UPDATE deliveries SET attempts = attempts + 1, due_at = ?"
                " WHERE webhook = ? AND seq = ?",
                (now + max(wait, attempt.retry_after), number, due.seq),
            )
        self._db.execute(
            "UPDATE webhooks SET last_failure = ?, last_error = ? WHERE webhook = ?",
            (said, attempt.error, number),
        )
        if attempt.unwell:
            row = self._db.execute(
                "SELECT failures FROM webhooks WHERE webhook = ?", (number,)
            ).fetchone()
            failures = row[0] + 1
            resume = now + max(schedule.pause(failures), attempt.retry_after)
            self._db.execute(
                "UPDATE webhooks SET failures = ?, resume_at = ? WHERE webhook = ?",
                (failures, resume, number),
            )

    def _finish(self, due: Due, now: float) -> bool:
        """Take a delivery off and let the payment's next one go; False when it was gone before."""
        number = due.webhook.number
        done = self._db.execute(
            "DELETE FROM deliveries WHERE webhook = ? AND seq = ?", (number, due.seq)
        ).rowcount
        self._db.execute(
            "UPDATE deliveries SET turn = 0, due_at = min(due_at, ?) WHERE webhook = ?"
            " AND seq = (SELECT min(seq) FROM deliveries WHERE webhook = ? AND payment = ?)",
            (now, number, number, due.payment),
        )
        return done > 0

    def _disable(self, number: int, reason: str, said: str, error: str) -> None:
        self._db.execute("DELETE FROM deliveries WHERE webhook = ?", (number,))
        self._db.execute(
            "UPDATE webhooks SET status = 'disabled', reason = ?, last_failure = ?, last_error = ?"
            " WHERE webhook = ?",
            (reason, said, error, number),
        )
        _log.warning("webhook disabled", extra={"webhook": number, "reason": reason})


def _row(event: Told, now: float) -> tuple[object, ...]:
    key = event.payment
    named = (event.seq, event.event_id, key.merchant_id, str(key), event.type.value)
    return (*named, event.record, now, event.tx_id, event.timestamp)
