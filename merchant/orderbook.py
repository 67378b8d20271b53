"""The order book: SQLite, one file, the merchant's own memory of what it asked and what is proven.

An attempt's signed intent is stored before it is posted and is never thrown away; a retry posts
the same bytes. One process writes at a time, in transactions; SQLite syncs each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from clearline import reports, times
from merchant import bookfile
from merchant.attempts import (
    RENEWABLE,
    Attempt,
    Change,
    Entry,
    KeptAnswer,
    KeptReceipt,
    NewIntent,
    News,
    OrderStatus,
    State,
)
from merchant.omissions import Found, Omission
from merchant.orders import Order
from merchant.refundbook import RefundBook
from merchant.verify import Dispute

# How far a status that is not proven is on its way: news of an earlier one changes nothing.
_WAY: Final = {
    OrderStatus.REFUSED: 0,
    OrderStatus.LAPSED: 0,
    OrderStatus.SIGNED: 0,
    OrderStatus.RECEIVED: 1,
    OrderStatus.REQUESTED: 2,
    OrderStatus.ACCEPTED: 3,
    OrderStatus.UNKNOWN: 3,
}


class OrderBook:
    """One merchant's orders in one network."""

    def __init__(self, path: Path, network: str, merchant_id: str) -> None:
        """Open the book, making it when there is none. Raises BookError."""
        self._db = bookfile.opened(path, {"network": network, "merchant_id": merchant_id})

    @property
    def refunds(self) -> RefundBook:
        """The refunds of its orders."""
        return RefundBook(self._db)

    def _writing(self) -> AbstractContextManager[None]:
        return bookfile.writing(self._db)

    def close(self) -> None:
        """Close the file; committed work is on the disk already."""
        self._db.close()

    def add(self, orders: Iterable[Order]) -> list[Entry]:
        """Put orders into the book in one transaction; answers what became of each.

        The same row again is SAME, or UPDATED when the profile filled it otherwise and no gateway
        has it yet; another row under a number that is taken is CONFLICT and changes nothing.
        """
        entries: list[Entry] = []
        now = times.now()
        with self._writing():
            for order in orders:
                entries.append(self._add(order, now))
        return entries

    def _add(self, order: Order, now: str) -> Entry:
        before = self.state(order.order_no)
        content = order.to_text()
        if before is None:
            self._db.execute(
                "INSERT INTO orders VALUES (?, ?, ?, ?)",
                (order.order_no, order.digest, content, now),
            )
            return Entry.ADDED
        if before.order.digest != order.digest:
            return Entry.CONFLICT
        if before.order == order or before.status not in RENEWABLE | {OrderStatus.NEW}:
            return Entry.SAME
        self._db.execute(
            "UPDATE orders SET content = ? WHERE order_no = ?", (content, order.order_no)
        )
        return Entry.UPDATED

    def states(self) -> Iterator[State]:
        """Every order with its newest attempt, in the order they were taken."""
        rows = self._db.execute("SELECT * FROM standing ORDER BY place").fetchall()
        return (_state(row) for row in rows)

    def state(self, order_no: str) -> State | None:
        """One order with its newest attempt."""
        row = self._db.execute(
            "SELECT s.* FROM standing s JOIN orders o ON o.rowid = s.place WHERE o.order_no = ?",
            (order_no,),
        ).fetchone()
        return _state(row) if row else None

    def counts(self) -> dict[OrderStatus, int]:
        """How many orders stand where."""
        rows = self._db.execute(
            "SELECT coalesce(status, 'new'), count(*) FROM standing GROUP BY 1"
        ).fetchall()
        return {OrderStatus(status): count for status, count in rows}

    def attempts(self, order_no: str) -> list[Attempt]:
        """All attempts at an order, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM tried WHERE order_no = ? ORDER BY attempt", (order_no,)
        ).fetchall()
        return [_attempt(row) for row in rows]

    def intents(self, order_no: str, attempt: int) -> list[str]:
        """Every intent ever signed for an attempt, as JWS texts, oldest first."""
        rows = self._db.execute(
            "SELECT compact FROM intents WHERE order_no = ? AND attempt = ? ORDER BY rowid",
            (order_no, attempt),
        ).fetchall()
        return [row[0] for row in rows]

    def answers(self, order_no: str, attempt: int) -> list[KeptAnswer]:
        """The answers that changed an attempt, oldest first."""
        rows = self._db.execute(
            "SELECT at, gateway, verdict, body FROM answers "
            "WHERE order_no = ? AND attempt = ? ORDER BY id",
            (order_no, attempt),
        ).fetchall()
        return [KeptAnswer(*row) for row in rows]

    def receipts(self) -> list[KeptReceipt]:
        """Every receipt a gateway gave, oldest first; those of refunds after the others."""
        rows = self._db.execute(
            "SELECT order_no, attempt, gateway, json_extract(body, '$.receipt') AS receipt"
            " FROM answers WHERE json_valid(body) AND receipt IS NOT NULL ORDER BY id"
        ).fetchall()
        found = {(row[0], row[1], row[3]): KeptReceipt(*row) for row in rows}
        return [*found.values(), *self.refunds.receipts()]

    def found(self, receipt: str) -> Found:
        """What was found of a receipt before."""
        omission = self._db.execute(
            "SELECT found_at, witness, block, answered FROM omissions WHERE receipt = ?", (receipt,)
        ).fetchone()
        refusals = self._db.execute(
            "SELECT refusal FROM refusals WHERE receipt = ? ORDER BY rowid", (receipt,)
        ).fetchall()
        if omission is not None:
            found_at, witness, block, answered = omission
            omission = Omission(found_at, witness, block, bool(answered))
        return Found(tuple(row[0] for row in refusals), omission)

    def keep_found(self, receipt: str, found: Found) -> None:
        """Keep it: an omission stays found, whatever comes after it."""
        with self._writing():
            self._db.executemany(
                "INSERT OR IGNORE INTO refusals VALUES (?, ?, ?)",
                [(receipt, refusal, times.now()) for refusal in found.refusals],
            )
            if (one := found.omission) is not None:
                self._db.execute(
                    "INSERT INTO omissions VALUES (?, ?, ?, ?, ?) ON CONFLICT (receipt)"
                    " DO UPDATE SET answered = max(answered, excluded.answered)",
                    (receipt, one.found_at, one.witness, one.block, one.answered),
                )

    def store(self, intents: Sequence[NewIntent]) -> list[Attempt]:
        """Store signed intents before they are posted, in one synced transaction.

        Answers what is to be posted: another process may have signed the same attempt first, and
        then its intent is the one. A lapsed or refused attempt takes the new one, keeping the old.
        """
        now = times.now()
        with self._writing():
            for new in intents:
                row = self._db.execute(
                    "SELECT status FROM attempts WHERE order_no = ? AND attempt = ?",
                    (new.order_no, new.attempt),
                ).fetchone()
                if row is not None and row[0] not in RENEWABLE:
                    continue
                self._db.execute(
                    "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?)",
                    (new.order_no, new.attempt, new.digest, new.compact, new.expires_at, now),
                )
                self._db.execute(
                    "INSERT OR REPLACE INTO attempts "
                    "(order_no, attempt, digest, status, changed_at) VALUES (?, ?, ?, ?, ?)",
                    (new.order_no, new.attempt, new.digest, OrderStatus.SIGNED, now),
                )
                # Who asks for it anew does not want it closed any more.
                self._db.execute(
                    "DELETE FROM closes WHERE order_no = ? AND attempt = ?",
                    (new.order_no, new.attempt),
                )
            rows = [
                self._db.execute(
                    "SELECT * FROM tried WHERE order_no = ? AND attempt = ?",
                    (new.order_no, new.attempt),
                ).fetchone()
                for new in intents
            ]
        return [_attempt(row) for row in rows]

    def store_close(self, order_no: str, attempt: int, compact: str) -> str:
        """Store a signed close before it is posted; the first one stands and is answered."""
        key = (order_no, attempt)
        with self._writing():
            self._db.execute(
                "INSERT OR IGNORE INTO closes VALUES (?, ?, ?, ?)", (*key, compact, times.now())
            )
            row = self._db.execute(
                "SELECT compact FROM closes WHERE order_no = ? AND attempt = ?", key
            ).fetchone()
        return str(row[0])

    def keep(self, order_no: str, attempt: int, kept: KeptAnswer) -> None:
        """Keep an answer that changed nothing and is evidence all the same."""
        with self._writing():
            self._db.execute(
                "INSERT INTO answers (order_no, attempt, at, gateway, verdict, body) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (order_no, attempt, kept.at, kept.gateway, kept.verdict, kept.body),
            )

    def record(self, changes: Sequence[Change]) -> list[Change]:
        """Write what answers made of attempts, in one transaction; answers what was written.

        A proven end stays. Another end proven by another result is an equivocation: the attempt
        becomes disputed and stays so.
        """
        now = times.now()
        with self._writing():
            return [self._record(change, now) for change in changes]

    def taken(self, event_id: str) -> bool:
        """Whether this event was taken before."""
        row = self._db.execute("SELECT 1 FROM events WHERE event_id = ?", (event_id,)).fetchone()
        return row is not None

    def take(self, news: Sequence[News]) -> list[Change | None]:
        """Write what events made of attempts, and that they were taken, in one transaction.

        An event that was taken before changes nothing, nor does one that tells less than is
        known. One that is disputed is written and not taken: sent again, it may be believed.
        """
        now = times.now()
        with self._writing():
            return [self._take(item, now) for item in news]

    def _take(self, item: News, now: str) -> Change | None:
        if self.taken(item.event_id):
            return None
        change = item.change
        disputed = change is not None and change.status is OrderStatus.DISPUTED
        written = None
        if change is not None and self._is_news(change):
            written = self._record(change, now)
        if not disputed:
            verdict = item.verdict if written is None else str(written.status)
            self._db.execute("INSERT INTO events VALUES (?, ?, ?)", (item.event_id, now, verdict))
        return written

    def _is_news(self, change: Change) -> bool:
        status, code, block = self._db.execute(
            "SELECT status, code, block_number FROM attempts WHERE order_no = ? AND attempt = ?",
            (change.order_no, change.attempt),
        ).fetchone()
        before = OrderStatus(status)
        if change.status.final:
            return True
        if change.status is OrderStatus.DISPUTED:
            return (before, code) != (change.status, change.code)
        if before not in _WAY or _WAY[change.status] < _WAY[before]:
            return False
        return block is None or change.block_number is None or change.block_number > block

    def _record(self, change: Change, now: str) -> Change:
        key = (change.order_no, change.attempt)
        status, code, result = self._db.execute(
            "SELECT status, code, result FROM attempts WHERE order_no = ? AND attempt = ?", key
        ).fetchone()
        before = OrderStatus(status)
        if before.final or code == Dispute.EQUIVOCATION:
            if not change.status.final or _same_report(change.result, result):
                return Change(*key, before, change.gateway, code)
            change = Change(
                *key,
                OrderStatus.DISPUTED,
                change.gateway,
                Dispute.EQUIVOCATION,
                f"the bank signed {before} and {change.status}: two results of one payment",
                result,
                body=change.body,
            )
        self._db.execute(
            "UPDATE attempts SET status = ?, code = ?, detail = ?, gateway = ?, result = ?, "
            "tx_id = ?, block_number = ?, changed_at = ? WHERE order_no = ? AND attempt = ?",
            (
                change.status,
                change.code,
                change.detail,
                change.gateway,
                change.result,
                change.tx_id,
                change.block_number,
                now,
                *key,
            ),
        )
        self._db.execute(
            "INSERT INTO answers (order_no, attempt, at, gateway, verdict, body) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (*key, now, change.gateway, change.code or change.status, change.body),
        )
        return change


def _same_report(one: str, other: str) -> bool:
    # ES256 signs the same report with other bytes each time.
    return reports.parse(one).report == reports.parse(other).report


def _attempt(row: tuple[Any, ...]) -> Attempt:
    order_no, attempt, compact, expires_at, status, *rest = row
    return Attempt(order_no, attempt, compact, expires_at, OrderStatus(status), *rest)


def _state(row: tuple[Any, ...]) -> State:
    _, content, *tried = row
    return State(Order.from_text(content), None if tried[0] is None else _attempt(tuple(tried)))
