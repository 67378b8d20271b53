"""What the forwarder asks of an acquirer, whichever protocol it speaks.

An adapter declares by `capabilities` what its acquirer can do beyond paying; the forwarder uses
only that. What is known after a failure is in the error's type: NotSentError (proved: no byte
left) or NoAnswerError (it may have been charged).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from clearline.statuses import Reason


class Capability(StrEnum):
    """What an acquirer can do beside taking a payment."""

    INQUIRY = "inquiry"
    CLOSE = "close"
    REVERSAL = "reversal"
    REFUND = "refund"
    REFUND_INQUIRY = "refund_inquiry"


class Verdict(StrEnum):
    """What an acquirer's answer says about the money."""

    APPROVED = "approved"
    DECLINED = "declined"
    REVERSED = "reversed"  # nothing is charged, and nothing can be charged any more
    ACCEPTED = "accepted"  # it waits for the payer
    CLOSED = "closed"  # the payer did not pay, and can't any more
    UNSURE = "unsure"  # it answered, but what happened to the money can't be told


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. `amount` in minor units of `currency` (ISO 4217); `reference` is the
    full reference, 40 hex digits, the acquirer's duplicate check; `expires_at` RFC 3339.

    Of a refund `refund_no` is its number (0: it is a payment) and `original` the payment's full
    reference; payer token, category, terminal and product are empty: the acquirer knows them."""

    reference: str
    amount: int
    currency: str
    merchant_code: str
    payer_token: str
    mcc: str
    terminal: str
    product: str
    expires_at: str = ""
    refund_no: int = 0
    original: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the acquirer said: `native` is its message as received; the other fields are as the
    acquirer knows them, None where its answer did not say."""

    verdict: Verdict
    reason: Reason
    native: bytes
    amount: int | None = None
    currency: str | None = None
    merchant_name: str | None = None
    merchant_code: str | None = None
    mcc: str | None = None
    payer_token: str | None = None
    clearing_route: str | None = None
    clearing_date: str | None = None


def held_against(order: Order, answer: Answer) -> Answer:
    """The answer; paid, or to be paid, but not exactly what was asked, is UNSURE."""
    if answer.verdict not in (Verdict.APPROVED, Verdict.ACCEPTED):
        return answer
    asked = (order.amount, order.currency, order.merchant_code)
    same_payer = order.refund_no or order.payer_token == answer.payer_token
    if same_payer and (answer.amount, answer.currency, answer.merchant_code) == asked:
        return answer
    return replace(answer, verdict=Verdict.UNSURE, reason=Reason.INVALID_AMOUNT)


class NotSentError(Exception):
    """Proved: nothing left this machine; the same order may be sent."""


class NoAnswerError(Exception):
    """It may have been sent and carried out; `reason` is timed_out or connection_lost."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Heard:
    """Who is told what the acquirer says unasked: the reference and the answer.

    `late` gets answers nobody waits for any more: evidence, no more. `notice` gets what the
    acquirer states by itself about a payment that waited for its payer; its outcome says whether
    that is on stable storage (acknowledge it) or should be said again later.
    """

    late: Callable[[str, Answer], None]
    notice: Callable[[str, Answer], Awaitable[bool]]


class Adapter(Protocol):
    """One acquirer's protocol. Times are the adapter's settings; all calls from one event loop."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the acquirer can do beside `pay`."""

    async def start(self, heard: Heard) -> None:
        """Begin to connect and sign on, again and again, and to listen. May follow a `stop`."""

    async def stop(self) -> None:
        """Sign off and close."""

    async def ready(self) -> None:
        """Wait until a request could be sent."""

    def new_trace(self) -> str:
        """A name for one sending, stored before it and given again with a reversal."""

    async def pay(self, order: Order, trace: str) -> Answer:
        """Ask for the payment; an asynchronous acquirer answers ACCEPTED. Raises NotSentError,
        NoAnswerError."""

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        """Ask to undo it; `tries` reversals were sent before. `trace` is empty when the sending is
        not known. Raises NotSentError, NoAnswerError."""

    async def inquire(self, order: Order, trace: str) -> Answer:
        """Ask what became of it. Raises NotSentError, NoAnswerError."""

    async def close(self, order: Order, trace: str) -> Answer:
        """Ask that no payer can pay it any more: CLOSED, or what it had become before. Raises
        NotSentError, NoAnswerError."""

    async def refund(self, order: Order, trace: str, tries: int) -> Answer:
        """Ask for a refund: APPROVED, DECLINED, or ACCEPTED where it is done later. After `tries`
        requests that may have been sent before it is a repeat, which the acquirer answers as the
        first, and carries out when there was none. Raises NotSentError, NoAnswerError."""

    async def inquire_refund(self, order: Order, trace: str) -> Answer:
        """Ask what became of a refund. Raises NotSentError, NoAnswerError."""
