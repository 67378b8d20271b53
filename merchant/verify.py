"""What a gateway's answer proves about a payment. A gateway is a courier: only the acquiring
bank's signature, made with a pinned key over this very payment, ends one.

Pure, and closed: a step that can't be done is a failure. What fails is disputed, never believed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from clearline import reports
from clearline.answers import PaymentAnswer, RefundAnswer
from clearline.codes import Refusal
from clearline.intents import PayIntent, PaymentKey
from clearline.jws import JwsError
from clearline.refunds import RefundIntent, RefundKey
from clearline.reports import Report, SignedReport
from clearline.statuses import ReportKind, Status
from merchant.profile import Pins

_TX_ID: Final = re.compile("[0-9a-f]{64}")
_Intent = TypeVar("_Intent", PayIntent, RefundIntent)


class Dispute(StrEnum):
    """Why an answer is not believed. docs/merchant.md says what each can mean."""

    ANSWER_MALFORMED = "answer_malformed"
    ANSWER_FOR_OTHER_PAYMENT = "answer_for_other_payment"
    ANSWER_FOR_OTHER_INTENT = "answer_for_other_intent"
    ANSWER_FOR_OTHER_AMOUNT = "answer_for_other_amount"
    FINAL_FLAG_WRONG = "final_flag_wrong"
    RESULT_MISSING = "result_missing"
    RESULT_TOO_EARLY = "result_too_early"
    RESULT_MALFORMED = "result_malformed"
    EVIDENCE_MISSING = "evidence_missing"
    ACQUIRER_NOT_ASKED = "acquirer_not_asked"
    KEY_UNKNOWN = "key_unknown"
    KEY_REVOKED = "key_revoked"
    SIGNATURE_INVALID = "signature_invalid"
    NOT_A_RESULT = "not_a_result"
    RESULT_FOR_OTHER_NETWORK = "result_for_other_network"
    RESULT_FOR_OTHER_PAYMENT = "result_for_other_payment"
    RESULT_FOR_OTHER_INTENT = "result_for_other_intent"
    RESULT_FOR_OTHER_AMOUNT = "result_for_other_amount"
    RESULT_FOR_OTHER_MERCHANT_CODE = "result_for_other_merchant_code"
    STATUS_MISMATCH = "status_mismatch"
    # Found by the order book, which knows what was proven before.
    EQUIVOCATION = "equivocation"


class DisputedError(Exception):
    """The answer can't be believed: which check failed, and how."""

    def __init__(self, code: Dispute, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Asked:
    """What the merchant asked: the payment, and each intent it signed for it, by digest."""

    key: PaymentKey
    intents: Mapping[str, PayIntent]


@dataclass(frozen=True, slots=True)
class Pending:
    """The payment has not ended, as this gateway says; nothing is proven."""

    status: Status


@dataclass(frozen=True, slots=True)
class Proven:
    """The acquiring bank says how the payment ended."""

    status: Status
    report: Report
    compact: str
    tx_id: str
    block_number: int


def verify(answer: PaymentAnswer, asked: Asked, pins: Pins) -> Pending | Proven:
    """Hold an answer against what was asked and whom the merchant trusts.

    Raises DisputedError at the first step that fails.
    """
    status, intent = check_answer(answer, TYPES, asked.key, asked.intents)
    if not status.final:
        return Pending(status)
    # 6. An outcome proves itself, or it is none.
    if answer.result is None:
        raise DisputedError(Dispute.RESULT_MISSING, f"claims {status} without a bank's signature")
    try:
        signed = reports.parse(answer.result)
    except Refusal as error:
        raise DisputedError(Dispute.RESULT_MALFORMED, error.detail) from None
    check_signature(signed, intent, pins)
    check_result(signed.report, intent, intent)
    return proven(answer, answer.result, status, signed.report)


def verify_stored(compact: str, intent: PayIntent, pins: Pins) -> Report:
    """Check a stored result again with today's pins. Raises DisputedError."""
    try:
        signed = reports.parse(compact)
    except Refusal as error:
        raise DisputedError(Dispute.RESULT_MALFORMED, error.detail) from None
    check_signature(signed, intent, pins)
    check_result(signed.report, intent, intent)
    return signed.report


def check_answer(
    answer: PaymentAnswer | RefundAnswer,
    types: Mapping[str, tuple[type, ...]],
    key: PaymentKey | RefundKey,
    intents: Mapping[str, _Intent],
) -> tuple[Status, _Intent]:
    """Steps 1 to 5: the status it claims, and the intent it is about. Raises DisputedError."""
    # 1. Every member is of its type: what follows compares, and must not compare 1 with true.
    for name, kinds in types.items():
        if type(getattr(answer, name)) not in kinds:
            raise DisputedError(Dispute.ANSWER_MALFORMED, f"/{name} is of another type")
    status = Status(answer.status)
    # 2. It is about this payment, or this refund.
    if answer.key != key:
        raise DisputedError(Dispute.ANSWER_FOR_OTHER_PAYMENT, f"is about {answer.key}"[:200])
    # 3. It is about an intent this merchant signed: nobody else's stands under this name.
    intent = intents.get(answer.intent_digest)
    if intent is None:
        raise DisputedError(
            Dispute.ANSWER_FOR_OTHER_INTENT, "names an intent that this order book never signed"
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


def check_signature(signed: SignedReport, intent: PayIntent, pins: Pins) -> None:
    """Steps 7 to 9: an acquirer that the intent accepts, by a pinned key. Raises DisputedError."""
    acquirer_id = signed.report.acquirer_id
    # 7. The acquirer is one that the intent accepts.
    if intent.route(acquirer_id) is None:
        raise DisputedError(Dispute.ACQUIRER_NOT_ASKED, f"{acquirer_id} is not in the intent")
    # 8. The key is pinned for that acquirer and not given up.
    key_id = signed.token.key_id
    if key_id in pins.revoked:
        raise DisputedError(Dispute.KEY_REVOKED, f"key {key_id} is in revoked_keys")
    pinned = pins.keys.get(acquirer_id)
    key = pinned.get(key_id) if pinned is not None else None
    if key is None:
        raise DisputedError(Dispute.KEY_UNKNOWN, f"key {key_id} is not pinned for {acquirer_id}")
    # 9. The signature is that key's, by the algorithm of the pinned key.
    try:
        key.verify(signed.token)
    except JwsError as error:
        raise DisputedError(Dispute.SIGNATURE_INVALID, str(error)) from None


def check_result(report: Report, intent: PayIntent | RefundIntent, payment: PayIntent) -> None:
    """Steps 10 to 15: it ends this payment, or this refund of the payment. Raises DisputedError."""
    # 10. It is a result, not a response or an "unknown".
    if report.kind is not ReportKind.RESULT:
        raise DisputedError(Dispute.NOT_A_RESULT, f"is a {report.kind}")
    # 11. Of this network,
    if report.network != intent.network:
        raise DisputedError(Dispute.RESULT_FOR_OTHER_NETWORK, f"is of {report.network}")
    # 12. this merchant, order and attempt, and refund,
    named = report.refund_key if isinstance(intent, RefundIntent) else report.key
    if named != intent.key:
        raise DisputedError(Dispute.RESULT_FOR_OTHER_PAYMENT, f"is about {named}")
    # 13. this intent,
    if report.intent_digest != intent.digest():
        raise DisputedError(Dispute.RESULT_FOR_OTHER_INTENT, "names another intent")
    # 14. and this money.
    if (report.amount, report.currency) != (intent.amount, intent.currency):
        raise DisputedError(
            Dispute.RESULT_FOR_OTHER_AMOUNT, f"{report.amount} {report.currency} minor units"
        )
    # 15. The acquirer saw this merchant's code: else it was another merchant's money.
    route = payment.route(report.acquirer_id)
    if report.merchant_code is not None and (
        route is None or report.merchant_code != route.merchant_code
    ):
        raise DisputedError(
            Dispute.RESULT_FOR_OTHER_MERCHANT_CODE, f"names merchant code {report.merchant_code}"
        )


def proven(
    answer: PaymentAnswer | RefundAnswer, compact: str, status: Status, report: Report
) -> Proven:
    """Steps 16 and 17, and what the bank's text proves. Raises DisputedError."""
    # 16. The bank says what the gateway says.
    if report.status is not status or report.acquirer_id != answer.acquirer_id:
        raise DisputedError(
            Dispute.STATUS_MISMATCH,
            f"the gateway says {status} by {answer.acquirer_id[:32]}, "
            f"the bank {report.status} by {report.acquirer_id}",
        )
    # 17. It says where on the ledger it is, so that an auditor can be asked.
    tx_id, block = answer.tx_id, answer.block_number
    if tx_id is None or block is None or not _TX_ID.fullmatch(tx_id) or block < 0:
        raise DisputedError(Dispute.EVIDENCE_MISSING, "names no transaction and block")
    return Proven(status, report, compact, tx_id, block)


_TEXT: Final = (str,)
_MAYBE: Final = (str, type(None))
TYPES: Final[dict[str, tuple[type, ...]]] = {
    "merchant_id": _TEXT,
    "order_no": _TEXT,
    "attempt": (int,),
    "status": _TEXT,
    "final": (bool,),
    "amount": (int,),
    "currency": _TEXT,
    "acquirer_id": _TEXT,
    "intent_digest": _TEXT,
    "reason": _MAYBE,
    "response": _MAYBE,
    "result": _MAYBE,
    "receipt": _MAYBE,
    "close": _MAYBE,
    "exceptions": (tuple,),
    "refunded_amount": (int,),
    "tx_id": _MAYBE,
    "block_number": (int, type(None)),
}
