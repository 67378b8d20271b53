"""What a gateway's answer proves about a refund: as for a payment (verify.py), only the acquiring
bank's signature, made with a pinned key over this very refund, ends one.

Pure, and closed: a step that can't be done is a failure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from clearline import reports
from clearline.answers import RefundAnswer
from clearline.codes import Refusal
from clearline.intents import PayIntent
from clearline.refunds import RefundIntent, RefundKey
from clearline.reports import Report
from clearline.statuses import ReportKind, Status
from merchant.profile import Pins
from merchant.verify import TYPES, Dispute, DisputedError, Pending, Proven, check_signature

_TX_ID: Final = re.compile("[0-9a-f]{64}")
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
    status, intent = _check_answer(answer, asked)
    if not status.final:
        return Pending(status)
    # 6. An outcome proves itself, or it is none.
    if answer.result is None:
        raise DisputedError(Dispute.RESULT_MISSING, f"claims {status} without a bank's signature")
    report = verify_stored_refund(answer.result, intent, asked, pins)
    # 14. The bank says what the gateway says.
    if report.status is not status or report.acquirer_id != answer.acquirer_id:
        raise DisputedError(Dispute.STATUS_MISMATCH, f"the bank says {report.status}")
    # 15. It says where on the ledger it is, so that an auditor can be asked.
    tx_id, block = answer.tx_id, answer.block_number
    if tx_id is None or block is None or not _TX_ID.fullmatch(tx_id) or block < 0:
        raise DisputedError(Dispute.EVIDENCE_MISSING, "names no transaction and block")
    return Proven(status, report, answer.result, tx_id, block)


def verify_stored_refund(
    compact: str, intent: RefundIntent, asked: Refunding, pins: Pins
) -> Report:
    """Check a bank's text about a refund: steps 7 to 13. Raises DisputedError."""
    try:
        signed = reports.parse_refund(compact)
    except Refusal as error:
        raise DisputedError(Dispute.RESULT_MALFORMED, error.detail) from None
    report = signed.report
    # 7. The acquirer has the payment, and a key pinned for it made the signature.
    if report.acquirer_id != asked.acquirer_id:
        raise DisputedError(Dispute.ACQUIRER_NOT_ASKED, f"{report.acquirer_id} has no such payment")
    check_signature(signed, asked.payment, pins)
    # 8. It is a result, not a response or an "unknown".
    if report.kind is not ReportKind.RESULT:
        raise DisputedError(Dispute.NOT_A_RESULT, f"is a {report.kind}")
    # 9. Of this network,
    if report.network != intent.network:
        raise DisputedError(Dispute.RESULT_FOR_OTHER_NETWORK, f"is of {report.network}")
    # 10. this refund,
    if report.refund_key != intent.key:
        raise DisputedError(Dispute.RESULT_FOR_OTHER_PAYMENT, f"is about {report.refund_key}")
    # 11. this intent,
    if report.intent_digest != intent.digest():
        raise DisputedError(Dispute.RESULT_FOR_OTHER_INTENT, "names another intent")
    # 12. this money,
    if (report.amount, report.currency) != (intent.amount, intent.currency):
        raise DisputedError(
            Dispute.RESULT_FOR_OTHER_AMOUNT, f"{report.amount} {report.currency} minor units"
        )
    # 13. and this merchant's code: else another merchant's money was given back.
    route = asked.payment.route(report.acquirer_id)
    if report.merchant_code is not None and (
        route is None or report.merchant_code != route.merchant_code
    ):
        raise DisputedError(
            Dispute.RESULT_FOR_OTHER_MERCHANT_CODE, f"came from code {report.merchant_code}"
        )
    return report


def _check_answer(answer: RefundAnswer, asked: Refunding) -> tuple[Status, RefundIntent]:
    # 1. Every member is of its type: what follows compares, and must not compare 1 with true.
    for name, kinds in _TYPES.items():
        if type(getattr(answer, name)) not in kinds:
            raise DisputedError(Dispute.ANSWER_MALFORMED, f"/{name} is of another type")
    status = Status(answer.status)
    if status not in _STATUSES:
        raise DisputedError(Dispute.ANSWER_MALFORMED, f"a refund is never {status}")
    # 2. It is about this refund.
    if answer.key != asked.key:
        raise DisputedError(Dispute.ANSWER_FOR_OTHER_PAYMENT, f"is about {answer.key}"[:200])
    # 3. It is about an intent this merchant signed: nobody else's stands under this number.
    intent = asked.intents.get(answer.intent_digest)
    if intent is None:
        raise DisputedError(
            Dispute.ANSWER_FOR_OTHER_INTENT, "names a refund that this order book never signed"
        )
    # 4. About this money.
    if (answer.amount, answer.currency) != (intent.amount, intent.currency):
        raise DisputedError(
            Dispute.ANSWER_FOR_OTHER_AMOUNT, f"{answer.amount} {answer.currency[:8]} minor units"
        )
    # 5. Flag and status agree, and no result comes before the end.
    if answer.final is not status.final:
        said = "final" if answer.final else "not final"
        raise DisputedError(Dispute.FINAL_FLAG_WRONG, f"calls the status {status} {said}")
    if not status.final and answer.result is not None:
        raise DisputedError(Dispute.RESULT_TOO_EARLY, f"brings a result with the status {status}")
    return status, intent
