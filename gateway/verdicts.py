"""What the commit queue's results mean to whoever posted an intent."""

from __future__ import annotations

from typing import Final

from clearline.cards import redact
from clearline.codes import Code, Outcome
from clearline.fabric.queue_items import ItemRefused, ItemResult
from clearline.logs import get_logger
from gateway.messages import Named, State, Submitted

_CARD_DATA: Final = f"chaincode response 400, {Code.CARD_DATA_REFUSED}:"
_log = get_logger("clearline.gateway.committer")


def meaning(result: ItemResult) -> Submitted:
    """What the contract's outcome says about a submission."""
    try:
        outcome = Outcome.from_json(result.outcome)
    except (KeyError, ValueError, TypeError) as error:
        _log.error("not an outcome", extra={"item_id": result.item_id, "reason": f"{error!r}"})
        return Submitted(State.REFUSED, Code.LEDGER_UNAVAILABLE, "the contract's answer is odd")
    if outcome.code is Code.OK:
        return Submitted(State.COMMITTED)
    if outcome.code is Code.DUPLICATE:
        return Submitted(State.DUPLICATE)
    return Submitted(State.REFUSED, outcome.code, redact(outcome.detail))


def refused_by_network(key: Named, error: ItemRefused) -> Submitted:
    """What is said of an intent that the queue gives up for good."""
    # The reason goes to the log only: a chaincode's own words may hold anything.
    _log.error(
        "the queue refused an intent",
        extra={"payment": str(key), "reason": error.reason},
    )
    if _CARD_DATA in error.reason:  # the one code by which the contract refuses a whole call
        code = Code.CARD_DATA_REFUSED
        return Submitted(State.REFUSED, code, "a field looks like a card number")
    detail = "the ledger refuses this intent for a reason the contract has no code for"
    return Submitted(State.REFUSED, Code.LEDGER_UNAVAILABLE, detail)


def overloaded(detail: str) -> Submitted:
    """What is said while too many wait."""
    return Submitted(State.REFUSED, Code.OVERLOADED, detail, retry_after=1)
