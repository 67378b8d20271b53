"""Events into the order book: whose they are, what they prove, what they change.

A gateway's signature says only that this gateway sent it. An order becomes paid by the bank's
signature inside, held against what was asked (merchant/verify.py), however the event came: sent to
`listen`, or fetched by `webhook replay`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from clearline import canonical, times, webhooks
from clearline.answers import PaymentAnswer, RefundAnswer
from clearline.canonical import CanonicalError, Json
from clearline.codes import Refusal
from clearline.webhooks import Event
from merchant.attempts import Change, KeptAnswer, News, OrderStatus
from merchant.jobs import STATUS_OF, Mode, start
from merchant.orderbook import OrderBook
from merchant.profile import Profile
from merchant.refundbook import RefundStatus
from merchant.refunding import asked_of, change_of
from merchant.verify import DisputedError, Proven, verify

NOT_HERE: Final = "not_here"


class EventRefusedError(ValueError):
    """Not an event of this merchant's in this network; the message says why."""


class Kind(StrEnum):
    """What became of an event. All but DISPUTED are stored, and never taken again."""

    STORED = "stored"
    KNOWN = "known"  # it, or what it tells, was known before
    NOT_HERE = "not_here"  # about an order that this book does not hold
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event as it came: from which gateway (a URL, or empty) and in which bytes."""

    event_id: str
    event: Event
    body: str
    gateway: str = ""

    @property
    def payment(self) -> PaymentAnswer:
        """What it tells of a payment. Raises TypeError for one that tells of a refund."""
        if not isinstance(self.event.data, PaymentAnswer):
            raise TypeError("the event tells of a refund")
        return self.event.data


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a delivery; `detail` is for people."""

    kind: Kind
    order_no: str
    status: str
    detail: str = ""


def read(event_id: str, body: bytes | Json, profile: Profile, gateway: str = "") -> Delivery:
    """The delivery a body describes. Raises EventRefusedError.

    The id must be the one that network, transaction and payment give: so an event of another
    network, or one under another's id, is none.
    """
    try:
        document: Json = canonical.loads(body) if isinstance(body, bytes) else body
        event = Event.from_json(document)
    except (CanonicalError, ValueError) as error:
        raise EventRefusedError(str(error)) from None
    data = event.data
    if data.merchant_id != profile.merchant_id:
        raise EventRefusedError("the event is about another merchant")
    if (
        type(data.tx_id) is not str
        or type(data.order_no) is not str
        or type(data.attempt) is not int
    ):
        raise EventRefusedError("the event names no transaction or payment")
    if event_id != webhooks.event_id(profile.network, data.tx_id, data.key):
        raise EventRefusedError("the id is not this event's")
    text = body.decode() if isinstance(body, bytes) else canonical.dumps(document).decode()
    return Delivery(event_id, event, text, gateway)


def take(book: OrderBook, profile: Profile, deliveries: Sequence[Delivery]) -> list[Taken]:
    """Put events into the order book; what became of each, in order. On the disk when it returns.

    Raises BookError or sqlite3.Error when the book can't be used; then nothing is taken.
    """
    of_payments = [one for one in deliveries if not one.event.type.of_a_refund]
    payments = iter(_take_payments(book, profile, of_payments))
    return [
        _take_refund(book, profile, one) if one.event.type.of_a_refund else next(payments)
        for one in deliveries
    ]


def _take_payments(
    book: OrderBook, profile: Profile, deliveries: Sequence[Delivery]
) -> list[Taken]:
    known = [book.taken(delivery.event_id) for delivery in deliveries]
    news = [_news(book, profile, delivery) for delivery in deliveries]
    written = book.take(news)
    for delivery, before, item in zip(deliveries, known, news, strict=True):
        said = _exceptions(delivery.payment)
        if said and not before and item.change is not None:
            # The end stays; that money came in after it is for people to see.
            answer = KeptAnswer(times.now(), delivery.gateway, said, delivery.body)
            book.keep(*delivery.payment.key[1:], answer)
    return [
        _taken(delivery, before, item, change)
        for delivery, before, item, change in zip(deliveries, known, news, written, strict=True)
    ]


def _take_refund(book: OrderBook, profile: Profile, delivery: Delivery) -> Taken:
    """One about a refund: written into the book, then noted as taken; a repeat of either half
    changes nothing."""
    answer = delivery.event.data
    if not isinstance(answer, RefundAnswer):
        raise TypeError("the event tells of a payment")
    if book.taken(delivery.event_id):
        return Taken(Kind.KNOWN, answer.order_no, answer.status)
    found = [
        (attempt, booked)
        for booked in book.refunds.of(answer.order_no)
        for attempt in book.attempts(answer.order_no)
        if (booked.attempt, booked.refund_no) == (answer.attempt, answer.refund_no)
        and attempt.attempt == answer.attempt
    ]
    if not found:
        book.take([News(delivery.event_id, None, NOT_HERE)])
        return Taken(Kind.NOT_HERE, answer.order_no, answer.status)
    attempt, booked = found[0]
    try:
        asked = asked_of(profile, book, attempt, booked)
        change = change_of(answer, delivery.gateway, asked, profile.pins)
    except Refusal as error:
        return Taken(Kind.DISPUTED, answer.order_no, answer.status, str(error))
    written = book.refunds.record(booked, change)
    if change.status is RefundStatus.DISPUTED:
        detail = f"{change.code}: {change.detail}"
        return Taken(Kind.DISPUTED, answer.order_no, answer.status, detail)
    book.take([News(delivery.event_id, None, str(written.status))])
    return Taken(Kind.STORED, answer.order_no, f"refund {written.refund_no} {written.status}")


def _news(book: OrderBook, profile: Profile, delivery: Delivery) -> News:
    answer = delivery.payment
    found = [a for a in book.attempts(answer.order_no) if a.attempt == answer.attempt]
    if not found:
        return News(delivery.event_id, None, NOT_HERE)
    compacts = book.intents(answer.order_no, answer.attempt)
    asked = start(found[0], compacts, profile.merchant_id, Mode.ASK).asked
    key = (answer.order_no, answer.attempt)
    try:
        verdict = verify(answer, asked, profile.pins)
    except DisputedError as error:
        change = Change(
            *key, OrderStatus.DISPUTED, delivery.gateway, error.code, error.detail,
            body=delivery.body,
        )  # fmt: skip
        return News(delivery.event_id, change)
    if isinstance(verdict, Proven):
        change = Change(
            *key,
            STATUS_OF[verdict.status],
            delivery.gateway,
            verdict.report.reason.value,
            result=verdict.compact,
            tx_id=verdict.tx_id,
            block_number=verdict.block_number,
            body=delivery.body,
        )
    else:
        # What is under way is proven by nobody; it is noted as the gateway's word.
        change = Change(
            *key,
            STATUS_OF[verdict.status],
            delivery.gateway,
            block_number=answer.block_number,
            body=delivery.body,
        )
    return News(delivery.event_id, change)


def _exceptions(answer: PaymentAnswer) -> str:
    """What a gateway tells of the time after a payment's end: `late_success open`, empty for
    nothing."""
    told = [
        f"{one['kind']} {one['status']}"
        for one in answer.exceptions
        if isinstance(one, dict)
        and one.get("kind") == "late_success"
        and one.get("status") in ("open", "resolved")
    ]
    return ", ".join(told[:4])


def _taken(delivery: Delivery, known: bool, news: News, written: Change | None) -> Taken:
    order_no, said = delivery.payment.order_no, delivery.payment.status
    if known:
        return Taken(Kind.KNOWN, order_no, said)
    if news.change is None:
        return Taken(Kind.NOT_HERE, order_no, said)
    if news.change.status is OrderStatus.DISPUTED:
        return Taken(Kind.DISPUTED, order_no, said, f"{news.change.code}: {news.change.detail}")
    if written is None:
        return Taken(Kind.KNOWN, order_no, said)
    return Taken(Kind.STORED, order_no, str(written.status), written.code)
