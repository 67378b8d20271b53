"""Sandbox payer tokens: what a payer does, chosen by the token's name, never by the amount.

A token may carry a suffix after a dot or a dash (`tok_approve.4711`): another payer, the same
behaviour. The table is in docs/acquirers.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Act(StrEnum):
    """What a payer does with the code."""

    PAYS = "pays"
    PAYS_SLOWLY = "pays_slowly"
    PAYS_AT_ONCE = "pays_at_once"  # before the create is answered, which takes slow_seconds
    NEVER = "never"
    AT_CLOSE = "at_close"  # a moment before the close is decided
    AFTER_CLOSE = "after_close"  # late_seconds after the close was answered
    REFUSES = "refuses"


class Loss(StrEnum):
    """What the network loses."""

    NONE = "none"
    CREATE = "create"  # before the book sees it
    CREATE_ANSWER = "create_answer"
    NOTICES = "notices"
    FIRST_REVERSAL_ANSWER = "first_reversal_answer"


class Wrong(StrEnum):
    """What is of another amount than was asked, one minor unit more."""

    NOTHING = "nothing"
    NOTICE = "notice"
    CHARGE = "charge"


class RefundAct(StrEnum):
    """What becomes of a refund to this payer."""

    DONE = "done"
    SLOWLY = "slowly"  # after slow_seconds
    REFUSED = "refused"


class RefundLoss(StrEnum):
    """What the network loses of a refund's first request."""

    NONE = "none"
    REQUEST = "request"  # before the book sees it
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What happens with a payer. `notices` are sent in this order; `reason` of a refusal; `refund`
    and `refund_loss` are of refunds to this payer."""

    act: Act = Act.PAYS
    loss: Loss = Loss.NONE
    wrong: Wrong = Wrong.NOTHING
    notices: tuple[str, ...] = ("ended",)
    reason: str = ""
    refund: RefundAct = RefundAct.DONE
    refund_loss: RefundLoss = RefundLoss.NONE


TOKENS: Final[dict[str, Behaviour]] = {
    "tok_approve": Behaviour(),
    "tok_slow": Behaviour(Act.PAYS_SLOWLY),
    "tok_never_pays": Behaviour(Act.NEVER),
    "tok_pays_at_close": Behaviour(Act.AT_CLOSE),
    "tok_pays_after_close": Behaviour(Act.AFTER_CLOSE),
    "tok_reversal_lost": Behaviour(Act.AFTER_CLOSE, Loss.FIRST_REVERSAL_ANSWER),
    "tok_refuses": Behaviour(Act.REFUSES, reason="payer_refused"),
    "tok_insufficient_funds": Behaviour(Act.REFUSES, reason="insufficient_funds"),
    "tok_limit_exceeded": Behaviour(Act.REFUSES, reason="limit_exceeded"),
    "tok_suspected_fraud": Behaviour(Act.REFUSES, reason="suspected_fraud"),
    "tok_create_lost": Behaviour(loss=Loss.CREATE),
    "tok_create_unanswered": Behaviour(loss=Loss.CREATE_ANSWER),
    "tok_create_unanswered_unpaid": Behaviour(Act.NEVER, Loss.CREATE_ANSWER),
    "tok_notice_early": Behaviour(Act.PAYS_AT_ONCE),
    "tok_notice_twice": Behaviour(notices=("ended", "ended")),
    "tok_notice_disordered": Behaviour(notices=("ended", "scanned")),
    "tok_notice_lost": Behaviour(loss=Loss.NOTICES),
    "tok_notice_wrong_amount": Behaviour(wrong=Wrong.NOTICE),
    "tok_wrong_amount": Behaviour(wrong=Wrong.CHARGE),
    "tok_refund_slow": Behaviour(refund=RefundAct.SLOWLY),
    "tok_refund_declined": Behaviour(refund=RefundAct.REFUSED),
    "tok_refund_lost": Behaviour(refund_loss=RefundLoss.REQUEST),
    "tok_refund_unanswered": Behaviour(refund_loss=RefundLoss.ANSWER),
}
_SUFFIX: Final = re.compile("[.-]")


def behaviour(token: str) -> Behaviour | None:
    """What this payer does; None when no payer has the token."""
    return TOKENS.get(_SUFFIX.split(token, maxsplit=1)[0])
