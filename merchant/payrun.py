"""A run: sign and store what is to be posted, let the threads post it, write what comes back.

One thread - the caller's - owns the order book and writes in groups: intents before any of them
is posted, answers as they come. A kill between an answer and its write loses nothing, for the
next run asks again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol

from clearline import intents, times
from clearline.intents import PaymentKey
from clearline.jws import Signer
from merchant.attempts import Attempt, Change, NewIntent, OrderStatus, State
from merchant.jobs import Ending, Job, Mode, start
from merchant.orderbook import OrderBook
from merchant.orders import intent_for
from merchant.plan import Plan, Resume, Sign
from merchant.profile import Profile
from merchant.summary import Open, Summary
from merchant.workers import Ended, Event, Gateways, Moved, Trouble, Workers

LEAVING: Final = 2.0  # seconds that exchanges under way get after Ctrl-C
_TICK: Final = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """`batch` intents a post (1: single posts), `timeout` seconds an order gets in this run."""

    concurrency: int = 16
    batch: int = 1
    timeout: float = 120.0

    @property
    def window(self) -> int:
        """How many orders may be under way at once."""
        return self.concurrency * 4 if self.batch <= 1 else min(self.concurrency, 8) * self.batch


class Observer(Protocol):
    """Whoever shows progress."""

    def begin(self, counts: dict[OrderStatus, int], total: int) -> None:
        """The run starts with orders that stand so."""

    def update(self, counts: dict[OrderStatus, int], done: int) -> None:
        """So they stand now; `done` of them have a proven end."""

    def say(self, text: str) -> None:
        """Something that must be seen at once."""

    def end(self) -> None:
        """The run is over."""


@dataclass(slots=True)
class _Tally:
    counts: Counter[OrderStatus] = field(default_factory=Counter)
    status: dict[str, OrderStatus] = field(default_factory=dict)
    open: dict[str, Open] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    last: float = 0.0

    @property
    def done(self) -> int:
        return sum(count for status, count in self.counts.items() if status.final)

    def stands(self, order_no: str, status: OrderStatus) -> None:
        before = self.status.get(order_no)
        if before is not None:
            self.counts[before] -= 1
        self.counts[status] += 1
        self.status[order_no] = status


class PayRun:
    """One run over a plan."""

    def __init__(
        self,
        book: OrderBook,
        profile: Profile,
        gateways: Gateways,
        options: Options,
        observer: Observer,
    ) -> None:
        self._book = book
        self._profile = profile
        self._gateways = gateways
        self._options = options
        self._observer = observer
        self._tally = _Tally()
        self._underway: set[PaymentKey] = set()

    def run(self, plan: Plan, signer: Signer) -> Summary:
        """Carry out a plan; Ctrl-C ends it early and safely. Raises BookError."""
        tally, observer = self._tally, self._observer
        for state in (*plan.settled, *plan.left, *(item.state for item in plan.todo)):
            tally.stands(state.order.order_no, state.status)
        for state in plan.left:
            self._leave_open(state)
        begun = tally.last = monotonic()
        interrupted = False
        observer.begin(dict(tally.counts), tally.counts.total())
        workers = Workers(
            self._gateways,
            self._profile.pins,
            self._options.concurrency,
            self._options.timeout,
        )
        rest = deque(plan.todo)
        try:
            while self._underway or (rest and not self._silent()):
                self._refill(workers, rest, signer)
                self._take(workers.events(_TICK))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            workers.stop(LEAVING if interrupted else 0.0)
            self._take(workers.events(0.0))
            observer.end()
        for item in rest:
            self._leave_open(item.state)
        for key in self._underway:
            standing = self._book.state(key.order_no)
            if standing is not None:
                self._leave_open(standing)
        return Summary(
            dict(tally.counts),
            self._book.counts(),
            tuple(tally.times),
            tally.last - begun,
            tuple(tally.open.values()),
            interrupted,
        )

    def _silent(self) -> bool:
        """Whether no gateway has answered for a job's whole time: then starting more is no use."""
        return monotonic() - self._gateways.rota.last_answer > self._options.timeout

    def _refill(self, workers: Workers, rest: deque[Sign | Resume], signer: Signer) -> None:
        window = self._options.window
        # By halves, so that intents are signed and synced in groups.
        if not rest or len(self._underway) > window // 2 or self._silent():
            return
        count = min(window - len(self._underway), len(rest))
        jobs = self._prepare([rest.popleft() for _ in range(count)], signer)
        self._underway.update(job.key for job in jobs)
        workers.put(jobs, self._options.batch)

    def _prepare(self, items: Sequence[Sign | Resume], signer: Signer) -> list[Job]:
        now = times.now()
        new = [self._sign(item, now, signer) for item in items if isinstance(item, Sign)]
        kept = self._book.store(new) if new else []
        for attempt in kept:
            self._tally.stands(attempt.order_no, attempt.status)
        stored = iter(kept)
        jobs = []
        for item in items:
            if isinstance(item, Sign):
                jobs.append(self._job(next(stored), Mode.PAY))
            elif item.state.attempt is not None:
                jobs.append(self._job(item.state.attempt, item.mode))
        return jobs

    def _sign(self, item: Sign, now: str, signer: Signer) -> NewIntent:
        intent = intent_for(item.state.order, item.attempt, self._profile, now)
        compact = intents.sign(intent, signer)
        return NewIntent(
            intent.order_no, intent.attempt, intent.digest(), compact, intent.expires_at
        )

    def _job(self, attempt: Attempt, mode: Mode) -> Job:
        compacts = self._book.intents(attempt.order_no, attempt.attempt)
        return start(attempt, compacts, self._profile.merchant_id, mode)

    def _take(self, events: Sequence[Event]) -> None:
        """Write a group of events in one transaction, then count and show them."""
        changes: list[Change] = []
        endings: list[tuple[Ended, int | None]] = []
        for event in events:
            if isinstance(event, Trouble):
                self._observer.say(f"{event.url}: {event.reason}")
            elif isinstance(event, Moved):
                changes.append(event.change)
            elif event.ending.job.key in self._underway:
                self._underway.discard(event.ending.job.key)
                endings.append((event, None if event.ending.change is None else len(changes)))
                if event.ending.change is not None:
                    changes.append(event.ending.change)
        written = self._book.record(changes) if changes else []
        for change in written:
            self._tally.stands(change.order_no, change.status)
        for ended, place in endings:
            self._end(ended, None if place is None else written[place])
        if events:
            self._observer.update(dict(self._tally.counts), self._tally.done)

    def _end(self, ended: Ended, written: Change | None) -> None:
        tally, ending = self._tally, ended.ending
        key = ending.job.key
        tally.last = max(tally.last, ended.ended)
        status = ending.status if written is None else written.status
        if status.final:
            tally.times.append(ended.ended - ended.started)
            return
        tally.open[key.order_no] = _open(ending, status, written)
        if status is OrderStatus.DISPUTED:
            item = tally.open[key.order_no]
            self._observer.say(
                f"DISPUTED {item.order_no} attempt {item.attempt}: {item.code}: {item.detail}"
                f" ({item.gateway or 'before'}). The order is NOT paid."
            )

    def _leave_open(self, state: State) -> None:
        attempt = state.attempt
        self._tally.open[state.order.order_no] = Open(
            state.order.order_no,
            attempt.attempt if attempt else 0,
            state.status,
            attempt.code if attempt else "not_started",
            attempt.detail if attempt else "",
            attempt.gateway if attempt else "",
        )


def _open(ending: Ending, status: OrderStatus, written: Change | None) -> Open:
    key = ending.job.key
    if written is None:
        return Open(key.order_no, key.attempt, status, ending.code, ending.detail, "")
    return Open(key.order_no, key.attempt, status, written.code, written.detail, written.gateway)
