"""Refunds as the connector finds them in blocks: to forward, refused here, or reported already."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from clearline import records
from clearline.codes import Code, Refusal
from clearline.logs import get_logger
from clearline.records import Kind
from clearline.refunds import Refund, reference
from clearline.reports import acquirer_reference
from clearline.statuses import Reason, Status
from connector.adapter import Order
from connector.entries import Ending, Entry, Said, SeenPayment, Telling
from connector.projection import Projection
from connector.states import Phase
from connector.verification import Place, verify_refund

PREFIX: Final = f"{Kind.REFUND}/"
_log = get_logger("connector.refunding")


def found(
    key: str, value: bytes, place: Place, projection: Projection, now: str
) -> Entry | SeenPayment | None:
    """What a refund's record means at the time `now`: a new entry of the outbox while nothing is
    reported, what is to be noted once something is; None when it is none of this acquirer's."""
    try:
        refund = records.load(Refund, value)
        status = Status(refund.status)
    except ValueError as error:
        _log.error("not a refund", extra={"key": key, "reason": str(error)})
        return None
    if refund.acquirer_id != place.acquirer_id:
        return None
    if refund.reports:
        forgotten = partial(_forgotten, key, refund, place)
        return SeenPayment(key, status, refund.sequence, excepted=False, forgotten=forgotten)
    return _requested(key, refund, place, projection, now)


def ended_unsent(reason: Reason, now: str) -> Ending:
    """How a refund ends that nobody forwards: declined. The merchant may ask for another."""
    return Ending(Status.DECLINED, reason, ended_at=now)


def refused_here(entry: Entry) -> bool:
    """Whether it is a refund that this connector has refused and nobody has sent. Whatever is in
    doubt then, it is not to be asked for again: that would carry it out."""
    ending = entry.ending
    return (
        bool(entry.order.refund_no)
        and entry.forwarded_at is None
        and ending is not None
        and ending.reason in (Reason.REFUSED_BY_CONNECTOR, Reason.NOT_PERMITTED)
    )


def _requested(key: str, refund: Refund, place: Place, projection: Projection, now: str) -> Entry:
    entry = _entry(key, refund, place, Phase.PENDING)
    try:
        verify_refund(key, refund, place, projection, now)
    except Refusal as refusal:
        if refusal.code is Code.EXPIRED:
            return entry  # the forwarder ends it, once the ledger agrees that it is that late
        _log.warning(
            "a refund is not forwarded",
            extra={"refund": str(refund.key), "code": refusal.code, "why": refusal.detail},
        )
        said = {Telling.RESULT: Said(ended_unsent(Reason.REFUSED_BY_CONNECTOR, now))}
        return replace(entry, phase=Phase.ANSWERED, said=said)
    return entry


def _forgotten(key: str, refund: Refund, place: Place) -> Entry:
    """One that another self reported on: while it is open it may have been carried out."""
    if refund.final:
        return _entry(key, refund, place, Phase.REPORTED)
    return replace(_entry(key, refund, place, Phase.DOUBTFUL), doubt=Reason.CONNECTION_LOST)


def _entry(key: str, refund: Refund, place: Place, phase: Phase) -> Entry:
    order = Order(
        reference=reference(refund.key, place.network),
        amount=refund.amount,
        currency=refund.currency,
        merchant_code=refund.merchant_code,
        payer_token="",
        mcc="",
        terminal="",
        product="",
        expires_at=refund.expires_at,
        refund_no=refund.refund_no,
        original=acquirer_reference(refund.key.payment, place.network),
    )
    return Entry(
        key=key,
        payment=refund.key.payment,
        phase=phase,
        intent_digest=refund.intent_digest,
        expires_at=refund.expires_at,
        order=order,
        ledger_status=refund.status,
        ledger_sequence=refund.sequence,
    )
