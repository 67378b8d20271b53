"""Bringing a signed close to the ledger: the same bytes, gateway after gateway, until one has it.

A close is a wish. What became of the payment is told by the bank's result and by nothing here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Final

from clearline.codes import Code
from merchant.client import Answered, Refused, Reply
from merchant.workers import Gateways


class Standing(StrEnum):
    """What the gateways say of a close."""

    STANDS = "stands"  # it is on the ledger, on the payment
    RECEIVED = "received"  # one holds it, and gave its receipt
    ENDED = "ended"  # the payment had ended before
    UNKNOWN = "unknown"  # no gateway knows the payment
    REFUSED = "refused"  # every gateway refuses it
    UNHEARD = "unheard"  # no gateway could say, in time


@dataclass(frozen=True, slots=True)
class Said:
    """The last word on a close: by which gateway (a URL), with which code and detail; `receipt`:
    the answer that carries one, as it came."""

    standing: Standing
    gateway: str = ""
    code: str = ""
    detail: str = ""
    receipt: str = ""


_NOWHERE: Final = Said(Standing.UNHEARD, code="pending", detail="no gateway answered in time")


def post_close(
    compact: str,
    gateways: Gateways,
    timeout: float,
    clock: Callable[[], float] = monotonic,
    wait: Callable[[float], object] | None = None,
) -> Said:
    """Post a close until a gateway says that it stands, that it came too late, or every gateway
    has refused it; for `timeout` seconds at most."""
    pause = wait or threading.Event().wait
    end = clock() + timeout
    refusals: dict[int, Refused] = {}
    last = _NOWHERE
    while True:
        turn = gateways.rota.pick(frozenset(refusals))
        now = clock()
        if max(turn.ready_at, now) >= end:
            return last
        if turn.ready_at > now:
            pause(turn.ready_at - now)
        reply = gateways.api.post(turn.gateway, compact, 0)
        gateways.rota.report(turn.gateway, reply)
        url = gateways.urls[turn.gateway]
        said = _meaning(url, reply)
        if isinstance(reply, Refused) and said.standing is not Standing.ENDED:
            refusals[turn.gateway] = reply
            if len(refusals) == len(gateways.urls):
                return _refused(url, refusals)
        elif said.standing is not Standing.UNHEARD:
            return said
        last = said


def _meaning(url: str, reply: Reply) -> Said:
    if isinstance(reply, Answered):
        if reply.answer.close is not None:
            return Said(Standing.STANDS, url)
        if reply.answer.receipt is not None:
            return Said(Standing.RECEIVED, url, receipt=reply.body)
        return Said(Standing.UNHEARD, url, "odd", "taken, and no close on the payment it shows")
    if isinstance(reply, Refused):
        standing = Standing.ENDED if reply.code == Code.ALREADY_FINAL else Standing.REFUSED
        return Said(standing, url, reply.code, reply.detail)
    reason = getattr(reply, "reason", "") or getattr(reply, "code", "")
    return Said(Standing.UNHEARD, url, "pending", reason)


def _refused(url: str, refusals: dict[int, Refused]) -> Said:
    """All have refused: that none knows the payment, or the first other reason."""
    for reply in refusals.values():
        if reply.code != Code.PAYMENT_UNKNOWN:
            return Said(Standing.REFUSED, url, reply.code, reply.detail)
    detail = "no gateway finds the payment on the ledger"
    return Said(Standing.UNKNOWN, url, Code.PAYMENT_UNKNOWN, detail)
