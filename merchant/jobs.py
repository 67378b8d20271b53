"""One attempt on its way within one run: what to ask next, and what a reply makes of it.

Pure. The rules: as long as no gateway is known to hold the attempt, post the stored intent, to
the next gateway; when one holds it, ask that one; whenever in doubt, post the same bytes again,
which is always safe. Refused is only what every gateway refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from clearline import intents
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.statuses import Status
from merchant.attempts import Attempt, BookError, Change, OrderStatus
from merchant.client import Answered, Busy, Refused, Reply
from merchant.profile import Pins
from merchant.verify import Asked, DisputedError, Proven, verify

FIRST_DELAY: Final = 0.1  # seconds; doubled with each fruitless exchange in a row
LONGEST_DELAY: Final = 3.0
_ABSENT: Final = frozenset({Code.NOT_FOUND, Code.PAYMENT_UNKNOWN})
STATUS_OF: Final[dict[Status, OrderStatus]] = {
    Status.RECEIVED: OrderStatus.RECEIVED,
    Status.REQUESTED: OrderStatus.REQUESTED,
    Status.ACCEPTED: OrderStatus.ACCEPTED,
    Status.UNKNOWN: OrderStatus.UNKNOWN,
    Status.SUCCEEDED: OrderStatus.PAID,
    Status.DECLINED: OrderStatus.DECLINED,
    Status.CLOSED: OrderStatus.CLOSED,
    Status.EXPIRED: OrderStatus.EXPIRED,
}


class Mode(StrEnum):
    """What a run may do about an attempt."""

    PAY = "pay"
    ASK = "ask"
    CLOSE = "close"  # as ASK, and says when it has lapsed


class Call(StrEnum):
    """The next exchange."""

    POST = "post"
    GET = "get"


@dataclass(frozen=True, slots=True)
class Job:
    """An attempt in a run. `holder` is the gateway that says it has it; `refusals`, `absent` and
    `doubted` say which gateways refused it, do not know it, or gave a disputed answer."""

    asked: Asked
    compact: str
    expires_at: str
    status: OrderStatus
    mode: Mode
    holder: int | None = None
    refusals: dict[int, Refused] = field(default_factory=dict)
    absent: frozenset[int] = frozenset()
    doubted: frozenset[int] = frozenset()
    fruitless: int = 0
    last: str = ""

    @property
    def key(self) -> PaymentKey:
        """The payment."""
        return self.asked.key

    @property
    def delay(self) -> float:
        """Seconds until the next exchange makes sense."""
        if not self.fruitless:
            return 0.0
        return float(min(FIRST_DELAY * 2 ** min(self.fruitless - 1, 10), LONGEST_DELAY))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended in this run: what to write, unless `change` is None (nothing is new)."""

    job: Job
    status: OrderStatus
    code: str
    detail: str
    change: Change | None


def start(attempt: Attempt, compacts: list[str], merchant_id: str, mode: Mode) -> Job:
    """The job of a stored attempt. `compacts` is every intent signed for it.

    Raises BookError when the book holds an intent that is none.
    """
    try:
        signed = [intents.parse(compact).intent for compact in compacts]
    except Refusal as error:
        raise BookError(f"the order book's intent of {attempt.order_no}: {error}") from None
    key = PaymentKey(merchant_id, attempt.order_no, attempt.attempt)
    asked = Asked(key, {intent.digest(): intent for intent in signed})
    return Job(asked, attempt.compact, attempt.expires_at, attempt.status, mode)


def next_call(job: Job, now: str) -> Call:
    """Post while nobody is known to hold it; an expired intent is asked for, never posted."""
    if job.mode is Mode.PAY and job.holder is None and now < job.expires_at:
        return Call.POST
    return Call.GET


def avoided(job: Job, call: Call) -> frozenset[int]:
    """The gateways that have nothing new to say about the job."""
    return frozenset(job.refusals) if call is Call.POST else job.absent | job.doubted


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply: to which call, by which of how many gateways (`url` names it), and when."""

    call: Call
    gateway: int
    gateways: int
    url: str
    reply: Reply
    now: str


def absorb(job: Job, heard: Heard, pins: Pins) -> Job | Ending:
    """What a reply makes of a job."""
    reply = heard.reply
    if isinstance(reply, Answered):
        return _answered(job, heard, reply, pins)
    if isinstance(reply, Refused):
        return _refused(job, heard, reply)
    if isinstance(reply, Busy):
        # It may still hold the payment: keep asking it, after the pause it wants.
        return replace(job, last=f"{heard.url}: {reply.code}")
    # Unreachable or broken: another gateway gets the same bytes.
    return replace(job, holder=None, last=f"{heard.url}: {reply.reason}")


def _answered(job: Job, heard: Heard, reply: Answered, pins: Pins) -> Job | Ending:
    try:
        verdict = verify(reply.answer, job.asked, pins)
    except DisputedError as error:
        return _disputed(job, heard, error, reply.body)
    if isinstance(verdict, Proven):
        return _ended(job, heard.url, verdict, reply.body)
    return replace(
        job,
        holder=heard.gateway,
        status=job.status if job.status is OrderStatus.DISPUTED else STATUS_OF[verdict.status],
        fruitless=job.fruitless + 1 if heard.call is Call.GET else 0,
        last="",
    )


def _ended(job: Job, url: str, proven: Proven, body: str) -> Ending:
    status = STATUS_OF[proven.status]
    change = Change(
        job.key.order_no,
        job.key.attempt,
        status,
        url,
        proven.report.reason.value,
        result=proven.compact,
        tx_id=proven.tx_id,
        block_number=proven.block_number,
        body=body,
    )
    return Ending(job, status, proven.report.reason.value, "", change)


def _disputed(job: Job, heard: Heard, error: DisputedError, body: str) -> Job | Ending:
    if job.status is OrderStatus.DISPUTED:
        # It is disputed already: perhaps another gateway tells what can be proven.
        doubting = replace(job, doubted=job.doubted | {heard.gateway}, holder=None)
        if len(doubting.doubted | doubting.absent) < heard.gateways:
            return doubting
    change = Change(
        job.key.order_no,
        job.key.attempt,
        OrderStatus.DISPUTED,
        heard.url,
        error.code,
        error.detail,
        body=body,
    )
    return Ending(job, OrderStatus.DISPUTED, error.code, error.detail, change)


def _refused(job: Job, heard: Heard, reply: Refused) -> Job | Ending:
    said = f"{heard.url}: {reply.code} {reply.detail}".strip()
    if heard.call is Call.POST:
        refusals = job.refusals | {heard.gateway: reply}
        refused = replace(job, refusals=refusals, last=said)
        if reply.code == Code.CONFLICT and heard.gateway not in job.absent:
            # Something else stands under this name: look what it is before anything is said.
            return replace(refused, holder=heard.gateway)
        if len(refusals) < heard.gateways:
            return refused
        lapsed = all(refusal.code == Code.EXPIRED for refusal in refusals.values())
        status = OrderStatus.LAPSED if lapsed else OrderStatus.REFUSED
        return _given_up(refused, heard.url, status, reply.code, reply.detail)
    unknown = reply.http_status == 404 or reply.code in _ABSENT
    asking = replace(
        job,
        holder=None,
        fruitless=job.fruitless + 1,
        last=said,
        absent=job.absent | {heard.gateway} if unknown else job.absent,
        doubted=job.doubted if unknown else job.doubted | {heard.gateway},
    )
    if next_call(asking, heard.now) is Call.POST and len(asking.refusals) < heard.gateways:
        return asking
    if len(asking.absent | asking.doubted) < heard.gateways:
        return asking
    if asking.refusals:
        first = next(iter(asking.refusals.values()))
        return _given_up(asking, heard.url, OrderStatus.REFUSED, first.code, first.detail)
    expired = heard.now >= job.expires_at and job.mode is not Mode.ASK
    if expired and not asking.doubted and job.status is not OrderStatus.DISPUTED:
        return _given_up(
            asking, heard.url, OrderStatus.LAPSED, Code.EXPIRED, "expired, and no gateway knows it"
        )
    return Ending(asking, job.status, reply.code, said, None)


def _given_up(job: Job, url: str, status: OrderStatus, code: str, detail: str) -> Ending:
    change = Change(job.key.order_no, job.key.attempt, status, url, code, detail)
    return Ending(job, status, code, detail, change)


def out_of_time(job: Job) -> Ending:
    """The job when its run gives it no more time: nothing is settled by that."""
    return Ending(job, job.status, "pending", job.last or "no final answer in time", None)
