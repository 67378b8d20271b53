"""What the acquirer decides about refunds: 0200 with processing code 200000, its repeat 0201.

A reference is carried out once: a second 0200 is a duplicate, a repeat is answered as the first
was, and carried out when there was no first. No more is given back than was charged, and nothing
of what was reversed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from acquirers.unionpay_iso8583 import sandbox
from acquirers.unionpay_iso8583.book import Book, Entry, Refund
from acquirers.unionpay_iso8583.codec import Message
from acquirers.unionpay_iso8583.sandbox import RefundLoss

PROCESSING_CODE: Final = "200000"
REPEAT: Final = "0201"
APPROVED: Final = "00"
_INVALID_MERCHANT, _INVALID_TRANSACTION, _INVALID_AMOUNT = "03", "12", "13"
_DUPLICATE: Final = "94"


class Refunds:
    """Decides over the book, inside its transaction."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def seen(self, request: Message) -> Refund:
        """The refund as this request finds it, counted: `code` is empty while none was decided."""
        refund = self._book.find_refund(request.get("61")) or Refund(request.get("61"))
        if request.mti == REPEAT:
            return replace(refund, repeats_seen=refund.repeats_seen + 1)
        return replace(refund, requests_seen=refund.requests_seen + 1)

    def lost(self, request: Message, refund: Refund) -> RefundLoss:
        """What of this request gets lost: of the first only, by the payer's token."""
        if request.mti == REPEAT or refund.requests_seen > 1:
            return RefundLoss.NONE
        original = self._book.find(request.get("62"))
        if original is None:
            return RefundLoss.NONE
        return sandbox.behaviour(original.payer_token).refund_loss

    def judge(self, request: Message, refund: Refund) -> str:
        """The response code."""
        if refund.code:
            return refund.code if self._same(request, refund) else _DUPLICATE
        original = self._book.find(request.get("62"))
        if original is None or not original.charges or original.reversals:
            return _INVALID_TRANSACTION
        if original.merchant_code != request.get("42").strip():
            return _INVALID_MERCHANT
        if original.currency != request.get("49") or not self._fits(request, original):
            return _INVALID_AMOUNT
        return sandbox.behaviour(original.payer_token).refund_code

    def _fits(self, request: Message, original: Entry) -> bool:
        left = original.amount - self._book.refunded(original.reference)
        return 0 < int(request.get("4")) <= left

    def _same(self, request: Message, refund: Refund) -> bool:
        """Whether this is the repeat of what was decided."""
        asked = (request.get("62"), int(request.get("4")), request.get("49"))
        decided = (refund.original, refund.amount, refund.currency)
        return request.mti == REPEAT and asked == decided
