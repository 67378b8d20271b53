"""What the bank signs about a payment in the outbox. Pure: entry in, report out."""

from __future__ import annotations

import hashlib

from clearline.reports import Report
from clearline.statuses import Reason, ReportKind, Status
from connector.entries import Ending, Entry
from connector.states import Phase
from connector.verification import Place


def due(entry: Entry) -> ReportKind | None:
    """Which report is to be signed next, None for none.

    `unknown` is said once, while the payment is in doubt; the result when its end is stored.
    """
    said_unknown = any(item.kind is ReportKind.UNKNOWN for item in entry.reports)
    if entry.phase is Phase.DOUBTFUL and not said_unknown:
        return ReportKind.UNKNOWN if entry.ledger_status != Status.UNKNOWN else None
    if entry.phase is Phase.ANSWERED and not entry.reported(ReportKind.RESULT):
        return ReportKind.RESULT
    return None


def build(entry: Entry, kind: ReportKind, place: Place) -> Report:
    """The report of this kind about this entry; the same entry gives the same report.

    Raises ValueError for a result of a payment that has no end yet.
    """
    ending = entry.ending
    if kind is ReportKind.UNKNOWN:
        ending = Ending(Status.UNKNOWN, Reason(entry.doubt or Reason.OTHER))
    if ending is None:
        raise ValueError(f"{entry.key} has no end to report")
    return Report(
        kind=kind,
        network=place.network,
        acquirer_id=place.acquirer_id,
        merchant_id=entry.payment.merchant_id,
        order_no=entry.payment.order_no,
        attempt=entry.payment.attempt,
        intent_digest=entry.intent_digest,
        sequence=entry.next_sequence,
        status=ending.status,
        reason=ending.reason,
        amount=entry.order.amount,
        currency=entry.order.currency,
        acquirer_reference=entry.order.reference,
        merchant_name=ending.merchant_name,
        merchant_code=ending.merchant_code,
        mcc=ending.mcc,
        payer_token=ending.payer_token,
        clearing_route=ending.clearing_route,
        clearing_date=ending.clearing_date,
        forwarded_at=entry.forwarded_at,
        answered_at=ending.answered_at,
        ended_at=ending.ended_at,
        native_digest=native_digest(entry.salt, entry.native),
    )


def native_digest(salt: bytes | None, native: bytes | None) -> str | None:
    """SHA-256 of salt and native message, hex: the message can be shown later, not guessed now."""
    if not salt or not native:
        return None
    return hashlib.sha256(salt + native).hexdigest()
