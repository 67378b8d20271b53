"""What the order book says about orders and attempts at them: statuses, records, changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from merchant.orders import Order


class BookError(RuntimeError):
    """The order book can't be used; the message says why."""


class OrderStatus(StrEnum):
    """Where an order stands: where its newest attempt stands.

    Only PAID, DECLINED, CLOSED and EXPIRED are final, and each of them was proven by a bank.
    """

    NEW = "new"  # no attempt yet
    SIGNED = "signed"  # stored, perhaps posted, no answer yet
    RECEIVED = "received"
    REQUESTED = "requested"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    PAID = "paid"
    DECLINED = "declined"
    CLOSED = "closed"
    EXPIRED = "expired"
    REFUSED = "refused"  # by every gateway; not on the ledger as they say
    LAPSED = "lapsed"  # the intent expired before any gateway took it
    DISPUTED = "disputed"  # an answer was not believed

    @property
    def final(self) -> bool:
        """Whether the attempt has ended, proven."""
        return self in FINAL


# No gateway has it, as they say: a corrected intent may take the attempt. Were the first one on
# the ledger after all, the ledger refuses the second (`conflict`): it holds one an attempt.
RENEWABLE: Final = frozenset({OrderStatus.LAPSED, OrderStatus.REFUSED})
FINAL: Final = frozenset(
    {OrderStatus.PAID, OrderStatus.DECLINED, OrderStatus.CLOSED, OrderStatus.EXPIRED}
)


class Entry(StrEnum):
    """What became of an order that was put into the book."""

    ADDED = "added"
    SAME = "same"
    UPDATED = "updated"  # the same row under a corrected profile, not on the ledger yet
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as the book knows it; `compact` is its newest signed intent, `close` the signed
    close (empty: the merchant wants it paid)."""

    order_no: str
    attempt: int
    compact: str
    expires_at: str
    status: OrderStatus
    code: str = ""
    detail: str = ""
    gateway: str = ""
    result: str = ""
    tx_id: str = ""
    block_number: int | None = None
    changed_at: str = ""
    close: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """An order and its newest attempt, if there is one."""

    order: Order
    attempt: Attempt | None

    @property
    def status(self) -> OrderStatus:
        """Where the order stands."""
        return self.attempt.status if self.attempt else OrderStatus.NEW


@dataclass(frozen=True, slots=True)
class NewIntent:
    """A freshly signed intent, to be stored before anybody sees it."""

    order_no: str
    attempt: int
    digest: str
    compact: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class Change:
    """What an answer made of an attempt; `body` is the answer, kept as evidence."""

    order_no: str
    attempt: int
    status: OrderStatus
    gateway: str
    code: str = ""
    detail: str = ""
    result: str = ""
    tx_id: str = ""
    block_number: int | None = None
    body: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """What an event made of an attempt: nothing when `change` is None, and `verdict` says why."""

    event_id: str
    change: Change | None
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer that changed something, as it came."""

    at: str
    gateway: str
    verdict: str
    body: str


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """A gateway's signed word that it holds an intent for an attempt, or for the refund of it that
    `refund_no` numbers; `gateway` is its URL."""

    order_no: str
    attempt: int
    gateway: str
    receipt: str
    refund_no: int | None = None
