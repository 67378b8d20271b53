"""What the bank signs about a payment in the outbox. Pure: entry in, report out."""

from __future__ import annotations

import hashlib

from clearline.reports import Report
from clearline.statuses import Reason, Status
from connector.entries import Ending, Entry, Said, Telling
from connector.states import Phase
from connector.verification import Place


def due(entry: Entry) -> Telling | None:
    """What is to be told next, None for nothing.

    While a payment is in doubt that is told once; while it waits for its payer, that; a result
    follows the response where there was one; a success after the end is told before its reversal,
    unless it can't be told (nobody says how much), and then nor can its reversal.
    """
    if entry.phase in (Phase.LATE, Phase.UNDONE):
        if not entry.told(Telling.LATE) and not entry.excepted:
            return Telling.LATE if Telling.LATE in entry.said else None
        undone = entry.phase is Phase.UNDONE and not entry.told(Telling.REVERSAL)
        return Telling.REVERSAL if undone else None
    telling: Telling | None = None
    if entry.phase is Phase.DOUBTFUL and entry.last_status != Status.UNKNOWN:
        telling = Telling.UNKNOWN
    elif entry.phase is Phase.ACCEPTED and entry.last_status != Status.ACCEPTED:
        telling = Telling.RESPONSE
    elif entry.phase is Phase.ANSWERED and not entry.told(Telling.RESULT):
        telling = Telling.RESULT
        if Telling.RESPONSE in entry.said and not _responded(entry):
            telling = Telling.RESPONSE
    if telling in (Telling.UNKNOWN, Telling.RESPONSE) and entry.just_refused(telling):
        # The ledger does not take it; nobody needs it once the result follows.
        return Telling.RESULT if entry.phase is Phase.ANSWERED else None
    return telling


def build(entry: Entry, telling: Telling, place: Place) -> Report:
    """The report that tells this about this entry; the same entry gives the same report.

    Raises ValueError for what the acquirer has not said yet.
    """
    said = entry.said.get(telling)
    if telling is Telling.UNKNOWN:
        said = Said(Ending(Status.UNKNOWN, Reason(entry.doubt or Reason.OTHER)))
    if said is None:
        raise ValueError(f"{entry.key} has no {telling} to report")
    ending = said.ending
    return Report(
        kind=telling.kind,
        network=place.network,
        acquirer_id=place.acquirer_id,
        merchant_id=entry.payment.merchant_id,
        order_no=entry.payment.order_no,
        attempt=entry.payment.attempt,
        intent_digest=entry.intent_digest,
        sequence=entry.next_sequence,
        status=ending.status,
        reason=ending.reason,
        amount=ending.amount or entry.order.amount,
        currency=ending.currency or entry.order.currency,
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
        native_digest=native_digest(said.salt, said.native),
        refund_no=entry.order.refund_no,
    )


def native_digest(salt: bytes | None, native: bytes | None) -> str | None:
    """SHA-256 of salt and native message, hex: the message can be shown later, not guessed now."""
    if not salt or not native:
        return None
    return hashlib.sha256(salt + native).hexdigest()


def _responded(entry: Entry) -> bool:
    return entry.told(Telling.RESPONSE) or entry.ledger_status == Status.ACCEPTED
