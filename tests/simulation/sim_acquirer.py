"""A model of an acquirer: its own book, its payers, its habit of answering badly. The adapter that
speaks to it is in sim_adapter.py, what it knows of refunds in sim_refunds.py.

Synchronous (a card: it answers what became of it) or asynchronous (a wallet: it accepts, and the
payer acts later). The reference is its duplicate check: at most one charge, at most one reversal;
a reversal or close that comes first fences the reference.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from sim_process import Base
from sim_refunds import Manner, RefundBook, RefundEntry

from clearline.statuses import Reason
from connector.adapter import Answer, Capability, Order, Verdict

if TYPE_CHECKING:
    from sim_adapter import SimAdapter

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
    stale: one that says "waiting" follows. refunds: how each goes, by its number.
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
    refunds: tuple[Manner, ...] = ()

    def refund(self, number: int) -> Manner:
        """How the refund with this number goes."""
        return self.refunds[number - 1] if number <= len(self.refunds) else Manner()


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
    refunds: RefundBook
    payers: dict[str, Payer] = field(default_factory=dict)
    book: dict[str, Entry] = field(default_factory=dict)
    up: bool = True
    busy: int = 0  # things that payers and notices will yet do
    lines: list["SimAdapter"] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    sent: set[str] = field(default_factory=set)  # first requests, whether they came or not

    def payer(self, order: Order) -> Payer:
        """Whoever pays it; of a refund, whoever paid."""
        paid = self.book.get(order.original)
        token = order.payer_token if paid is None else paid.order.payer_token
        return self.payers.get(token, Payer())

    def manner(self, order: Order) -> Manner:
        """How this refund goes."""
        return self.payer(order).refund(order.refund_no)

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
        if self.refunds.given_back(order.reference):
            return self._tell(entry, Verdict.UNSURE, Reason.INVALID_TRANSACTION)
        if entry.charges:
            entry.state, entry.reversals = State.REVERSED, 1
        elif entry.state in (State.UNHEARD, State.WAITING):
            entry.state = State.CLOSED
        entry.fenced = True
        return self._tell(entry, Verdict.REVERSED, Reason.REVERSED)

    def refund(self, order: Order, tries: int) -> Answer:
        paid = self.book.get(order.original)
        net = 0 if paid is None else paid.net
        return self.refunds.ask(order, tries, net, self.manner(order), self._give_back_later)

    def inquire_refund(self, order: Order) -> Answer:
        return self.refunds.view(order, self.manner(order))

    def _give_back_later(self, entry: RefundEntry) -> None:
        slow = self.manner(entry.order).slow
        self._plan(slow or 0.0, self.refunds.carry_out, entry)

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
