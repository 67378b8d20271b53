"""A model of an acquirer: its own book, its payers, its habit of answering badly - and the adapter
that speaks to it.

Synchronous (a card: it answers what became of it) or asynchronous (a wallet: it accepts, and the
payer acts later). The reference is its duplicate check: at most one charge, at most one reversal;
a reversal or close that comes first fences the reference.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sim_process import Base, Process, own_process

from clearline.statuses import Reason
from connector.adapter import (
    Answer,
    Capability,
    Heard,
    NoAnswerError,
    NotSentError,
    Order,
    Verdict,
    held_against,
)

ANSWER_S = 5.0
_NOTICE_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


class State(StrEnum):
    """Where a payment stands there."""

    UNHEARD = "unheard"
    WAITING = "waiting"
    PAID = "paid"
    REFUSED = "refused"
    CLOSED = "closed"
    REVERSED = "reversed"


@dataclass(frozen=True)
class Payer:
    """How a payment goes, whatever the connector does; times in seconds.

    pays: the payer has the money. acts_after: a wallet's payer decides so long after the create,
    None: never. late: pays although it was closed, so long after. request, answer: delays of the
    purchase on its way and back, None: lost. again: a second copy of the answer. other_amount:
    what is charged besides, told_amount: what is told besides. losses: of everything else asked,
    so many get no answer first. notices: how often a notice goes out though it was taken;
    stale: one that says "waiting" follows.
    """

    pays: bool = True
    acts_after: float | None = 1.0
    late: float | None = None
    request: float | None = 0.01
    answer: float | None = 0.01
    again: bool = False
    other_amount: int = 0
    told_amount: int = 0
    losses: int = 0
    notices: int = 1
    stale: bool = False


@dataclass
class Entry:
    """All that happened under one reference."""

    order: Order
    state: State = State.UNHEARD
    charged: int = 0
    charges: int = 0
    reversals: int = 0
    purchases_seen: int = 0
    fenced: bool = False
    late_planned: bool = False

    @property
    def net(self) -> int:
        """What the payer paid in the end."""
        return self.charged * (self.charges - self.reversals)


@dataclass
class SimAcquirer:
    """The book. `payers`: by payer token."""

    world: Base
    capabilities: frozenset[Capability]
    waits: bool
    payers: dict[str, Payer] = field(default_factory=dict)
    book: dict[str, Entry] = field(default_factory=dict)
    up: bool = True
    busy: int = 0  # things that payers and notices will yet do
    lines: list["SimAdapter"] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    sent: set[str] = field(default_factory=set)  # purchases, whether they came or not

    def payer(self, order: Order) -> Payer:
        return self.payers.get(order.payer_token, Payer())

    def fall(self) -> None:
        """Down: every line breaks."""
        self.up = False
        self.world.note("acquirer", "down")
        for line in self.lines:
            line.cut()

    def rise(self) -> None:
        self.up = True
        self.world.note("acquirer", "up")
        for line in self.lines:
            line.connect()

    # what it decides

    def purchase(self, order: Order) -> Answer:
        entry = self._entry(order)
        entry.purchases_seen += 1
        if entry.state in (State.CLOSED, State.REVERSED) and entry.purchases_seen == 1:
            return self._tell(entry, Verdict.REVERSED, Reason.REVERSED)
        if entry.state is not State.UNHEARD:
            return self._tell(entry, Verdict.UNSURE, Reason.DUPLICATE)
        payer = self.payer(order)
        if self.waits:
            entry.state = State.WAITING
            if payer.acts_after is not None:
                self._plan(payer.acts_after, self._act, order.reference)
        else:
            self._decide(entry)
        return self._view(entry)

    def inquire(self, order: Order) -> Answer:
        return self._view(self._entry(order))

    def close(self, order: Order) -> Answer:
        entry = self._entry(order)
        if entry.state in (State.UNHEARD, State.WAITING):
            entry.state = State.CLOSED
            self._plan_late(entry)
        return self._view(entry)

    def reverse(self, order: Order) -> Answer:
        entry = self._entry(order)
        if entry.charges:
            entry.state, entry.reversals = State.REVERSED, 1
        elif entry.state in (State.UNHEARD, State.WAITING):
            entry.state = State.CLOSED
        entry.fenced = True
        return self._tell(entry, Verdict.REVERSED, Reason.REVERSED)

    def _entry(self, order: Order) -> Entry:
        return self.book.setdefault(order.reference, Entry(order))

    def _decide(self, entry: Entry) -> None:
        payer = self.payer(entry.order)
        if payer.pays:
            self._charge(entry)
        else:
            entry.state = State.REFUSED
            self._plan_late(entry)

    def _charge(self, entry: Entry) -> None:
        assert not entry.charges
        entry.state, entry.charges = State.PAID, 1
        entry.charged = entry.order.amount + self.payer(entry.order).other_amount
        self.world.note("acquirer", "charges", entry.order.reference[:8], entry.charged)

    def _act(self, reference: str) -> None:
        entry = self.book[reference]
        if entry.state is State.WAITING:
            self._decide(entry)
            self._notify(entry)

    def _plan_late(self, entry: Entry) -> None:
        payer = self.payer(entry.order)
        if payer.late is not None and entry.purchases_seen and not entry.late_planned:
            entry.late_planned = True
            self._plan(payer.late, self._pay_late, entry.order.reference)

    def _pay_late(self, reference: str) -> None:
        entry = self.book[reference]
        if entry.state in (State.CLOSED, State.REFUSED) and not (entry.charges or entry.fenced):
            self.world.note("acquirer", "late success", reference[:8])
            self._charge(entry)
            self._notify(entry)

    def _view(self, entry: Entry) -> Answer:
        verdict, reason = {
            State.UNHEARD: (Verdict.UNSURE, Reason.OTHER),
            State.WAITING: (Verdict.ACCEPTED, Reason.ACCEPTED),
            State.PAID: (Verdict.APPROVED, Reason.APPROVED),
            State.REFUSED: (Verdict.DECLINED, Reason.INSUFFICIENT_FUNDS),
            State.CLOSED: (Verdict.CLOSED, Reason.OTHER),
            State.REVERSED: (Verdict.REVERSED, Reason.REVERSED),
        }[entry.state]
        return self._tell(entry, verdict, reason)

    def _tell(self, entry: Entry, verdict: Verdict, reason: Reason) -> Answer:
        order = entry.order
        amount = entry.charged or order.amount
        native = f"{order.reference} {verdict} {amount}".encode()
        return Answer(
            verdict, reason, native, amount, order.currency, "Shop", order.merchant_code,
            order.mcc, order.payer_token, "SIM", "2026-11-23",
        )  # fmt: skip

    # notices

    def _plan(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        self.busy += 1

        def happen() -> None:
            self.busy -= 1
            what(*args)

        self.world.later(seconds, happen)

    def _notify(self, entry: Entry) -> None:
        payer = self.payer(entry.order)
        for number in range(payer.notices):
            self._plan(0.02 + 0.3 * number, self._send_notice, self._view(entry), entry, 0)
        if payer.stale:
            stale = self._tell(entry, Verdict.ACCEPTED, Reason.ACCEPTED)
            self._plan(0.1, self._send_notice, stale, entry, 0)

    def _send_notice(self, answer: Answer, entry: Entry, tries: int) -> None:
        line = next((one for one in reversed(self.lines) if one.listens), None)
        told = replace(answer, amount=(answer.amount or 0) + self.payer(entry.order).told_amount)
        pause = _NOTICE_PAUSES[min(tries, len(_NOTICE_PAUSES) - 1)]
        if line is None or not self.up:
            self._plan(pause, self._send_notice, answer, entry, tries + 1)
            return
        self.world.note("acquirer", "notice", entry.order.reference[:8], told.verdict)
        self.busy += 1

        def heard(taken: bool) -> None:
            self.busy -= 1
            if not taken:
                self._plan(pause, self._send_notice, answer, entry, tries + 1)

        line.notice(entry.order.reference, told, heard)


class SimAdapter:
    """connector.adapter.Adapter over the model, inside one process."""

    def __init__(self, acquirer: SimAcquirer) -> None:
        self._acquirer = acquirer
        self._world = acquirer.world
        self._process: Process = own_process()
        self._up = asyncio.Event()
        self._heard: Heard | None = None
        self._waiting: list[asyncio.Future[Answer]] = []
        self._context: contextvars.Context | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._acquirer.capabilities

    @property
    def listens(self) -> bool:
        """Whether a notice would reach anybody."""
        return self._process.alive and self._heard is not None

    async def start(self, heard: Heard) -> None:
        self._heard = heard
        self._acquirer.lines.append(self)
        self.connect()

    async def stop(self) -> None:
        self._heard = None
        self.cut()
        if self in self._acquirer.lines:
            self._acquirer.lines.remove(self)

    def connect(self) -> None:
        if self._acquirer.up and self._heard is not None:
            self._up.set()

    def cut(self) -> None:
        """The line breaks: who waits for an answer gets none."""
        self._up.clear()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_exception(NoAnswerError(Reason.CONNECTION_LOST))

    async def ready(self) -> None:
        await self._up.wait()

    def new_trace(self) -> str:
        return f"{self._world.chance.getrandbits(32):08x}"

    async def pay(self, order: Order, trace: str) -> Answer:
        payer = self._acquirer.payer(order)
        if self._up.is_set():
            self._acquirer.sent.add(order.reference)
        return await self._ask("pay", self._acquirer.purchase, order, payer.request, payer.answer)

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        return await self._ask("reverse", self._acquirer.reverse, order, *self._way(order))

    async def inquire(self, order: Order, trace: str) -> Answer:
        return await self._ask("inquire", self._acquirer.inquire, order, *self._way(order))

    async def close(self, order: Order, trace: str) -> Answer:
        return await self._ask("close", self._acquirer.close, order, *self._way(order))

    def notice(self, reference: str, answer: Answer, heard: Callable[[bool], None]) -> None:
        """A notice comes in; `heard` is told whether it was taken."""
        assert self._heard is not None
        listening = self._heard.notice

        async def take() -> bool:
            try:
                async with asyncio.timeout(2.5):
                    taken = await listening(reference, answer)
            except TimeoutError:
                return False
            self._process.point("before a notice is acknowledged")
            return taken

        def done(task: "asyncio.Task[bool]") -> None:
            failed = task.cancelled() or task.exception() is not None
            self._world.later(0.005, heard, not failed and task.result())

        self._process.spawn(take()).add_done_callback(done)

    def _way(self, order: Order) -> tuple[float | None, float | None]:
        """Delays of anything but the purchase: there and back, None for what is lost."""
        seconds = self._world.chance.choice((0.005, 0.02, 0.3))
        self._acquirer.asked[order.reference] += 1
        if self._acquirer.asked[order.reference] > self._acquirer.payer(order).losses:
            return seconds, seconds
        return (None, None) if self._world.happens(0.5) else (seconds, None)

    async def _ask(
        self, what: str, decide: Callable[[Order], Answer], order: Order,
        there: float | None, back: float | None,
    ) -> Answer:  # fmt: skip
        name = order.reference[:8]
        self._process.point(f"before {what}")
        if not self._up.is_set():
            raise NotSentError("no line")
        self._world.note(self._process.name, what, name)
        waiter: asyncio.Future[Answer] = self._world.loop.create_future()
        self._waiting.append(waiter)
        if there is not None:
            self._world.later(there, self._arrive, what, decide, order, back, waiter)
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await waiter
        except TimeoutError:
            self._world.note(self._process.name, "no answer to", what, name)
            raise NoAnswerError(Reason.TIMED_OUT) from None
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        self._process.point(f"after {what}")
        return answer

    def _arrive(
        self, what: str, decide: Callable[[Order], Answer], order: Order,
        back: float | None, waiter: asyncio.Future[Answer],
    ) -> None:  # fmt: skip
        if not self._acquirer.up:
            return  # lost with the line
        answer = decide(order)
        self._world.note("acquirer", what, order.reference[:8], answer.verdict, answer.reason)
        if back is None:
            return
        payer = self._acquirer.payer(order)
        answer = replace(answer, amount=(answer.amount or 0) + payer.told_amount)
        answer = held_against(order, answer)
        self._world.later(back, self._come_back, what, order, answer, waiter)
        if payer.again:
            self._world.later(back + 0.05, self._come_back, what, order, answer, waiter)

    def _come_back(
        self, what: str, order: Order, answer: Answer, waiter: asyncio.Future[Answer]
    ) -> None:
        if not waiter.done():
            waiter.set_result(answer)
        elif what == "pay" and self.listens and self._heard is not None:
            self._process.context.run(self._heard.late, order.reference, answer)
