"""The committer's decisions: submissions through the commit queue, answers from the projection.

A submission is decided when its block is applied to the projection, or when the queue says why it
won't be on the ledger: whatever is answered has been seen in a block. What outlasts its request is
first put on stable storage, and only then said to be received, with a signed receipt.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field

import orjson

from clearline import times
from clearline.answers import parse_receipt
from clearline.canonical import Json
from clearline.codes import Code
from clearline.fabric.queue_items import (
    ItemConflict,
    ItemRefused,
    ItemResult,
    QueueClosed,
    QueueFull,
    QueueItem,
)
from clearline.fabric.store import StoreError
from clearline.intents import PaymentKey
from clearline.logs import get_logger
from clearline.records import payment_key
from gateway.ledger_ports import Peer, Queue
from gateway.limits import Line, TokenBuckets
from gateway.messages import (
    Standing,
    State,
    Submission,
    Submit,
    Submitted,
    Until,
    Verb,
    submit_from_json,
    submitted_to_json,
)
from gateway.projection import OpenReceipt, PaymentChange, Projection
from gateway.receipts import Signing
from gateway.settings import Limits
from gateway.verdicts import meaning, overloaded, refused_by_network

FUNCTION = "SubmitIntents"
_POLL = 0.1  # seconds between looks at an item another content of which is pending
_RETRY = 1.0  # seconds before a full queue is asked again
_NEAR = 100  # blocks the projection may be behind while the peer makes more
_MOVING = 1.0  # seconds in which it must have applied one of them
_APPLY = 10.0  # seconds a decided item may take to appear here before it is asked anew
_WATCH = 1.0  # seconds between looks for receipts whose deadline has passed

_log = get_logger("clearline.gateway.committer")


@dataclass(eq=False)
class _Flight:
    """A submission that is not decided yet, and whoever waits for it."""

    submission: Submission
    item: QueueItem
    decided: asyncio.Future[Submitted]
    receipt: str = ""
    deadline: str = ""  # the receipt's, until it is met or noted as missed
    receiving: asyncio.Lock = field(default_factory=asyncio.Lock)


class Committer:
    """Answers the workers' requests; use it from one event loop."""

    def __init__(
        self, queue: Queue, projection: Projection, peer: Peer, signing: Signing, limits: Limits
    ) -> None:
        self._queue = queue
        self._projection = projection
        self._peer = peer
        self._signing = signing
        self._limits = limits
        self._started = times.now()
        self._levelled = False
        self._buckets = TokenBuckets(limits.merchant_rate, limits.merchant_burst)
        self._flights: dict[str, _Flight] = {}
        self._of_merchant: Counter[str] = Counter()
        self._by_key: dict[PaymentKey, list[_Flight]] = {}
        self._finals: dict[PaymentKey, list[asyncio.Future[None]]] = {}
        self._applied = asyncio.Condition()
        self.missed_receipts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def resume(self) -> None:
        """Take up every intent a receipt was given for and whose end is not known."""
        for held in self._projection.open_receipts():
            document: Json = orjson.loads(held.payload)
            submission = Submission(
                held.key,
                held.intent_digest,
                document["intent"],
                document.get("acquirer_id", ""),  # a close has none
                "",
            )
            if self._on_ledger(submission) is None:
                flight = self._launch(submission)
                flight.receipt = held.receipt
                flight.deadline = parse_receipt(held.receipt)[0].deadline
        self._spawn(self._watch_deadlines())

    async def close(self) -> None:
        """Stop waiting for anything."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def handle(self, verb: Verb, body: Json) -> Json:
        """A worker's request, answered. See messages for the bodies."""
        if verb is Verb.SUBMIT:
            answers = await self.submit(submit_from_json(body))
            return [submitted_to_json(answer) for answer in answers]
        if verb is Verb.FINAL:
            key, wait = body
            return await self.wait_final(PaymentKey(*key), float(wait))
        if verb is Verb.BLOCK:
            number, wait = body
            return await self.wait_block(int(number), float(wait))
        if verb is Verb.NUMBERS:
            return self.numbers()
        return asdict(await self.standing())

    async def applied(self, changes: tuple[PaymentChange, ...]) -> None:
        """A block was applied to the projection: wake whoever waited for it."""
        for change in changes:
            for flight in list(self._by_key.get(change.key, ())):
                submission = flight.submission
                own = (
                    change.closing
                    if submission.closes
                    else (submission.intent_digest == change.intent_digest)
                )
                if own:
                    committed = Submitted(
                        State.COMMITTED,
                        status=change.status.value,
                        tx_id=change.tx_id,
                        block_number=change.block_number,
                        acquirer_id=change.acquirer_id,
                    )
                    self._let_go(flight, committed)
            if change.status.final:
                for waiter in self._finals.pop(change.key, ()):
                    if not waiter.done():
                        waiter.set_result(None)
        async with self._applied:
            self._applied.notify_all()

    async def submit(self, request: Submit) -> list[Submitted]:
        """How each submission stands, in order; see messages.Submit."""
        deadline = asyncio.get_running_loop().time() + request.wait
        entered = [self._enter(submission) for submission in request.submissions]
        flights = {id(item): item for item in entered if isinstance(item, _Flight)}
        if request.until is Until.COMMITTED and flights:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait([flight.decided for flight in flights.values()], timeout=left)
        open_ = [flight for flight in flights.values() if not flight.decided.done()]
        held: dict[int, Submitted] = {}
        if open_:
            answers = await asyncio.gather(*(self._received(flight) for flight in open_))
            held = dict(zip(map(id, open_), answers, strict=True))
        return [
            (held.get(id(item)) or item.decided.result()) if isinstance(item, _Flight) else item
            for item in entered
        ]

    async def wait_final(self, key: PaymentKey, wait: float) -> bool:
        """Whether the payment has ended, at the latest `wait` seconds from now."""
        if self._projection.is_final(key):
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finals.setdefault(key, []).append(waiter)
        try:
            async with asyncio.timeout(wait):
                await waiter
        except TimeoutError:
            return False
        finally:
            left = self._finals.get(key)
            if left is not None and waiter in left:
                left.remove(waiter)
                if not left:
                    del self._finals[key]
        return True

    async def wait_block(self, number: int, wait: float) -> int:
        """The last block applied: as soon as `number` is, or `wait` seconds from now."""
        try:
            async with asyncio.timeout(wait), self._applied:
                await self._applied.wait_for(lambda: self._projection.last_block >= number)
        except TimeoutError:
            pass  # the answer says how far it got
        return self._projection.last_block

    async def standing(self) -> Standing:
        """How the committer is, for readiness."""
        last = self._projection.last_block
        ahead = await self._peer.has_block(last + 1)
        if ahead is False:
            self._levelled = True
        level = ahead is False
        if ahead and self._levelled:
            # Blocks are always being made under load: near is enough for whoever was level once.
            moving = await self.wait_block(last + 1, _MOVING) > last
            level = moving and await self._peer.has_block(last + _NEAR) is False
        return Standing(
            following=ahead is not None,
            level=level,
            last_block=self._projection.last_block,
            depth=self._queue.depth(),
        )

    def numbers(self) -> dict[str, float]:
        """For metrics: see gateway.metrics for the names."""
        stats = self._queue.stats()
        return {
            "last_block": self._projection.last_block,
            "queue_depth": self._queue.depth(),
            "queue_ready": stats.waiting,
            "queue_in_flight_batches": stats.in_flight_batches,
            "queue_merchants": len(self._of_merchant),
            "queue_committed": stats.committed_items,
            "queue_refused": stats.refused_items,
            "queue_split_batches": stats.split_batches,
            "queue_endorsed": stats.batches.endorsed,
            "queue_submitted": stats.batches.submitted,
            "queue_resubmitted": stats.batches.resubmitted,
            "queue_answered_unordered": stats.batches.answered_unordered,
            "receipts_missed": self.missed_receipts,
        }

    # A submission's way

    def _enter(self, submission: Submission) -> _Flight | Submitted:
        """The flight a submission joins or starts, or its answer at once."""
        flight = self._flights.get(submission.item_id)
        if flight is not None:
            return flight
        known = self._on_ledger(submission)
        if known is not None:
            return known
        if self._started < submission.expires_at <= times.now():
            # What was taken before its end is a flight by now. A committer that started later
            # can't know that, and lets the contract say it.
            return Submitted(
                State.REFUSED, Code.EXPIRED, f"the intent expired at {submission.expires_at}"
            )
        merchant_id = submission.key.merchant_id
        waiting = max(len(self._flights), self._queue.depth())
        line = Line(waiting, self._of_merchant[merchant_id], len(self._of_merchant))
        if crowded := line.refusal(self._limits.queue_items):
            return overloaded(crowded)
        allowance = self._buckets.take(merchant_id)
        if not allowance.granted:
            return Submitted(
                State.REFUSED,
                Code.RATE_LIMITED,
                f"{merchant_id} posts more than {self._limits.merchant_rate}/s",
                retry_after=allowance.retry_after,
                limit=allowance.limit,
                remaining=allowance.remaining,
            )
        return self._launch(submission)

    def _on_ledger(self, submission: Submission) -> Submitted | None:
        if submission.closes:
            closing = self._projection.is_closing(submission.key)
            return Submitted(State.DUPLICATE) if closing else None
        digest = self._projection.digest_of(submission.key)
        if digest is None:
            return None
        if digest == submission.intent_digest:
            return Submitted(State.DUPLICATE)
        return Submitted(State.REFUSED, Code.CONFLICT, "another intent has this payment's key")

    def _launch(self, submission: Submission) -> _Flight:
        item = QueueItem(
            submission.item_id,
            FUNCTION,
            submission.payload,
            (payment_key(submission.key),),
            owner=submission.key.merchant_id,
        )
        flight = _Flight(submission, item, asyncio.get_running_loop().create_future())
        self._flights[item.item_id] = flight
        self._of_merchant[submission.key.merchant_id] += 1
        self._by_key.setdefault(submission.key, []).append(flight)
        self._spawn(self._fly(flight))
        return flight

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch_deadlines(self) -> None:
        """Note each receipt whose deadline passes before its intent is decided."""
        while True:
            now = times.now()
            for flight in self._flights.values():
                if flight.deadline and flight.deadline < now:
                    submission = flight.submission
                    self._projection.note_missed(
                        submission.key, submission.intent_digest, flight.deadline, flight.receipt
                    )
                    self.missed_receipts += 1
                    fields = {"payment": str(submission.key), "deadline": flight.deadline}
                    _log.error("a receipt's deadline is missed", extra=fields)
                    flight.deadline = ""
            await asyncio.sleep(_WATCH)

    async def _fly(self, flight: _Flight) -> None:
        """Bring a submission to its decision."""
        while not flight.decided.done():
            try:
                answer = meaning(await self._result(flight.item))
            except ItemRefused as error:
                answer = refused_by_network(flight.submission.key, error)
            except QueueFull as error:
                if flight.receipt:  # a receipt's promise is kept, however long the queue
                    await asyncio.sleep(_RETRY)
                    continue
                answer = overloaded(str(error))
            except QueueClosed:
                detail = "the committer stops"
                self._let_go(flight, Submitted(State.REFUSED, Code.LEDGER_UNAVAILABLE, detail))
                return
            if answer.state is State.REFUSED:
                self._refuse(flight, answer)
            elif await self._appeared(flight):
                self._let_go(flight, answer)

    async def _result(self, item: QueueItem) -> ItemResult:
        try:
            return await self._queue.submit(item)
        except ItemConflict:
            # The same wish, signed twice: an earlier process took the other text of it.
            while (result := await self._queue.result(item.item_id)) is None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
            return result

    async def _appeared(self, flight: _Flight) -> bool:
        """Whether the projection shows what the queue says is committed, in time."""
        submission = flight.submission
        if flight.decided.done() or self._on_ledger(submission) is not None:
            return True
        # By its future, which the block sets: not by looking again at each block.
        await asyncio.wait((flight.decided,), timeout=_APPLY)
        return flight.decided.done() or self._on_ledger(submission) is not None

    def _refuse(self, flight: _Flight, answer: Submitted) -> None:
        """It won't be on the ledger: whoever holds a receipt can read why."""
        if flight.receipt and not flight.decided.done() and answer.code is not None:
            submission = flight.submission
            self._projection.refuse_receipt(
                submission.key, submission.intent_digest, answer.code, answer.detail
            )
        self._let_go(flight, answer)

    def _let_go(self, flight: _Flight, answer: Submitted) -> None:
        """Tell whoever waits, and forget it."""
        if flight.decided.done():
            return
        flight.decided.set_result(answer)
        del self._flights[flight.item.item_id]
        merchant_id = flight.submission.key.merchant_id
        self._of_merchant[merchant_id] -= 1
        if not self._of_merchant[merchant_id]:
            del self._of_merchant[merchant_id]
        same_key = self._by_key[flight.submission.key]
        same_key.remove(flight)
        if not same_key:
            del self._by_key[flight.submission.key]
        fields = {"payment": str(flight.submission.key), "state": answer.state.value}
        if answer.code is not None:
            fields |= {"code": answer.code.value, "detail": answer.detail}
        _log.info("decided", extra=fields)

    async def _received(self, flight: _Flight) -> Submitted:
        """Its decision, or, while there is none, its receipt once it is on stable storage."""
        async with flight.receiving:
            if flight.decided.done():
                return flight.decided.result()
            if not flight.receipt:
                try:
                    await self._queue.accept(flight.item)
                except ItemConflict:
                    pass  # taken in another text by an earlier process: it is in its store
                except (QueueFull, QueueClosed, StoreError) as error:
                    if flight.decided.done():
                        return flight.decided.result()
                    return Submitted(State.REFUSED, Code.LEDGER_UNAVAILABLE, str(error))
                if flight.decided.done():
                    return flight.decided.result()
                flight.receipt, flight.deadline = self._signing.sign(
                    flight.submission, self._limits.receipt_deadline_s
                )
                self._projection.put_receipt(
                    OpenReceipt(
                        flight.submission.key,
                        flight.submission.intent_digest,
                        flight.item.payload,
                        flight.receipt,
                    )
                )
        return Submitted(State.RECEIVED, receipt=flight.receipt)
