"""A payment's and a refund's statuses, which may follow which, and the reasons of an ending."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """Where a payment stands. RECEIVED is a gateway's word: it is not on the ledger yet."""

    RECEIVED = "received"
    REQUESTED = "requested"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CLOSED = "closed"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether nothing follows it. `unknown` is a suspension, never final."""
        return self in FINAL


FINAL: Final = frozenset({Status.SUCCEEDED, Status.DECLINED, Status.CLOSED, Status.EXPIRED})
_ENDS: Final = frozenset(FINAL)
FOLLOWERS: Final[dict[Status, frozenset[Status]]] = {
    Status.RECEIVED: frozenset({Status.REQUESTED}),
    Status.REQUESTED: _ENDS | {Status.ACCEPTED, Status.UNKNOWN},
    Status.ACCEPTED: _ENDS | {Status.UNKNOWN},
    Status.UNKNOWN: _ENDS | {Status.ACCEPTED},
    Status.SUCCEEDED: frozenset(),
    Status.DECLINED: frozenset(),
    Status.CLOSED: frozenset(),
    Status.EXPIRED: frozenset(),
}


def may_follow(before: Status, after: Status) -> bool:
    """Whether a payment may go from `before` to `after` in one step."""
    return after in FOLLOWERS[before]


class ReportKind(StrEnum):
    """What an acquiring bank signs about a payment. A REVERSAL says that what was charged after the
    payment had ended without success was given back."""

    RESPONSE = "response"
    UNKNOWN = "unknown"
    RESULT = "result"
    REVERSAL = "reversal"


STATUSES_OF: Final[dict[ReportKind, frozenset[Status]]] = {
    ReportKind.RESPONSE: frozenset({Status.ACCEPTED}),
    ReportKind.UNKNOWN: frozenset({Status.UNKNOWN}),
    ReportKind.RESULT: FINAL,
    # Of a success that came after the end: the failure that was reported stands.
    ReportKind.REVERSAL: FINAL - {Status.SUCCEEDED},
}
# A refund is done or declined: nobody closes one, and one not forwarded in time is declined.
REFUND_STATUSES_OF: Final[dict[ReportKind, frozenset[Status]]] = {
    ReportKind.RESPONSE: frozenset({Status.ACCEPTED}),
    ReportKind.UNKNOWN: frozenset({Status.UNKNOWN}),
    ReportKind.RESULT: frozenset({Status.SUCCEEDED, Status.DECLINED}),
}


class Reason(StrEnum):
    """Why a payment ended as it did, or is unknown; ISO 8583:1987 field 39 in brackets."""

    APPROVED = "approved"  # 00
    ACCEPTED = "accepted"
    DO_NOT_HONOR = "do_not_honor"  # 05
    INSUFFICIENT_FUNDS = "insufficient_funds"  # 51
    EXPIRED_CARD = "expired_card"  # 54
    INVALID_CARD = "invalid_card"  # 14
    LOST_CARD = "lost_card"  # 41
    STOLEN_CARD = "stolen_card"  # 43
    INCORRECT_PIN = "incorrect_pin"  # 55
    NOT_PERMITTED = "not_permitted"  # 57
    SUSPECTED_FRAUD = "suspected_fraud"  # 59
    LIMIT_EXCEEDED = "limit_exceeded"  # 61
    RESTRICTED_CARD = "restricted_card"  # 62
    INVALID_MERCHANT = "invalid_merchant"  # 03
    INVALID_AMOUNT = "invalid_amount"  # 13
    INVALID_TRANSACTION = "invalid_transaction"  # 12
    FORMAT_ERROR = "format_error"  # 30
    ISSUER_UNAVAILABLE = "issuer_unavailable"  # 91
    DUPLICATE = "duplicate"  # 94
    SYSTEM_MALFUNCTION = "system_malfunction"  # 96
    REVERSED = "reversed"
    REFUSED_BY_CONNECTOR = "refused_by_connector"
    CLOSED_BY_MERCHANT = "closed_by_merchant"
    EXPIRED = "expired"
    TIMED_OUT = "timed_out"
    CONNECTION_LOST = "connection_lost"
    OTHER = "other"
