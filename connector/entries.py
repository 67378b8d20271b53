"""A payment in the outbox, what was said of it, its reports: what the connector works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from clearline.intents import PaymentKey
from clearline.statuses import Reason, ReportKind, Status
from connector.adapter import Answer, Order, Verdict
from connector.states import Phase

SIGNED: Final = "signed"
COMMITTED: Final = "committed"
REJECTED: Final = "rejected"


class Telling(StrEnum):
    """What a report tells; each has the kind of report it is signed as."""

    UNKNOWN = "unknown"
    RESPONSE = "response"
    RESULT = "result"
    LATE = "late"  # a success after the end
    REVERSAL = "reversal"  # that success, given back

    @property
    def kind(self) -> ReportKind:
        """The kind of its report."""
        return ReportKind.RESULT if self is Telling.LATE else ReportKind(self.value)


@dataclass(frozen=True, slots=True)
class Ending:
    """What a payment became at the acquirer, as a report will say; times RFC 3339. `amount` and
    `currency` are None where they are those that were asked."""

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
    amount: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What the acquirer said: what it means, and its message with the salt of its digest."""

    ending: Ending
    native: bytes | None = None
    salt: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as it was signed; it is never signed again with the same number, only sent."""

    report_id: int
    sequence: int
    telling: Telling
    status: Status
    compact: str
    state: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A payment in the outbox. `tries` counts reversals begun; `doubt` is why it is doubtful;
    `closing` why it is to be closed (empty: it is not); `ledger_*` is what blocks have shown of
    it, `excepted` that a success after its end is open there."""

    key: str
    payment: PaymentKey
    phase: Phase
    intent_digest: str
    expires_at: str
    order: Order
    trace: str = ""
    forwarded_at: str | None = None
    doubt: str = ""
    closing: str = ""
    tries: int = 0
    ledger_status: str = ""
    ledger_sequence: int = 0
    excepted: int = 0
    said: Mapping[Telling, Said] = field(default_factory=dict)
    reports: tuple[StoredReport, ...] = ()

    @property
    def ending(self) -> Ending | None:
        """How it ended at the acquirer, None while it has not."""
        said = self.said.get(Telling.RESULT)
        return said.ending if said is not None else None

    @property
    def ended_as(self) -> str:
        """The status it has, or will have: the ledger's once that is final, whatever was heard
        here. Another connector may have ended it otherwise."""
        final = bool(self.ledger_status) and Status(self.ledger_status).final
        if final or self.ending is None:
            return self.ledger_status
        return self.ending.status

    @property
    def next_sequence(self) -> int:
        """The number of the next report: one more than any that is on the ledger."""
        committed = [item.sequence for item in self.reports if item.state == COMMITTED]
        return 1 + max([self.ledger_sequence, *committed])

    @property
    def unsent_report(self) -> StoredReport | None:
        """The first signed report that is not known to be committed."""
        return next((item for item in self.reports if item.state == SIGNED), None)

    @property
    def last_status(self) -> str:
        """What the ledger says, or will when the signed reports are there."""
        own = [item for item in self.reports if item.state != REJECTED]
        if own and own[-1].sequence >= self.ledger_sequence:
            return own[-1].status
        return self.ledger_status

    def told(self, telling: Telling) -> bool:
        """Whether a report telling this was signed, and not rejected."""
        return any(item.telling is telling and item.state != REJECTED for item in self.reports)

    def just_refused(self, telling: Telling) -> bool:
        """Whether the newest report told this and was rejected: not to be said again."""
        last = self.reports[-1] if self.reports else None
        return last is not None and last.telling is telling and last.state == REJECTED


@dataclass(frozen=True, slots=True)
class SeenPayment:
    """What a block shows of a payment that has reports, from this outbox or another one.
    `forgotten` makes the entry for it when there is none."""

    key: str
    status: Status
    sequence: int
    excepted: bool
    forgotten: Callable[[], Entry]


def ending_of(answer: Answer, now: str, closing: str = "") -> Ending | None:
    """The end that an answer means, None when there is none yet or the money is in doubt.

    `closing`: why it was asked to be closed. Closed because it expired is `expired`.
    """
    reason = answer.reason
    status = {
        Verdict.APPROVED: Status.SUCCEEDED,
        Verdict.DECLINED: Status.DECLINED,
        Verdict.REVERSED: Status.CLOSED,
    }.get(answer.verdict)
    if answer.verdict is Verdict.CLOSED:
        reason = Reason(closing) if closing else answer.reason
        status = Status.EXPIRED if reason is Reason.EXPIRED else Status.CLOSED
    if status is None:
        return None
    return _told(answer, status, reason, now)


def other_ending(answer: Answer, now: str) -> Ending | None:
    """The success of another amount, or of anything else but what was asked, that an UNSURE answer
    tells of; None when it doesn't say how much was paid."""
    if answer.amount is None or answer.amount <= 0 or answer.currency is None:
        return None
    told = _told(answer, Status.SUCCEEDED, Reason.INVALID_AMOUNT, now)
    return replace(told, amount=answer.amount, currency=answer.currency)


def response_of(answer: Answer, now: str) -> Ending:
    """What an ACCEPTED answer says; it ends nothing."""
    return _told(answer, Status.ACCEPTED, Reason.ACCEPTED, now)


def _told(answer: Answer, status: Status, reason: Reason, now: str) -> Ending:
    return Ending(
        status=status,
        reason=reason,
        answered_at=now,
        ended_at=now if status.final else None,
        merchant_name=answer.merchant_name,
        merchant_code=answer.merchant_code,
        mcc=answer.mcc,
        payer_token=answer.payer_token,
        clearing_route=answer.clearing_route,
        clearing_date=answer.clearing_date,
    )
