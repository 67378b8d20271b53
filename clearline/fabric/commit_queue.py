"""The commit queue: items in, batch transactions out, each item's committed outcome back.

    store = QueueStore(path)
    commits = CommitQueue(contract, store, QueueLimits())
    await commits.start()
    result = await commits.submit(QueueItem(item_id, "SubmitIntents", payload, keys))
    await commits.close()

Natural batching: whatever is ready goes when one of `in_flight` slots is free. While the ledger
is away items wait; what was submitted is asked for until it is known. Batches that fail by their
own fault are halved until the one bad item stands alone and is refused.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from clearline.fabric import queue_log
from clearline.fabric.contract import Contract
from clearline.fabric.queue_batch import Applied, BatchCounters, BatchRunner
from clearline.fabric.queue_carrier import BatchCarrier
from clearline.fabric.queue_items import (
    RESULTS,
    ItemConflict,
    ItemRefused,
    ItemResult,
    QueueClosed,
    QueueFull,
    QueueItem,
    QueueLimits,
)
from clearline.fabric.ready_queue import Entry, ReadyQueue
from clearline.fabric.store import QueueStore, StoredBatch, StoredItem, StoreError
from clearline.logs import get_logger

_RECENT = 10_000  # outcomes kept in memory
_PURGE_S = 60.0

_log = get_logger("clearline.fabric.queue")
_Decided = ItemResult | ItemRefused


@dataclass(frozen=True)
class QueueStats:
    """A snapshot for metrics."""

    waiting: int
    in_flight_batches: int
    committed_items: int
    refused_items: int
    split_batches: int
    batches: BatchCounters


@dataclass(eq=False, slots=True)
class _Pending:
    entry: Entry
    waiters: list[asyncio.Future[ItemResult]] = field(default_factory=list)


class CommitQueue:
    """See the module. Use it from one event loop; one queue per store."""

    def __init__(
        self, contract: Contract, store: QueueStore, limits: QueueLimits | None = None
    ) -> None:
        self._limits = limits or QueueLimits()
        self._store = store
        self._runner = BatchRunner(contract, store, self._limits)
        self._ready = ReadyQueue()
        self._pending: dict[str, _Pending] = {}
        self._recent: OrderedDict[str, _Decided] = OrderedDict()
        self._counts = {"results": 0, "others": 0}
        self._bytes = {"results": 0, "others": 0}
        self._carrier = BatchCarrier(self._runner, self)
        self._slots = asyncio.Semaphore(self._limits.in_flight)
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flying = 0
        self._next_seq = 0
        self._running = False
        self._committed = self._refused = 0

    async def start(self) -> None:
        """Open the store, take up what it holds, begin. Raises StoreError."""
        state = await self._store.open()
        self._running = True
        self._idle.set()
        self._next_seq = 1 + max((stored.seq for stored in state.items), default=0)
        queued = {stored.item.item_id: stored for stored in state.items}
        batches = [
            (batch, [queued.pop(name) for name in batch.item_ids if name in queued])
            for batch in state.batches
        ]
        # Envelopes first: their items were in flight, so they head the lines of their keys.
        for batch, items in batches:
            entries = [self._admit(stored.item, stored.seq, stored=True) for stored in items]
            for entry in entries:
                entry.resumed = True
                self._ready.hold(entry)
            self._spawn(self._resume(batch, entries))
        for stored in queued.values():
            entry = self._admit(stored.item, stored.seq, stored=True)
            self._ready.add(entry, self._now())
        if state.items or state.batches:
            counts = {"items": len(state.items), "envelopes": len(state.batches)}
            _log.info("taking up what was left", extra=counts)
        self._spawn(self._dispatch())
        self._spawn(self._purge())

    async def close(self) -> None:
        """Stop. Waiting callers get QueueClosed; stored items go on when the store is reopened."""
        self._running = False
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pending in self._pending.values():
            for waiter in pending.waiters:
                if not waiter.done():
                    waiter.set_exception(QueueClosed("the queue was closed"))
        self._pending.clear()
        await self._store.close()

    async def drained(self) -> None:
        """Wait until nothing is pending."""
        await self._idle.wait()

    async def submit(self, item: QueueItem) -> ItemResult:
        """The committed outcome of an item.

        Joins the item when its id is pending; an id decided earlier is run again, so that an
        error that has passed isn't repeated (the contract answers duplicates from the ledger).
        The item isn't on stable storage before its envelope is: call accept for that. A cancelled
        wait doesn't cancel the item.

        Raises QueueFull, QueueClosed, ItemConflict, ItemRefused; ValueError for text that is no
        Unicode.
        """
        return await self.put(item)

    def put(self, item: QueueItem) -> asyncio.Future[ItemResult]:
        """As submit, for whoever has many at once: a future, and no task, for each.

        Raises QueueFull, QueueClosed, ItemConflict, ValueError; the future QueueClosed and
        ItemRefused.
        """
        pending = self._enter(item)
        waiter: asyncio.Future[ItemResult] = asyncio.get_running_loop().create_future()
        pending.waiters.append(waiter)
        return waiter

    async def accept(self, item: QueueItem) -> None:
        """Take an item for good: it is on stable storage when this returns.

        Does nothing for an item decided a moment ago. Raises as submit does (not ItemRefused),
        and StoreError: then it isn't durable, though it may yet be committed.
        """
        if item.item_id in self._recent and item.item_id not in self._pending:
            return
        entry = self._enter(item).entry
        # Also when a batch is storing it right now: this write comes after that one.
        entry.stored = True
        try:
            await self._store.put_items([StoredItem(entry.item, entry.seq)])
        except StoreError:
            entry.stored = False
            raise

    async def result(self, item_id: str) -> ItemResult | None:
        """The outcome of an item if it is decided and remembered. Raises ItemRefused for a
        refused one, StoreError."""
        if item_id in self._pending:
            return None
        found = self._recent.get(item_id)
        if found is None:
            found = await self._store.lookup(item_id)
        if isinstance(found, ItemRefused):
            raise found
        return found

    def pending_ids(self) -> tuple[str, ...]:
        """Ids of the items waiting or on their way, in the order of their coming; after `start`,
        what an earlier process left."""
        return tuple(self._pending)

    def depth(self) -> int:
        """Items waiting or on their way."""
        return len(self._pending)

    def stats(self) -> QueueStats:
        """Numbers for metrics."""
        return QueueStats(
            waiting=self._ready.ready_count,
            in_flight_batches=self._flying,
            committed_items=self._committed,
            refused_items=self._refused,
            split_batches=self._carrier.split_batches,
            batches=replace(self._runner.counters),
        )

    # Coming in

    def _enter(self, item: QueueItem) -> _Pending:
        if not self._running:
            raise QueueClosed("the queue is not running")
        pending = self._pending.get(item.item_id)
        if pending is not None:
            if not pending.entry.item.same_work(item):
                raise ItemConflict(f"item {item.item_id} is pending with another content")
            return pending
        kind = _kind(item)
        if self._counts[kind] >= self._limits.max_pending:
            raise QueueFull(f"{self._counts[kind]} {kind} are pending")
        if self._bytes[kind] >= self._limits.max_pending_bytes:
            raise QueueFull(f"{self._bytes[kind]} bytes of {kind} are pending")
        for text in (item.item_id, item.function, item.payload, *item.keys):
            text.encode()
        entry = self._admit(item, self._next_seq, stored=False)
        self._next_seq += 1
        self._ready.add(entry, self._now())
        self._wake.set()
        return self._pending[item.item_id]

    def _admit(self, item: QueueItem, seq: int, *, stored: bool) -> Entry:
        entry = Entry(item, seq, stored=stored)
        self._pending[item.item_id] = _Pending(entry)
        self._counts[_kind(item)] += 1
        self._bytes[_kind(item)] += entry.size
        self._idle.clear()
        return entry

    # Going out

    async def _dispatch(self) -> None:
        while True:
            await self._slots.acquire()
            batch = await self._next_batch()
            self._spawn(self._fly(batch))

    async def _next_batch(self) -> list[Entry]:
        limits = self._limits
        while True:
            now = self._now()
            first = self._ready.first()
            if self._carrier.pause.until > now:
                await asyncio.sleep(self._carrier.pause.until - now)
            elif first is None:
                self._wake.clear()
                await self._wake.wait()
            elif (
                self._ready.ready_count < limits.max_items
                and (left := first.ready_at + self._linger_s() - now) > 0
            ):
                await asyncio.sleep(left)
            else:
                return self._ready.take(limits.max_items, limits.max_bytes)

    def _linger_s(self) -> float:
        busy = self._flying > 0
        return (self._limits.busy_linger_ms if busy else self._limits.linger_ms) / 1000

    async def _fly(self, batch: list[Entry]) -> None:
        self._flying += 1
        try:
            await self._carrier.carry(batch)
        finally:
            self._flying -= 1
            self._slots.release()

    async def _resume(self, batch: StoredBatch, entries: list[Entry]) -> None:
        """Ask what became of a stored envelope, and carry on with its items."""
        await self._slots.acquire()
        self._flying += 1
        try:
            # Sent again only while nobody was told anything about any of its items.
            if len(entries) == len(batch.item_ids):
                verdict = await self._runner.resume(batch)
                if isinstance(verdict, Applied):
                    self.decide(entries, verdict)
                    return
                self._carrier.failed(entries, verdict)
            else:
                self.forget(batch.tx_id)
            if any(self._ready.must_wait(entry) for entry in entries):
                self.put_back(entries)
            else:
                await self._carrier.carry(entries)
        finally:
            self._flying -= 1
            self._slots.release()

    def put_back(self, entries: Iterable[Entry]) -> None:
        """For the carrier: these items wait again."""
        for entry in entries:
            self._ready.put_back(entry, self._now())
        self._wake.set()

    # Decided

    def decide(self, entries: Sequence[Entry], verdict: Applied) -> None:
        """For the carrier: a batch is committed, or answered from committed state."""
        results = [
            ItemResult(entry.item.item_id, outcome, verdict.tx_id, verdict.block_number)
            for entry, outcome in zip(entries, verdict.outcomes, strict=True)
        ]
        self._committed += len(results)
        tx_id = verdict.tx_id if verdict.block_number is not None else None
        self._settle(entries, results, tx_id)
        items = [entry.item for entry in entries]
        queue_log.decided(items, verdict.outcomes, verdict.tx_id, verdict.block_number)

    def refuse(self, entry: Entry, refusal: ItemRefused) -> None:
        """For the carrier: an item that stood alone is refused."""
        self._refused += 1
        self._settle([entry], [refusal], None)

    def forget(self, tx_id: str) -> None:
        """For the carrier: an envelope needn't be asked for any more; its items stay queued."""
        self._store.forget(tx_id).add_done_callback(_log_failure)

    def _settle(
        self, entries: Sequence[Entry], results: Sequence[_Decided], tx_id: str | None
    ) -> None:
        """Tell the waiters, free the keys, note it in the store without waiting."""
        now = self._now()
        stored: list[_Decided] = []
        for entry, result in zip(entries, results, strict=True):
            pending = self._pending.pop(entry.item.item_id)
            self._counts[_kind(entry.item)] -= 1
            self._bytes[_kind(entry.item)] -= entry.size
            self._ready.release(entry, now)
            self._remember(result)
            if entry.stored:
                stored.append(result)
            for waiter in pending.waiters:
                if waiter.done():
                    continue
                if isinstance(result, ItemRefused):
                    waiter.set_exception(result)
                else:
                    waiter.set_result(result)
        if stored or tx_id is not None:
            self._store.finish(tx_id, stored).add_done_callback(_log_failure)
        self._wake.set()
        if not self._pending:
            self._idle.set()

    def _remember(self, result: _Decided) -> None:
        self._recent[result.item_id] = result
        self._recent.move_to_end(result.item_id)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    async def _purge(self) -> None:
        while True:
            self._store.purge().add_done_callback(_log_failure)
            await asyncio.sleep(_PURGE_S)

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("a task of the queue died", extra={"reason": repr(error)})

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _kind(item: QueueItem) -> str:
    """Results have room of their own, so that a crowd of requests never refuses them."""
    return "results" if item.priority <= RESULTS else "others"


def _log_failure(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.error("an outcome wasn't stored", extra={"reason": str(error)})
