"""Which of the acquirers an intent names it goes to: the first that can take it."""

from __future__ import annotations

from collections.abc import Callable

from clearline.codes import Code, Refusal
from clearline.intents import PayIntent, Route
from clearline.records import Acquirer, Merchant

Lookup = Callable[[str], Acquirer | None]


def choose(intent: PayIntent, merchant: Merchant, acquirers: Lookup, today: str) -> Route:
    """The first route, in the merchant's order, that the contract would take.

    `today` is a date in UTC, for licences. Raises the first route's Refusal when none will do: the
    merchant put it first, so its fault is the one to mend.
    """
    first: Refusal | None = None
    for route in intent.acquirers:
        refusal = _refusal(route, intent, merchant, acquirers, today)
        if refusal is None:
            return route
        first = first or refusal
    raise first or Refusal(Code.ACQUIRER_NOT_ACCEPTABLE, "the intent names no acquirer")


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
