"""The committer's decisions: submissions through the commit queue, answers from the projection.

A submission is decided when its block is applied to the projection, or when the queue says why it
won't be on the ledger: whatever is answered has been seen in a block. What outlasts its request is
first put on stable storage, and only then said to be received, with a signed receipt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import asdict, replace
from functools import partial

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
)
from clearline.fabric.store import StoreError
from clearline.logs import get_logger
from clearline.refunds import RefundKey
from gateway.flights import Flight, Flights
from gateway.ledger_ports import Peer, Queue
from gateway.limits import Line, TokenBuckets
from gateway.messages import (
    State,
    Submission,
    Submit,
    Submitted,
    Until,
    Verb,
    named,
    payment_of,
    submit_from_json,
    submitted_to_json,
)
from gateway.projected import PaymentChange
from gateway.projection import Projection
from gateway.readiness import Readiness
from gateway.receipt_book import OpenReceipt
from gateway.receipts import Signing
from gateway.settings import Limits
from gateway.verdicts import meaning, overloaded, refused_by_network
from gateway.watches import Watches

_POLL = 0.1  # seconds between looks at an item another content of which is pending
_RETRY = 1.0  # seconds before a full queue is asked again
_APPLY = 10.0  # seconds a decided item may take to appear here before it is asked anew
_WATCH = 1.0  # seconds between looks at deadlines

_log = get_logger("clearline.gateway.committer")


class Committer:
    """Answers the workers' requests; use it from one event loop."""

    def __init__(
        self, queue: Queue, projection: Projection, peer: Peer, signing: Signing, limits: Limits
    ) -> None:
        self._queue = queue
        self._projection = projection
        self._signing = signing
        self._limits = limits
        self._started = times.now()
        self._buckets = TokenBuckets(limits.merchant_rate, limits.merchant_burst)
        self._flights = Flights()
        self._watches = Watches(projection)
        self._readiness = Readiness(queue, projection, peer, self._watches)
        # Committed by the queue's word and not seen in a block yet, with when that was said.
        self._landing: dict[Flight, tuple[float, Submitted]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.missed_receipts = 0

    def resume(self) -> None:
        """Take up every intent a receipt was given for and whose end is not known."""
        for held in self._projection.receipts.open():
            document: Json = orjson.loads(held.payload)
            number = document.get("refund_no")
            submission = Submission(
                held.key if number is None else RefundKey(*held.key, number),
                held.intent_digest,
                document["intent"],
                document.get("acquirer_id", ""),  # a close and a refund have none
                "",
            )
            flight = self._flights.add(submission)
            flight.receipt = held.receipt
            flight.deadline = parse_receipt(held.receipt)[0].deadline
            known = self._on_ledger(submission, self._projection.digest_of(submission.key))
            if known is None:
                self._send(flight)
            elif known.state is State.REFUSED:
                self._refuse(flight, known)
            else:
                self._let_go(flight, known)
        self._spawn(self._watch())

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
            return await self._watches.final(named(key), float(wait))
        if verb is Verb.BLOCK:
            number, wait = body
            return await self._watches.block(int(number), float(wait))
        if verb is Verb.NUMBERS:
            return self._readiness.numbers() | {
                "queue_merchants": self._flights.merchants,
                "receipts_missed": self.missed_receipts,
                "projection_remade": int(self._projection.remade),
            }
        return asdict(await self._readiness.standing())

    async def applied(self, changes: tuple[PaymentChange, ...]) -> None:
        """A block was applied to the projection: wake whoever waited for it."""
        for change in changes:
            for flight in self._flights.of(change.key):
                submission = flight.submission
                own = (
                    change.closing
                    if submission.closes
                    else submission.intent_digest == change.intent_digest
                )
                if own:
                    answer = Submitted(
                        State.COMMITTED,
                        remaining=flight.remaining,
                        status=change.status.value,
                        tx_id=change.tx_id,
                        block_number=change.block_number,
                        acquirer_id=change.acquirer_id,
                    )
                    self._let_go(flight, answer)
        await self._watches.applied(changes)

    async def submit(self, request: Submit) -> list[Submitted]:
        """How each submission stands, in order; see messages.Submit."""
        deadline = asyncio.get_running_loop().time() + request.wait
        entered = self._enter(request.submissions)
        flights = {id(item): item for item in entered if isinstance(item, Flight)}
        if request.until is Until.COMMITTED and flights:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait([flight.decided for flight in flights.values()], timeout=left)
        open_ = [flight for flight in flights.values() if not flight.decided.done()]
        held: dict[int, Submitted] = {}
        if open_:
            answers = await asyncio.gather(*(self._received(flight) for flight in open_))
            answers = await self._synced(answers)
            held = dict(zip(map(id, open_), answers, strict=True))
        return [
            (held.get(id(item)) or item.decided.result()) if isinstance(item, Flight) else item
            for item in entered
        ]

    # A submission's way

    def _enter(self, submissions: tuple[Submission, ...]) -> list[Flight | Submitted]:
        """For each the flight it joins or starts, or its answer at once."""
        now = times.now()
        known = self._projection.digests_of([submission.key for submission in submissions])
        entered: list[Flight | Submitted] = []
        for submission in submissions:
            found: Flight | Submitted | None = self._flights.get(submission.item_id)
            if found is None:
                found = self._on_ledger(submission, known.get(submission.key))
            if found is None:
                found = self._crowded(submission, now)
            if found is None:
                found = self._taken(submission)
            entered.append(found)
        return entered

    def _on_ledger(self, submission: Submission, digest: str | None) -> Submitted | None:
        """The answer to what is there already; `digest` is of the intent its payment was made by,
        None when it is not there."""
        if submission.closes:
            closing = digest is not None and self._projection.is_closing(submission.key)
            return Submitted(State.DUPLICATE) if closing else None
        if digest is None:
            return None
        if digest == submission.intent_digest:
            return Submitted(State.DUPLICATE)
        return Submitted(State.REFUSED, Code.CONFLICT, "another intent has this key")

    def _crowded(self, submission: Submission, now: str) -> Submitted | None:
        """Why it is not taken now, None when it is."""
        if self._started < submission.expires_at <= now:
            # What was taken before its end is a flight by now. A committer that started later
            # can't know that, and lets the contract say it.
            return Submitted(
                State.REFUSED, Code.EXPIRED, f"the intent expired at {submission.expires_at}"
            )
        merchant_id = submission.key.merchant_id
        waiting = max(len(self._flights), self._queue.depth())
        line = Line(waiting, self._flights.of_merchant(merchant_id), self._flights.merchants)
        if crowded := line.refusal(self._limits.queue_items):
            return overloaded(crowded)
        return None

    def _taken(self, submission: Submission) -> Flight | Submitted:
        """On its way, if its merchant's bucket has a token for it."""
        merchant_id = submission.key.merchant_id
        allowance = self._buckets.take(merchant_id)
        if allowance.granted:
            flight = self._flights.add(submission, allowance.remaining)
            self._send(flight)
            return flight
        return Submitted(
            State.REFUSED,
            Code.RATE_LIMITED,
            f"{merchant_id} posts more than {self._limits.merchant_rate}/s",
            retry_after=allowance.retry_after,
            remaining=allowance.remaining,
        )

    def _send(self, flight: Flight) -> None:
        """Bring a submission to its decision: by a block, or by the queue's word."""
        if flight.decided.done():
            return
        try:
            result = self._queue.put(flight.item)
        except QueueFull as error:
            if flight.receipt:  # a receipt's promise is kept, however long the queue
                asyncio.get_running_loop().call_later(_RETRY, self._send, flight)
            else:
                self._let_go(flight, overloaded(str(error)))
        except QueueClosed:
            self._stop(flight)
        except ItemConflict:
            self._spawn(self._other_text(flight))
        else:
            result.add_done_callback(partial(self._said, flight))

    def _said(self, flight: Flight, result: asyncio.Future[ItemResult]) -> None:
        """The queue has an answer. The block has often been faster."""
        if flight.decided.done():
            result.cancelled() or result.exception()
            return
        if result.cancelled() or isinstance(error := result.exception(), QueueClosed):
            self._stop(flight)
        elif isinstance(error, ItemRefused):
            self._refuse(flight, refused_by_network(flight.submission.key, error))
        elif error is not None:
            raise error
        else:
            self._decide(flight, result.result())

    def _decide(self, flight: Flight, result: ItemResult) -> None:
        answer = replace(meaning(result), remaining=flight.remaining)
        if answer.state is State.REFUSED:
            self._refuse(flight, answer)
        else:
            # Its block is still to come: one that had come would have decided it.
            self._landing[flight] = (asyncio.get_running_loop().time(), answer)

    async def _other_text(self, flight: Flight) -> None:
        """The same wish, signed twice: an earlier process took the other text of it."""
        try:
            while (result := await self._queue.result(flight.item.item_id)) is None:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
        except ItemRefused as error:
            self._refuse(flight, refused_by_network(flight.submission.key, error))
        else:
            self._decide(flight, result)

    def _stop(self, flight: Flight) -> None:
        detail = "the committer stops"
        self._let_go(flight, Submitted(State.REFUSED, Code.LEDGER_UNAVAILABLE, detail))

    def _refuse(self, flight: Flight, answer: Submitted) -> None:
        """It won't be on the ledger: whoever holds a receipt can read why."""
        if flight.decided.done():
            return
        if answer.code is not None:
            submission = flight.submission
            if flight.receipt:
                signed = self._signing.refuse(flight.receipt, answer.code)
                named_ = (payment_of(submission.key), submission.intent_digest)
                self._projection.receipts.refuse(named_, answer.code, answer.detail, signed)
                if not signed or flight.deadline < times.now():
                    self._miss(flight)
            fields = {"payment": str(submission.key), "code": answer.code.value}
            _log.info("refused", extra=fields | {"detail": answer.detail})
        self._let_go(flight, answer)

    def _let_go(self, flight: Flight, answer: Submitted) -> None:
        """Tell whoever waits, and forget it."""
        if flight.decided.done():
            return
        flight.decided.set_result(answer)
        self._flights.remove(flight)
        if self._landing:
            self._landing.pop(flight, None)

    async def _received(self, flight: Flight) -> Submitted:
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
                self._projection.receipts.put(
                    OpenReceipt(
                        payment_of(flight.submission.key),
                        flight.submission.intent_digest,
                        flight.submission.kept,
                        flight.receipt,
                    )
                )
        return Submitted(State.RECEIVED, receipt=flight.receipt, remaining=flight.remaining)

    async def _synced(self, answers: list[Submitted]) -> list[Submitted]:
        """The same once the receipts among them are on stable storage, as their intents are: a
        gateway that forgot one in a power cut would not sign why the contract refused it."""
        if not any(answer.state is State.RECEIVED for answer in answers):
            return answers
        try:
            await self._projection.synced()
        except OSError as error:
            kept = Submitted(State.REFUSED, Code.LEDGER_UNAVAILABLE, f"no receipt: {error}")
            return [kept if one.state is State.RECEIVED else one for one in answers]
        return answers

    # The clock

    async def _watch(self) -> None:
        """Note each receipt whose deadline passes before its intent is decided, and ask again for
        what is said to be committed and does not appear."""
        while True:
            self._note_missed(times.now())
            now = asyncio.get_running_loop().time()
            for flight, (since, answer) in list(self._landing.items()):
                digest = self._projection.digest_of(flight.submission.key)
                if self._on_ledger(flight.submission, digest) is not None:
                    self._let_go(flight, answer)
                elif now - since > _APPLY:
                    del self._landing[flight]
                    self._send(flight)
            await asyncio.sleep(_WATCH)

    def _note_missed(self, now: str) -> None:
        for flight in self._flights:
            if flight.deadline < now:
                self._miss(flight)

    def _miss(self, flight: Flight) -> None:
        """Note, once, that the word of its receipt was not kept or is given up."""
        if not flight.deadline:
            return
        submission = flight.submission
        named_ = (payment_of(submission.key), submission.intent_digest)
        self._projection.receipts.note_missed(named_, flight.deadline, flight.receipt)
        self.missed_receipts += 1
        fields = {"payment": str(submission.key), "deadline": flight.deadline}
        _log.error("a receipt's word is not kept", extra=fields)
        flight.deadline = ""

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
