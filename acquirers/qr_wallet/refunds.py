"""What the wallet decides about refunds: asked for under a reference of their own, and queried.

The same request again is answered as the refund is now, so that nothing is given back twice; no
more is given back than was charged, and nothing of what was reversed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from acquirers.qr_wallet import sandbox
from acquirers.qr_wallet.book import Book, Refund, RefundState, State
from acquirers.qr_wallet.sandbox import Behaviour, RefundAct, RefundLoss
from acquirers.qr_wallet.settings import WalletSettings
from acquirers.qr_wallet.wallet import ROUTE, Reply, refusal, render

_TEXTS: Final[dict[str, str]] = {
    "reference": "[0-9a-f]{40}",
    "payment": "[0-9a-f]{40}",
    "merchant_code": "[A-Za-z0-9]{1,15}",
    "currency": "[A-Z]{3}",
}


class Refunds:
    """Decides over the book, inside one transaction of it."""

    def __init__(self, book: Book, settings: WalletSettings) -> None:
        self._book = book
        self._settings = settings

    def ask(self, body: Mapping[str, Any], now: datetime) -> Reply:
        """A refund, carried out at once or soon, or refused; 409 for another under its number."""
        if not _well_formed(body):
            return refusal(400, "malformed")
        refund = self._aged(body["reference"], now) or Refund(body["reference"])
        refund = replace(refund, requests_seen=refund.requests_seen + 1)
        entry = self._book.find(body["payment"])
        behaviour = sandbox.behaviour(entry.payer_token) if entry is not None else None
        behaviour = behaviour or Behaviour()
        first = refund.requests_seen == 1
        if first and behaviour.refund_loss is RefundLoss.REQUEST:
            self._book.put_refund(refund)
            return Reply(0, None)
        asked = (body["payment"], body["merchant_code"], body["amount"], body["currency"])
        if refund.state != RefundState.UNHEARD:
            self._book.put_refund(refund)
            same = (refund.payment, refund.merchant_code, refund.amount, refund.currency) == asked
            return Reply(200, view(refund)) if same else refusal(409, "reference_used")
        refund = replace(
            refund,
            payment=body["payment"],
            merchant_code=body["merchant_code"],
            amount=body["amount"],
            currency=body["currency"],
        )
        refund = self._decided(refund, behaviour, now)
        self._book.put_refund(refund)
        self._book.write(now.isoformat(), "refund", refund.reference, refund.state)
        if first and behaviour.refund_loss is RefundLoss.ANSWER:
            return Reply(0, None)
        return Reply(201, view(refund))

    def query(self, reference: str, now: datetime) -> Reply:
        """What became of it."""
        refund = self._aged(reference, now)
        if refund is None or refund.state == RefundState.UNHEARD:
            return refusal(404, "not_found")
        return Reply(200, view(refund))

    def _decided(self, refund: Refund, behaviour: Behaviour, now: datetime) -> Refund:
        reason = self._refuses(refund, behaviour)
        if reason:
            return replace(refund, state=RefundState.REFUSED, reason=reason)
        slow = behaviour.refund is RefundAct.SLOWLY
        due = now + timedelta(seconds=self._settings.slow_seconds if slow else 0.0)
        refund = replace(refund, state=RefundState.PROCESSING, due_at=render(due))
        return refund if slow else self._done(refund, now)

    def _refuses(self, refund: Refund, behaviour: Behaviour) -> str:
        """Why it is refused, empty when it is not."""
        entry = self._book.find(refund.payment)
        if entry is None or entry.state != State.PAID:
            return "not_refundable"
        if entry.merchant_code != refund.merchant_code:
            return "merchant_unknown"
        left = entry.charged_amount - self._book.refunded(entry.reference)
        if entry.currency != refund.currency or refund.amount > left:
            return "amount_refused"
        return "not_permitted" if behaviour.refund is RefundAct.REFUSED else ""

    def _done(self, refund: Refund, now: datetime) -> Refund:
        day = self._book.clearing_date(now)
        return replace(refund, state=RefundState.DONE, clearing_date=day)

    def _aged(self, reference: str, now: datetime) -> Refund | None:
        """The refund; one that was under way long enough is done."""
        refund = self._book.find_refund(reference)
        if refund is None or refund.state != RefundState.PROCESSING or refund.due_at > render(now):
            return refund
        done = self._done(refund, now)
        self._book.put_refund(done)
        return done


def view(refund: Refund) -> dict[str, Any]:
    """What is told of a refund."""
    told: dict[str, Any] = {
        "reference": refund.reference,
        "payment": refund.payment,
        "state": str(refund.state),
        "amount": refund.amount,
        "currency": refund.currency,
        "merchant_code": refund.merchant_code,
        "merchant_name": f"WALLET MERCHANT {refund.merchant_code[-6:]}",
    }
    if refund.reason:
        told["reason"] = refund.reason
    if refund.clearing_date:
        told |= {"clearing_route": ROUTE, "clearing_date": refund.clearing_date}
    return told


def _well_formed(body: Mapping[str, Any]) -> bool:
    if body.keys() != {*_TEXTS, "amount"}:
        return False
    for name, form in _TEXTS.items():
        if not isinstance(body[name], str) or not re.fullmatch(form, body[name], re.ASCII):
            return False
    return type(body["amount"]) is int and 0 < body["amount"] < 10**12
