"""Bringing a signed refund to its proven end: the same bytes, gateway after gateway.

A gateway is a courier: what ends a refund is the acquiring bank's signature (verify_refunds.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from clearline import intents, reports
from clearline.answers import RefundAnswer
from clearline.codes import Code
from clearline.refunds import RefundKey
from merchant.attempts import Attempt
from merchant.client import RefundAnswered, RefundReply, Refused
from merchant.orderbook import OrderBook
from merchant.profile import Pins, Profile
from merchant.refundbook import BookedRefund, RefundChange, RefundStatus
from merchant.rota import Rota
from merchant.verify import DisputedError, Proven
from merchant.verify_refunds import Refunding, verify_refund

_WAIT: Final = 10  # seconds a gateway is asked to wait for the end
_PACE: Final = 1.0  # seconds from post to post while it is under way, should none of them wait


class RefundApi(Protocol):
    """What is needed of the gateways; `gateway` is an index into the profile's list."""

    def post_refund(self, gateway: int, key: RefundKey, compact: str, wait: int) -> RefundReply:
        """POST the signed refund, waiting up to `wait` seconds for its end."""

    def get_refund(self, gateway: int, key: RefundKey, wait: int) -> RefundReply:
        """GET the refund, waiting up to `wait` seconds for its end."""


@dataclass(frozen=True, slots=True)
class Couriers:
    """The gateways: how to reach them, their names, whose turn it is."""

    api: RefundApi
    urls: tuple[str, ...]
    rota: Rota


def asked_of(
    profile: Profile, book: OrderBook, attempt: Attempt, booked: BookedRefund
) -> Refunding:
    """What an answer about a refund is held against. Raises Refusal when its payment has no result
    that could be read."""
    acquirer_id = reports.parse(attempt.result).report.acquirer_id
    payment = intents.parse(attempt.compact).intent
    key = RefundKey(profile.merchant_id, booked.order_no, booked.attempt, booked.refund_no)
    signed = {intent.digest(): intent for intent in book.refunds.intents(booked)}
    return Refunding(key, signed, payment, acquirer_id)


def follow(
    compact: str,
    asked: Refunding,
    couriers: Couriers,
    pins: Pins,
    moved: Callable[[RefundChange], None],
    timeout: float,
    clock: Callable[[], float] = monotonic,
    wait: Callable[[float], object] | None = None,
) -> RefundChange | None:
    """Post a refund until it has ended, every gateway has refused it, or an answer is not
    believed; for `timeout` seconds at most, then None. `moved` is told of each step between."""
    pause = wait or threading.Event().wait
    end = clock() + timeout
    refusals: dict[int, Refused] = {}
    while True:
        turn = couriers.rota.pick(frozenset(refusals))
        now = clock()
        if max(turn.ready_at, now) >= end:
            return None
        if turn.ready_at > now:
            pause(turn.ready_at - now)
        asked_at = clock()
        reply = _ask(compact, asked, couriers, turn.gateway, int(min(_WAIT, end - clock())))
        url = couriers.urls[turn.gateway]
        if isinstance(reply, Refused):
            refusals[turn.gateway] = reply
            if len(refusals) == len(couriers.urls):
                return _refused(url, refusals)
        elif isinstance(reply, RefundAnswered):
            change = change_of(reply.answer, url, asked, pins)
            if change.status.final or change.status is RefundStatus.DISPUTED:
                return change
            refusals.clear()
            moved(change)
            now = clock()
            if (left := min(asked_at + _PACE, end) - now) > 0:
                pause(left)


def _ask(
    compact: str, asked: Refunding, couriers: Couriers, gateway: int, wait: int
) -> RefundReply:
    """What a gateway says to the post; of one that says another intent has this number, what it
    finds there: an intent signed earlier under it may be on the ledger after all."""
    reply = couriers.api.post_refund(gateway, asked.key, compact, wait)
    couriers.rota.report(gateway, reply)
    if isinstance(reply, Refused) and reply.code == Code.CONFLICT:
        found = couriers.api.get_refund(gateway, asked.key, wait)
        couriers.rota.report(gateway, found)
        if isinstance(found, RefundAnswered):
            return found
    return reply


def change_of(answer: RefundAnswer, url: str, asked: Refunding, pins: Pins) -> RefundChange:
    """What an answer about a refund makes of it, and the receipt it brings: whatever else the
    gateway says, that is its signed word."""
    receipt = answer.receipt if isinstance(answer.receipt, str) else ""
    try:
        verdict = verify_refund(answer, asked, pins)
    except DisputedError as error:
        return RefundChange(RefundStatus.DISPUTED, url, error.code, error.detail, receipt=receipt)
    status = RefundStatus(verdict.status.value)
    if isinstance(verdict, Proven):
        reason = verdict.report.reason.value
        return RefundChange(
            status, url, reason, "", verdict.compact, verdict.tx_id, verdict.block_number, receipt
        )
    return RefundChange(status, url, block_number=answer.block_number, receipt=receipt)


def _refused(url: str, refusals: dict[int, Refused]) -> RefundChange:
    """All have refused: that it expired, or the first other reason."""
    first = next(iter(refusals.values()))
    for reply in refusals.values():
        if reply.code != Code.EXPIRED:
            return RefundChange(RefundStatus.REFUSED, url, reply.code, reply.detail)
    return RefundChange(RefundStatus.LAPSED, url, first.code, first.detail)
