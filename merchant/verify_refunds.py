"""What a gateway's answer proves about a refund: as for a payment (verify.py), only the acquiring
bank's signature, made with a pinned key over this very refund, ends one. The steps are that
module's.

Pure, and closed: a step that can't be done is a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from clearline import reports
from clearline.answers import RefundAnswer
from clearline.codes import Refusal
from clearline.intents import PayIntent
from clearline.refunds import RefundIntent, RefundKey
from clearline.reports import Report
from clearline.statuses import Status
from merchant.profile import Pins
from merchant.verify import (
    TYPES,
    Dispute,
    DisputedError,
    Pending,
    Proven,
    check_answer,
    check_result,
    check_signature,
    proven,
)

_STATUSES: Final = frozenset(Status) - {Status.CLOSED, Status.EXPIRED}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    **{name: kinds for name, kinds in TYPES.items() if name in RefundAnswer.__dataclass_fields__},
    "refund_no": (int,),
    "clearing_date": (str,),
}


@dataclass(frozen=True, slots=True)
class Refunding:
    """What the merchant asked: the refund, each intent it signed for it, by digest, and whose
    payment it is: its intent, and the acquirer that ended it, as that has signed."""

    key: RefundKey
    intents: Mapping[str, RefundIntent]
    payment: PayIntent
    acquirer_id: str


def verify_refund(answer: RefundAnswer, asked: Refunding, pins: Pins) -> Pending | Proven:
    """Hold an answer against what was asked and whom the merchant trusts.

    Raises DisputedError at the first step that fails.
    """
    status, intent = check_answer(answer, _TYPES, asked.key, asked.intents)
    if status not in _STATUSES:
        raise DisputedError(Dispute.ANSWER_MALFORMED, f"a refund is never {status}")
    if not status.final:
        return Pending(status)
    # 6. An outcome proves itself, or it is none.
    if answer.result is None:
        raise DisputedError(Dispute.RESULT_MISSING, f"claims {status} without a bank's signature")
    report = verify_stored_refund(answer.result, intent, asked, pins)
    return proven(answer, answer.result, status, report)


def verify_stored_refund(
    compact: str, intent: RefundIntent, asked: Refunding, pins: Pins
) -> Report:
    """Check a stored text about a refund again with today's pins. Raises DisputedError."""
    try:
        signed = reports.parse_refund(compact)
    except Refusal as error:
        raise DisputedError(Dispute.RESULT_MALFORMED, error.detail) from None
    report = signed.report
    # 7. The acquirer is the one that has the payment.
    if report.acquirer_id != asked.acquirer_id:
        raise DisputedError(Dispute.ACQUIRER_NOT_ASKED, f"{report.acquirer_id} has no such payment")
    check_signature(signed, asked.payment, pins)
    check_result(report, intent, asked.payment)
    return report
