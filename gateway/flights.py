"""Submissions that are not decided yet, found by intent, by payment and by merchant."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from clearline.fabric.queue_items import QueueItem
from clearline.records import payment_key
from clearline.refunds import RefundKey, refund_key
from gateway.messages import Named, Submission, Submitted

FUNCTION = "SubmitIntents"


@dataclass(eq=False, slots=True)
class Flight:
    """A submission on its way, and whoever waits for its decision."""

    submission: Submission
    item: QueueItem
    decided: asyncio.Future[Submitted]
    remaining: int = -1  # in its merchant's bucket when it was taken; -1 after a restart
    receipt: str = ""
    deadline: str = ""  # the receipt's, until it is met or noted as missed
    receiving: asyncio.Lock = field(default_factory=asyncio.Lock)


class Flights:
    """All of them. Use it from one event loop."""

    def __init__(self) -> None:
        self._by_id: dict[str, Flight] = {}
        self._by_key: dict[Named, list[Flight]] = {}
        self._of_merchant: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._by_id.values())

    @property
    def merchants(self) -> int:
        """How many have any."""
        return len(self._of_merchant)

    def of_merchant(self, merchant_id: str) -> int:
        """How many this one has."""
        return self._of_merchant[merchant_id]

    def of(self, key: Named) -> tuple[Flight, ...]:
        """Those that ask for this payment or refund; they differ in their intents."""
        return tuple(self._by_key.get(key, ()))

    def get(self, item_id: str) -> Flight | None:
        """The one with this very intent."""
        return self._by_id.get(item_id)

    def add(self, submission: Submission, remaining: int = -1) -> Flight:
        """A new one; see Flight."""
        item = QueueItem(
            submission.item_id,
            FUNCTION,
            submission.payload,
            (_ledger_key(submission.key),),
            owner=submission.key.merchant_id,
        )
        decided = asyncio.get_running_loop().create_future()
        flight = Flight(submission, item, decided, remaining)
        self._by_id[item.item_id] = flight
        self._by_key.setdefault(submission.key, []).append(flight)
        self._of_merchant[submission.key.merchant_id] += 1
        return flight

    def remove(self, flight: Flight) -> None:
        """It is decided."""
        key = flight.submission.key
        del self._by_id[flight.item.item_id]
        same_key = self._by_key[key]
        same_key.remove(flight)
        if not same_key:
            del self._by_key[key]
        self._of_merchant[key.merchant_id] -= 1
        if not self._of_merchant[key.merchant_id]:
            del self._of_merchant[key.merchant_id]


def _ledger_key(key: Named) -> str:
    return refund_key(key) if isinstance(key, RefundKey) else payment_key(key)
