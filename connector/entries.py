"""A payment in the outbox, its end and its reports: the shapes that the connector works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clearline.intents import PaymentKey
from clearline.statuses import Reason, ReportKind, Status
from connector.adapter import Answer, Order, Verdict
from connector.states import Phase

SIGNED: Final = "signed"
COMMITTED: Final = "committed"
REJECTED: Final = "rejected"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a payment ended for the acquirer, as the result will say; times RFC 3339."""

    status: Status
    reason: Reason
    answered_at: str | None = None
    ended_at: str | None = None
    merchant_name: str | None = None
    merchant_code: str | None = None
    mcc: str | None = None
    payer_token: str | None = None
    clearing_route: str | None = None
    clearing_date: str | None = None


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as it was signed; it is never signed again with the same number, only sent."""

    report_id: int
    sequence: int
    kind: ReportKind
    status: Status
    compact: str
    state: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A payment in the outbox. `tries` counts reversals begun; `doubt` is why it is doubtful;
    `ledger_*` is what blocks have shown of it."""

    key: str
    payment: PaymentKey
    phase: Phase
    intent_digest: str
    expires_at: str
    order: Order
    trace: str = ""
    forwarded_at: str | None = None
    doubt: str = ""
    tries: int = 0
    ending: Ending | None = None
    native: bytes | None = None
    salt: bytes | None = None
    ledger_status: str = ""
    ledger_sequence: int = 0
    reports: tuple[StoredReport, ...] = ()

    @property
    def next_sequence(self) -> int:
        """The number of the next report: one more than any that is on the ledger."""
        committed = [item.sequence for item in self.reports if item.state == COMMITTED]
        return 1 + max([self.ledger_sequence, *committed])

    @property
    def unsent_report(self) -> StoredReport | None:
        """The first signed report that is not known to be committed."""
        return next((item for item in self.reports if item.state == SIGNED), None)

    def reported(self, kind: ReportKind) -> bool:
        """Whether a report of this kind was signed, and not rejected."""
        return any(item.kind is kind and item.state != REJECTED for item in self.reports)


@dataclass(frozen=True, slots=True)
class SeenPayment:
    """What a block shows of a payment that has reports, from this outbox or an earlier one.
    `forgotten` makes the entry for it when there is none."""

    key: str
    status: Status
    sequence: int
    forgotten: Callable[[], Entry]


def ending_of(answer: Answer, now: str) -> Ending | None:
    """The end that an answer means, None when it leaves the money in doubt."""
    status = {
        Verdict.APPROVED: Status.SUCCEEDED,
        Verdict.DECLINED: Status.DECLINED,
        Verdict.REVERSED: Status.CLOSED,
    }.get(answer.verdict)
    if status is None:
        return None
    return Ending(
        status=status,
        reason=answer.reason,
        answered_at=now,
        ended_at=now,
        merchant_name=answer.merchant_name,
        merchant_code=answer.merchant_code,
        mcc=answer.mcc,
        payer_token=answer.payer_token,
        clearing_route=answer.clearing_route,
        clearing_date=answer.clearing_date,
    )
