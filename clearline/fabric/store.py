"""The commit queue's memory: items, signed envelopes and outcomes in SQLite (WAL, FULL sync).

One thread writes. What waits while it syncs is written together in its next transaction, so a
sync is shared by all that came in the meantime. One process owns a store, held by a file lock.

Items that come in with their envelope stand in its row, as one text: most are decided with it, and
a row each, written to be changed a moment later, would cost more than all the rest. Those that were
accepted before, and those that outlive their envelope, have rows of their own.
"""

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from clearline import torn
from clearline.fabric.queue_items import ItemRefused, ItemResult, QueueItem

_T = TypeVar("_T")
_Work = Callable[[sqlite3.Connection], Any]
_GROUP = 512  # operations in one transaction at most
_FORMAT = 3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    item_id TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    function TEXT NOT NULL,
    payload TEXT NOT NULL,
    keys TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'done', 'refused')),
    outcome TEXT,
    tx_id TEXT,
    block_number INTEGER,
    done_at REAL,
    owner TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_queued ON items (seq) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS items_done ON items (done_at) WHERE done_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS envelopes (
    tx_id TEXT PRIMARY KEY,
    prepared BLOB NOT NULL,
    item_ids TEXT NOT NULL,
    stored_at REAL NOT NULL,
    items TEXT NOT NULL DEFAULT '[]'
);
"""
_PUT_ITEM = """
INSERT INTO items (item_id, seq, function, payload, keys, priority, owner, state)
VALUES (?, ?, ?, ?, ?, ?, ?, 'queued')
ON CONFLICT (item_id) DO UPDATE SET seq = excluded.seq, function = excluded.function,
    payload = excluded.payload, keys = excluded.keys, priority = excluded.priority,
    owner = excluded.owner, state = 'queued', outcome = NULL, tx_id = NULL,
    block_number = NULL, done_at = NULL
"""
# A done item's payload is on the ledger or refused; keeping it would only grow the file.
_FINISH_ITEM = """
INSERT INTO items (item_id, seq, function, payload, keys, priority,
    state, outcome, tx_id, block_number, done_at)
VALUES (?, 0, '', '', '[]', 0, ?, ?, ?, ?, ?)
ON CONFLICT (item_id) DO UPDATE SET state = excluded.state, outcome = excluded.outcome,
    tx_id = excluded.tx_id, block_number = excluded.block_number, done_at = excluded.done_at,
    payload = ''
"""
_FORGET = "DELETE FROM envelopes WHERE tx_id = ?"


class StoreError(Exception):
    """The store can't be opened, read or written; the text says why."""


@dataclass(frozen=True)
class StoredItem:
    """A queued item; seq: its place in the queue."""

    item: QueueItem
    seq: int


@dataclass(frozen=True)
class StoredBatch:
    """An envelope that was on its way: the transaction's stored bytes, and its items in order.

    stored_at: seconds since 1970.
    """

    tx_id: str
    prepared: bytes
    item_ids: tuple[str, ...]
    stored_at: float


@dataclass(frozen=True)
class StoredState:
    """All that a crash left to be done."""

    items: tuple[StoredItem, ...]
    batches: tuple[StoredBatch, ...]


@dataclass(frozen=True)
class _Operation:
    work: _Work
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class QueueStore:
    """A durable store in one file, begun anew when that is torn. Open it, use it from one event
    loop, close it."""

    def __init__(self, path: Path, *, retain_s: float = 3_600.0) -> None:
        self._path = path
        self._retain_s = retain_s
        self._operations: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = -1
        self._broken: asyncio.Future[StoreError] | None = None

    async def open(self) -> StoredState:
        """Lock and open the file, and read what is left to do. Raises StoreError."""
        connection = await asyncio.to_thread(self._open)
        self._broken = asyncio.get_running_loop().create_future()
        self._thread = threading.Thread(
            target=self._write_groups, args=(connection,), name="queue-store", daemon=True
        )
        self._thread.start()
        return await self._do(_load)

    async def close(self) -> None:
        """Write what was asked for, then release the file."""
        if self._thread is None:
            return
        self._operations.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    async def broken(self) -> None:
        """Return never; raise StoreError once the disk has failed under the file, or it was found
        torn: what it holds is known again when it has been closed and opened."""
        if self._broken is None:
            raise StoreError(f"{self._path} is closed")
        raise await asyncio.shield(self._broken)

    def put_items(self, items: Sequence[StoredItem]) -> asyncio.Future[None]:
        """Store queued items; durable when the future is done (or fails with StoreError)."""
        return self._do(lambda connection: _put_items(connection, items))

    def put_batch(self, batch: StoredBatch, items: Sequence[StoredItem]) -> asyncio.Future[None]:
        """Store an envelope and those of its items that aren't stored yet, in one write."""
        row = (
            batch.tx_id,
            batch.prepared,
            _text(batch.item_ids),
            batch.stored_at,
            _text([_item_row(stored) for stored in items]),
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO envelopes VALUES (?, ?, ?, ?, ?)", row)

        return self._do(work)

    def finish(
        self, tx_id: str | None, results: Sequence[ItemResult | ItemRefused]
    ) -> asyncio.Future[None]:
        """Note outcomes of stored items and forget the envelope that decided all of its own;
        nobody needs to wait for it: lost in a crash, it is learnt again from the envelope."""
        rows = [_finished_row(result) for result in results]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_FINISH_ITEM, rows)
            if tx_id is not None:
                connection.execute(_FORGET, (tx_id,))

        return self._do(work)

    def forget(self, tx_id: str) -> asyncio.Future[None]:
        """Forget an envelope that decided nothing; its items stay queued."""

        def work(connection: sqlite3.Connection) -> None:
            _keep_items(connection, tx_id)
            connection.execute(_FORGET, (tx_id,))

        return self._do(work)

    def lookup(self, item_id: str) -> asyncio.Future[ItemResult | ItemRefused | None]:
        """The outcome of a decided item; None for an unknown or undecided one."""
        return self._do(lambda connection: _lookup(connection, item_id))

    def purge(self) -> asyncio.Future[None]:
        """Forget outcomes older than the retention."""
        oldest = time.time() - self._retain_s

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM items WHERE done_at < ?", (oldest,))

        return self._do(work)

    def _do(self, work: Callable[[sqlite3.Connection], _T]) -> asyncio.Future[_T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        if self._thread is None:
            future.set_exception(StoreError(f"{self._path} is closed"))
            return future
        self._operations.put(_Operation(work, loop, future))
        return future

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise StoreError(f"can't open the queue's store: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StoreError(f"{self._path} is in use by another process") from error
        self._lock = lock
        try:
            connection, _ = torn.opened(self._path, _prepare)
            return connection
        except (sqlite3.Error, OSError, StoreError) as error:
            self._unlock()
            raise StoreError(f"can't open {self._path}: {error}") from error

    def _unlock(self) -> None:
        os.close(self._lock)
        self._lock = -1

    def _write_groups(self, connection: sqlite3.Connection) -> None:
        """The writer thread: one transaction per group of waiting operations."""
        open_ = True
        while open_:
            operation = self._operations.get()
            group: list[_Operation] = []
            while operation is not None:
                group.append(operation)
                if len(group) == _GROUP:
                    break
                try:
                    operation = self._operations.get_nowait()
                except queue.Empty:
                    break
            else:
                open_ = False
            if group:
                outcomes = _run_group(connection, group)
                self._look_at(outcomes[0])
                _resolve(outcomes)
        connection.close()
        self._unlock()

    def _look_at(self, outcome: "_Outcome") -> None:
        """Whether the file can be used any more."""
        operation, _, error = outcome
        if not isinstance(error, StoreError) or (cause := error.__cause__) is None:
            return
        if torn.is_torn(cause):
            torn.condemn(self._path)
        elif not torn.is_failing(cause):
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            operation.loop.call_soon_threadsafe(self._break, error)

    def _break(self, error: StoreError) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_result(error)


_Outcome = tuple[_Operation, Any, Exception | None]


def _run_group(connection: sqlite3.Connection, group: Sequence[_Operation]) -> list[_Outcome]:
    """Run all in one transaction; if anything fails, all of them fail and nothing is written."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        values = [operation.work(connection) for operation in group]
        connection.execute("COMMIT")
    except Exception as error:  # the thread must live to answer the next group
        if connection.in_transaction:
            connection.rollback()
        failure = StoreError(f"the queue's store failed: {error}")
        failure.__cause__ = error
        return [(operation, None, failure) for operation in group]
    return [(op, value, None) for op, value in zip(group, values, strict=True)]


def _resolve(outcomes: Iterable[_Outcome]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].loop, []).append(outcome)
    for loop, group in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set_futures, group)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _set_futures(outcomes: Iterable[_Outcome]) -> None:
    for operation, value, error in outcomes:
        if operation.future.done():
            continue
        if error is None:
            operation.future.set_result(value)
        else:
            operation.future.set_exception(error)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, 1, 2, _FORMAT):
        raise StoreError(f"format {version} is not known to this version")
    if version == 1:
        connection.execute("ALTER TABLE items ADD COLUMN owner TEXT NOT NULL DEFAULT ''")
    if version in (1, 2):
        connection.execute("ALTER TABLE envelopes ADD COLUMN items TEXT NOT NULL DEFAULT '[]'")
    connection.executescript(_SCHEMA)
    connection.execute(f"PRAGMA user_version = {_FORMAT}")


def _put_items(connection: sqlite3.Connection, items: Sequence[StoredItem]) -> None:
    connection.executemany(_PUT_ITEM, [_item_row(stored) for stored in items])


def _item_row(stored: StoredItem) -> tuple[str, int, str, str, str, int, str]:
    """The values of _PUT_ITEM."""
    item = stored.item
    keys = _text(item.keys)
    return (
        item.item_id, stored.seq, item.function, item.payload, keys, item.priority, item.owner
    )  # fmt: skip


def _stored_item(row: Sequence[Any]) -> StoredItem:
    """What _item_row wrote."""
    keys = tuple(orjson.loads(row[4]))
    return StoredItem(QueueItem(row[0], row[2], row[3], keys, row[5], row[6]), row[1])


def _keep_items(connection: sqlite3.Connection, tx_id: str) -> None:
    """Give the items that stand only in this envelope's row rows of their own."""
    found = connection.execute("SELECT items FROM envelopes WHERE tx_id = ?", (tx_id,)).fetchone()
    if found is not None:
        connection.executemany(_PUT_ITEM, orjson.loads(found[0]))


def _finished_row(result: ItemResult | ItemRefused) -> tuple[object, ...]:
    now = time.time()
    if isinstance(result, ItemRefused):
        return (result.item_id, "refused", result.reason, result.transaction_id, None, now)
    outcome = _text(result.outcome)
    return (result.item_id, "done", outcome, result.tx_id, result.block_number, now)


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


def _lookup(connection: sqlite3.Connection, item_id: str) -> ItemResult | ItemRefused | None:
    row = connection.execute(
        "SELECT state, outcome, tx_id, block_number FROM items WHERE item_id = ?", (item_id,)
    ).fetchone()
    if row is None or row[0] == "queued":
        return None
    if row[0] == "refused":
        return ItemRefused(item_id, row[1], row[2])
    return ItemResult(item_id, orjson.loads(row[1]), row[2], row[3])


def _load(connection: sqlite3.Connection) -> StoredState:
    found = connection.execute(
        "SELECT tx_id, prepared, item_ids, stored_at, items FROM envelopes ORDER BY stored_at"
    ).fetchall()
    batches = tuple(
        StoredBatch(row[0], row[1], tuple(orjson.loads(row[2])), row[3]) for row in found
    )
    rows = connection.execute(
        "SELECT item_id, seq, function, payload, keys, priority, owner FROM items"
        " WHERE state = 'queued'"
    ).fetchall()
    for batch in found:
        rows += orjson.loads(batch[4])
    # An item that was accepted while its envelope was stored is there twice.
    items = {row[0]: _stored_item(row) for row in rows}
    return StoredState(tuple(sorted(items.values(), key=lambda stored: stored.seq)), batches)
