"""Sandbox payer tokens: what a token does, chosen by its name, never by the amount.

A token may carry a suffix after a dot or a dash (`tok_approve.4711`): another payer, the same
behaviour. The table is in docs/acquirers.md. Which tokens exist is the vault's to say (book.py); it
is filled from this table when a book is made.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

APPROVED: Final = "00"


class Answering(StrEnum):
    """When a purchase is answered."""

    AT_ONCE = "at_once"
    SLOWLY = "slowly"
    LATE = "late"
    NEVER = "never"


class Loss(StrEnum):
    """Which messages get lost before the book sees them."""

    NONE = "none"
    PURCHASE = "purchase"
    FIRST_REVERSAL = "first_reversal"


class RefundLoss(StrEnum):
    """What gets lost of a refund's first request; a repeat never is."""

    NONE = "none"
    REQUEST = "request"  # before the book sees it
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What happens with a payer: response code, when it is answered, what is lost; of refunds to
    this payer the response code, and what is lost."""

    code: str
    answering: Answering = Answering.AT_ONCE
    loss: Loss = Loss.NONE
    summary: str = ""
    refund_code: str = APPROVED
    refund_loss: RefundLoss = RefundLoss.NONE


TOKENS: Final[dict[str, Behaviour]] = {
    "tok_approve": Behaviour(APPROVED, summary="approved"),
    "tok_do_not_honor": Behaviour("05", summary="declined by the issuer"),
    "tok_invalid_card": Behaviour("14", summary="no such card"),
    "tok_lost_card": Behaviour("41", summary="card reported lost"),
    "tok_stolen_card": Behaviour("43", summary="card reported stolen"),
    "tok_insufficient_funds": Behaviour("51", summary="not enough money"),
    "tok_expired_card": Behaviour("54", summary="card expired"),
    "tok_incorrect_pin": Behaviour("55", summary="wrong PIN"),
    "tok_not_permitted": Behaviour("57", summary="not permitted to this card"),
    "tok_suspected_fraud": Behaviour("59", summary="suspected fraud"),
    "tok_limit_exceeded": Behaviour("61", summary="over the card's limit"),
    "tok_restricted_card": Behaviour("62", summary="restricted card"),
    "tok_issuer_unavailable": Behaviour("91", summary="issuer does not answer"),
    "tok_malfunction": Behaviour("96", summary="system malfunction, nothing charged"),
    "tok_slow": Behaviour(APPROVED, Answering.SLOWLY, summary="approved after slow_seconds"),
    "tok_late": Behaviour(
        APPROVED, Answering.LATE, summary="charged at once, approved after late_seconds"
    ),
    "tok_timeout": Behaviour(
        APPROVED, Answering.NEVER, Loss.PURCHASE, "never answered, not charged"
    ),
    "tok_timeout_charged": Behaviour(
        APPROVED, Answering.NEVER, summary="never answered, charged"
    ),
    "tok_reversal_lost": Behaviour(
        APPROVED,
        Answering.NEVER,
        Loss.FIRST_REVERSAL,
        "never answered, charged; the first reversal is lost too, its repeat is answered",
    ),
    "tok_refund_declined": Behaviour(
        APPROVED, summary="approved; a refund is declined", refund_code="57"
    ),
    "tok_refund_lost": Behaviour(
        APPROVED,
        summary="approved; a refund's first request is lost, its repeat carried out",
        refund_loss=RefundLoss.REQUEST,
    ),
    "tok_refund_unanswered": Behaviour(
        APPROVED,
        summary="approved; a refund is carried out and not answered, its repeat is answered",
        refund_loss=RefundLoss.ANSWER,
    ),
}  # fmt: skip
_SUFFIX: Final = re.compile("[.-]")


_ORDINARY: Final = Behaviour(APPROVED, summary="approved")


def base(token: str) -> str:
    """The token without its suffix."""
    return _SUFFIX.split(token, maxsplit=1)[0]


def behaviour(token: str) -> Behaviour:
    """What a payer with this token does; one that the table does not name pays."""
    return TOKENS.get(base(token), _ORDINARY)


def account(token: str) -> str:
    """The payer's account behind a token: this company's own number, no card number."""
    return "acct-" + hashlib.sha256(b"unionpay sandbox account\n" + token.encode()).hexdigest()[:16]
