"""Which of the acquirers an intent names it goes to: the first that the contract would take, of
those the ones that can take payments now before the doubtful."""

from __future__ import annotations

from collections.abc import Callable

from clearline.codes import Code, Refusal
from clearline.intents import PayIntent, Route
from clearline.records import Acquirer, Merchant
from gateway.availability import Availability, Judgement

Lookup = Callable[[str], Acquirer | None]
Judge = Callable[[str], Judgement]


class Unavailable(Refusal):
    """None of the acquirers takes payments now; the one that is asked for soonest again says why,
    and in how many seconds."""

    def __init__(self, acquirer_id: str, judgement: Judgement) -> None:
        super().__init__(Code.ACQUIRER_UNAVAILABLE, f"{acquirer_id}: {judgement.reason}")
        self.retry_after = judgement.retry_after


def choose(
    intent: PayIntent, merchant: Merchant, acquirers: Lookup, judge: Judge, today: str
) -> Route:
    """The best available route that the contract would take; of equals, the merchant's order.

    `today` is a date in UTC, for licences. Raises the first route's Refusal when the contract
    would take none: the merchant put it first, so its fault is the one to mend. Raises Unavailable
    when none of those it would take can be reached.
    """
    first: Refusal | None = None
    possible: list[tuple[Judgement, Route]] = []
    for route in intent.acquirers:
        refusal = _refusal(route, intent, merchant, acquirers, today)
        if refusal is None:
            judgement = judge(route.acquirer_id)
            if judgement.availability is Availability.AVAILABLE:
                return route
            possible.append((judgement, route))
        first = first or refusal
    if not possible:
        raise first or Refusal(Code.ACQUIRER_NOT_ACCEPTABLE, "the intent names no acquirer")
    judgement, route = min(possible, key=lambda pair: (pair[0].availability, pair[0].retry_after))
    if judgement.availability is Availability.UNAVAILABLE:
        raise Unavailable(route.acquirer_id, judgement)
    return route


def _refusal(
    route: Route, intent: PayIntent, merchant: Merchant, acquirers: Lookup, today: str
) -> Refusal | None:
    name = route.acquirer_id
    acquirer = acquirers(name)
    if acquirer is None:
        return Refusal(Code.ACQUIRER_UNKNOWN, f"{name} is not registered")
    if acquirer.status != "active":
        return Refusal(Code.ACQUIRER_INACTIVE, f"{name} is {acquirer.status}")
    if today > acquirer.licence_valid_until:
        return Refusal(Code.ACQUIRER_INACTIVE, f"the licence of {name} has ended")
    if route.merchant_code not in merchant.codes.get(name, []):
        return Refusal(
            Code.MERCHANT_CODE_MISMATCH, f"the merchant does not own this code at {name}"
        )
    if intent.currency not in acquirer.currencies:
        return Refusal(Code.CURRENCY_NOT_ACCEPTED, f"{name} takes no {intent.currency}")
    return None
