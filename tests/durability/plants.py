"""EARLY's planted bugs: each store is done with its work only once the promise was made."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from recorder import Recorder

from acquirers.qr_wallet import book as wallet_book
from acquirers.unionpay_iso8583.book import Book
from clearline.fabric.store import QueueStore
from connector import database
from gateway.webhooks import store as webhook_store
from merchant import bookfile
from network.embedded.orderer.ledger import Ledger as OrdererLedger
from network.embedded.peer.ledger import BlockCommit
from network.embedded.peer.ledger import Ledger as PeerLedger


def plant(recorder: Recorder) -> None:
    """Put all of them in; the folder that isn't synced is in recorder.py."""
    _orderer(recorder)
    _peer(recorder)
    _queue(recorder)
    _webhooks(recorder)
    _connector(recorder)
    _acquirers(recorder)
    _merchant(recorder)


def _orderer(recorder: Recorder) -> None:
    """Blocks are delivered from memory while they are on their way to the disk."""
    append, read = OrdererLedger.append, OrdererLedger.block
    memory: dict[int, bytes] = {}

    def early(self: OrdererLedger, blocks: Sequence[bytes]) -> int:
        if self.height == 0:
            return append(self, blocks)
        memory.update(enumerate(blocks, self.height))
        recorder.after("block delivered", lambda: append(self, blocks))
        return self.height + len(blocks)

    def block(self: OrdererLedger, number: int) -> bytes:
        return memory.get(number) or read(self, number)

    OrdererLedger.append = early  # type: ignore[method-assign]
    OrdererLedger.block = block  # type: ignore[method-assign]


def _peer(recorder: Recorder) -> None:
    """The block is announced while it is on its way to the disk."""
    commit = PeerLedger.commit

    def early(self: PeerLedger, batch: BlockCommit) -> None:
        if batch.number < 2:
            commit(self, batch)
        else:
            recorder.after("told VALID", lambda: commit(self, batch))

    PeerLedger.commit = early  # type: ignore[method-assign]


def _queue(recorder: Recorder) -> None:
    """The store answers at once."""

    def early(promise: str, honest: Callable[..., asyncio.Future[None]]) -> Any:
        def work(self: QueueStore, *arguments: Any) -> asyncio.Future[None]:
            loop = asyncio.get_running_loop()
            done: asyncio.Future[None] = loop.create_future()
            done.set_result(None)
            recorder.after(
                promise, lambda: loop.call_soon_threadsafe(lambda: honest(self, *arguments))
            )
            return done

        return work

    QueueStore.put_batch = early(  # type: ignore[method-assign]
        "envelope submitted", QueueStore.put_batch
    )
    QueueStore.put_items = early(  # type: ignore[method-assign]
        "intent received", QueueStore.put_items
    )


def _webhooks(recorder: Recorder) -> None:
    """The answer is given, and the event is sent, from inside the transaction."""
    honest = webhook_store.writing

    @contextmanager
    def early(connection: sqlite3.Connection) -> Iterator[None]:
        promise = next(filter(recorder.pending, ("webhook registered", "event sent")), "")
        if connection.in_transaction:
            yield
        elif promise:
            connection.execute("BEGIN IMMEDIATE")
            recorder.after(promise, lambda: connection.execute("COMMIT"))
            yield
        else:
            with honest(connection):
                yield

    webhook_store.writing = early


def _connector(recorder: Recorder) -> None:
    """The outbox answers from a transaction that is left open until the payment is reported."""
    honest = database._store

    async def early(file: Any, group: Sequence[Any]) -> list[Any]:
        db = file.connection
        if not any(map(recorder.pending, ("payment forwarded", "result reported"))):
            if db.in_transaction:
                db.execute("COMMIT")
            return await honest(file, group)
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        return [database._run_guarded(db, operation) for operation in group]

    database._store = early


def _acquirers(recorder: Recorder) -> None:
    """The answer leaves while the book is on its way to the disk."""
    commit = Book.commit

    def early(self: Book) -> None:
        if recorder.pending("charge answered"):
            recorder.after("charge answered", lambda: commit(self))
        else:
            commit(self)

    Book.commit = early  # type: ignore[method-assign]
    book: Any = wallet_book
    book.transaction = _left_open(recorder, ("order answered",), book.transaction)


def _merchant(recorder: Recorder) -> None:
    """The intent is posted, and the event answered, from a transaction that is left open."""
    promises = ("intent posted", "event answered")
    bookfile.writing = _left_open(recorder, promises, bookfile.writing)


def _left_open(
    recorder: Recorder,
    promises: Sequence[str],
    honest: Callable[[sqlite3.Connection], AbstractContextManager[None]],
) -> Any:
    """A transaction that is not committed before the promise is made, but by the next one."""

    @contextmanager
    def early(connection: sqlite3.Connection) -> Iterator[None]:
        if any(map(recorder.pending, promises)):
            if not connection.in_transaction:
                connection.execute("BEGIN IMMEDIATE")
            yield
        else:
            if connection.in_transaction:
                connection.execute("COMMIT")
            with honest(connection):
                yield

    return early
