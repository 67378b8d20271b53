"""What the model of an acquirer knows of refunds: one book entry a reference, carried out once.

A request that comes again is answered as the refund is now, unless it comes as a first one: that is
a duplicate, and says nothing of the money. Some acquirers hold a refund against what was paid;
those that are generous leave that to us.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from clearline.statuses import Reason
from connector.adapter import Answer, Order, Verdict


class RefundState(StrEnum):
    """Where a refund stands there."""

    UNHEARD = "unheard"
    PROCESSING = "processing"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True)
class Manner:
    """How a refund goes at the acquirer; times in seconds.

    refuses: it is declined. slow: it is accepted and carried out so long after. request, answer:
    delays of the first request on its way and back, None: lost. again: a second copy of its answer.
    mistold: so many answers first tell another amount. losses: of everything else asked, so many
    get no answer first.
    """

    refuses: bool = False
    slow: float | None = None
    request: float | None = 0.01
    answer: float | None = 0.01
    again: bool = False
    mistold: int = 0
    losses: int = 0


@dataclass
class RefundEntry:
    """All that happened under a refund's reference. `firsts`: requests that came as a first one."""

    order: Order
    state: RefundState = RefundState.UNHEARD
    firsts: int = 0
    carried: int = 0
    mistold: int = 0


@dataclass
class RefundBook:
    """By reference. `generous`: whoever asks gets it, whatever is left of the payment."""

    generous: bool
    entries: dict[str, RefundEntry] = field(default_factory=dict)

    def given_back(self, original: str) -> int:
        """Minor units of a payment that were given back, or are about to be."""
        under_way = (RefundState.PROCESSING, RefundState.DONE)
        return sum(
            entry.order.amount
            for entry in self.entries.values()
            if entry.order.original == original and entry.state in under_way
        )

    def ask(
        self, order: Order, tries: int, paid: int, manner: Manner,
        later: Callable[[RefundEntry], None],
    ) -> Answer:  # fmt: skip
        """A request, the first or, after `tries`, again. `paid`: of the payment, 0 when it was
        reversed. `later` is told of one that is to be carried out later."""
        entry = self.entries.setdefault(order.reference, RefundEntry(order))
        entry.firsts += tries == 0
        if entry.state is not RefundState.UNHEARD:
            return self._duplicate(entry) if tries == 0 else self.view(order, manner)
        left = paid if self.generous else paid - self.given_back(order.original)
        if manner.refuses or not paid or order.amount > left:
            entry.state = RefundState.REFUSED
        elif manner.slow is None:
            self.carry_out(entry)
        else:
            entry.state = RefundState.PROCESSING
            later(entry)
        return self.view(order, manner)

    def carry_out(self, entry: RefundEntry) -> None:
        """The money goes back."""
        entry.state = RefundState.DONE
        entry.carried += 1

    def view(self, order: Order, manner: Manner) -> Answer:
        """What is told of it: the first answers may be wrong about the amount."""
        entry = self.entries.get(order.reference)
        verdict, reason = {
            RefundState.UNHEARD: (Verdict.UNSURE, Reason.OTHER),
            RefundState.PROCESSING: (Verdict.ACCEPTED, Reason.ACCEPTED),
            RefundState.DONE: (Verdict.APPROVED, Reason.APPROVED),
            RefundState.REFUSED: (Verdict.DECLINED, Reason.INVALID_AMOUNT),
        }[RefundState.UNHEARD if entry is None else entry.state]
        amount = order.amount
        if entry is not None and entry.mistold < manner.mistold:
            entry.mistold += 1
            amount += 1
        return _told(order, verdict, reason, amount)

    def _duplicate(self, entry: RefundEntry) -> Answer:
        return _told(entry.order, Verdict.UNSURE, Reason.DUPLICATE, entry.order.amount)


def _told(order: Order, verdict: Verdict, reason: Reason, amount: int) -> Answer:
    native = f"{order.reference} {verdict} {amount}".encode()
    return Answer(
        verdict, reason, native, amount, order.currency, "Shop", order.merchant_code,
        clearing_route="SIM", clearing_date="2026-11-23",
    )  # fmt: skip
