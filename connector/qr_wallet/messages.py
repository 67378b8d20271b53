"""The wallet's messages and ours: orders to bodies, views to answers. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from clearline import times
from clearline.cards import holds_card_number
from clearline.money import MAX_AMOUNT, MINOR_DIGITS
from clearline.statuses import Reason
from connector.adapter import Answer, Order, Verdict, held_against
from connector.qr_wallet.wire import Native

_REFUSED: Final[dict[str, Reason]] = {
    "payer_refused": Reason.DO_NOT_HONOR,
    "insufficient_funds": Reason.INSUFFICIENT_FUNDS,
    "limit_exceeded": Reason.LIMIT_EXCEEDED,
    "suspected_fraud": Reason.SUSPECTED_FRAUD,
}
# Answers to a create after which nothing is, and nothing can be, paid.
_DECLINED: Final[dict[str, Reason]] = {
    "malformed": Reason.FORMAT_ERROR,
    "merchant_unknown": Reason.INVALID_MERCHANT,
    "currency_not_taken": Reason.INVALID_TRANSACTION,
    "notify_url_refused": Reason.REFUSED_BY_CONNECTOR,
    "payer_unknown": Reason.INVALID_CARD,
}
_REFUND_REFUSED: Final[dict[str, Reason]] = {
    "not_refundable": Reason.INVALID_TRANSACTION,
    "merchant_unknown": Reason.INVALID_MERCHANT,
    "amount_refused": Reason.INVALID_AMOUNT,
    "not_permitted": Reason.NOT_PERMITTED,
}
_UNSURE: Final = Verdict.UNSURE
_TEXTS: Final[dict[str, str]] = {
    "merchant_name": "[!-~](?:[ -~]{0,62}[!-~])?",
    "merchant_code": "[A-Za-z0-9]{1,15}",
    "mcc": "[0-9]{4}",
    "payer_token": "[A-Za-z0-9._:-]{1,64}",
    "clearing_route": "[A-Za-z0-9._-]{1,64}",
}


def create(order: Order, notify_url: str) -> bytes:
    """The body of a create."""
    return json.dumps(
        {
            "reference": order.reference,
            "merchant_code": order.merchant_code,
            "amount": order.amount,
            "currency": order.currency,
            "payer_token": order.payer_token,
            "mcc": order.mcc,
            "terminal": order.terminal,
            "expires_at": order.expires_at,
            "notify_url": notify_url,
        }
    ).encode()


def create_answer(order: Order, message: Native, pay_url: str) -> Answer:
    """What the answer to a create says. `pay_url` is where the payer's code must lead: a code that
    leads elsewhere, or a payment of anything but what was asked, leaves the money in doubt."""
    view = _object(message.raw)
    if message.status == 201:
        if view.get("pay_url") != pay_url:
            return _answer(_UNSURE, Reason.OTHER, message.raw, view)
        return _judge(order, message.raw, view)
    error = view.get("error")
    if error == "closed_before":
        return _answer(Verdict.REVERSED, Reason.REVERSED, message.raw, view)
    if error == "expired":
        return _answer(Verdict.CLOSED, Reason.EXPIRED, message.raw, view)
    if error == "reference_used":
        return _answer(_UNSURE, Reason.DUPLICATE, message.raw, view)
    if isinstance(error, str) and error in _DECLINED:
        return _answer(Verdict.DECLINED, _DECLINED[error], message.raw, view)
    return _answer(_UNSURE, Reason.OTHER, message.raw, view)


def view_answer(order: Order, message: Native) -> Answer:
    """What a query or a close says. That it isn't known there proves nothing: it may be on its
    way."""
    view = _object(message.raw)
    if message.status != 200:
        return _answer(_UNSURE, Reason.OTHER, message.raw, view)
    return _judge(order, message.raw, view)


def reversal_answer(order: Order, message: Native) -> Answer:
    """What a reversal says: given back, or nothing was paid and nothing can be."""
    view = _object(message.raw)
    if message.status == 200 and view.get("reference") == order.reference:
        if view.get("state") in ("reversed", "closed", "expired"):
            return _answer(Verdict.REVERSED, Reason.REVERSED, message.raw, view)
        if view.get("state") == "refused":
            return _judge(order, message.raw, view)
    return _answer(_UNSURE, Reason.OTHER, message.raw, view)


def refund(order: Order) -> bytes:
    """The body of a refund; the same again is answered as the first."""
    return json.dumps(
        {
            "reference": order.reference,
            "payment": order.original,
            "merchant_code": order.merchant_code,
            "amount": order.amount,
            "currency": order.currency,
        }
    ).encode()


def refund_answer(order: Order, message: Native) -> Answer:
    """What is said of a refund: asked for, or queried. That it isn't known there proves nothing."""
    view = _object(message.raw)
    if message.status == 400 and view.get("error") == "malformed":
        return _answer(Verdict.DECLINED, Reason.FORMAT_ERROR, message.raw, view)
    named = (view.get("reference"), view.get("payment"))
    if message.status not in (200, 201) or named != (order.reference, order.original):
        return _answer(_UNSURE, Reason.OTHER, message.raw, view)
    state, reason = view.get("state"), view.get("reason")
    if state == "refused":
        told = _REFUND_REFUSED.get(reason) if isinstance(reason, str) else None
        return _answer(Verdict.DECLINED, told or Reason.OTHER, message.raw, view)
    if state == "done":
        answer = _answer(Verdict.APPROVED, Reason.APPROVED, message.raw, view)
        return held_against(order, answer)
    if state == "processing":
        answer = _answer(Verdict.ACCEPTED, Reason.ACCEPTED, message.raw, view)
        return held_against(order, answer)
    return _answer(_UNSURE, Reason.OTHER, message.raw, view)


def notice_reference(raw: bytes) -> str:
    """Which payment a notice is about. Raises ValueError for no notice."""
    reference = _object(raw).get("reference")
    if not isinstance(reference, str) or not re.fullmatch("[0-9a-f]{40}", reference):
        raise ValueError("a notice without a reference")
    return reference


def notice_answer(raw: bytes) -> Answer:
    """What a notice says; the duty holds it against the order."""
    return _judge(None, raw, _object(raw))


def _judge(order: Order | None, raw: bytes, view: dict[str, Any]) -> Answer:
    state = view.get("state")
    if order is not None and view.get("reference") != order.reference:
        return _answer(_UNSURE, Reason.OTHER, raw, view)
    if state == "refused":
        reason = view.get("reason")
        told = _REFUSED.get(reason, Reason.OTHER) if isinstance(reason, str) else Reason.OTHER
        return _answer(Verdict.DECLINED, told, raw, view)
    if state == "reversed":
        return _answer(Verdict.REVERSED, Reason.REVERSED, raw, view)
    if state in ("closed", "expired"):
        ended = Reason.EXPIRED if state == "expired" else Reason.OTHER
        return _answer(Verdict.CLOSED, ended, raw, view)
    if state not in ("waiting", "paid"):
        return _answer(_UNSURE, Reason.OTHER, raw, view)
    paid = state == "paid"
    answer = _answer(
        Verdict.APPROVED if paid else Verdict.ACCEPTED,
        Reason.APPROVED if paid else Reason.ACCEPTED,
        raw,
        view,
    )
    return answer if order is None else held_against(order, answer)


def _answer(verdict: Verdict, reason: Reason, raw: bytes, view: dict[str, Any]) -> Answer:
    texts = {name: _tellable(view.get(name), form) for name, form in _TEXTS.items()}
    amount, currency = view.get("amount"), view.get("currency")
    return Answer(
        verdict=verdict,
        reason=reason,
        native=raw,
        amount=amount if type(amount) is int and 0 <= amount <= MAX_AMOUNT else None,
        currency=currency if isinstance(currency, str) and currency in MINOR_DIGITS else None,
        clearing_date=_date(view.get("clearing_date")),
        **texts,
    )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _tellable(value: object, form: str) -> str | None:
    """The text when it is of its form and holds nothing that could be a card number: the ledger
    refuses a report with anything else for good, and nothing it was said in would ever end."""
    if not isinstance(value, str) or not re.fullmatch(form, value, re.ASCII):
        return None
    return None if holds_card_number(value) else value


def _date(value: object) -> str | None:
    try:
        return times.parse_date(value).isoformat() if isinstance(value, str) else None
    except ValueError:
        return None
