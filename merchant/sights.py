"""What a gateway shows of a payment that a receipt is held against: its answer, taken apart.

A gateway is believed nothing that it can't be held to: the form is checked here, what follows from
it is merchant/omissions.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from clearline import times
from clearline.canonical import MAX_INTEGER, Json
from clearline.intents import PaymentKey

_MOST: Final = 1_000  # refusals of one gateway for one attempt


@dataclass(frozen=True, slots=True)
class Origin:
    """How a payment came onto the ledger: by which intent, when as its transaction says (RFC 3339),
    by the owner of which key (its id, empty when not known); its newest block, and whether a close
    stands on it or came too late."""

    intent_digest: str
    requested_at: str
    submitter: str
    block_number: int
    closing: bool


@dataclass(frozen=True, slots=True)
class Sight:
    """What a gateway shows of a payment at the newest block it had seen: where it comes from (None:
    not on the ledger), and the gateway's signed refusals (JWS, not yet verified). Not `known`: it
    could not be asked, `detail` says why."""

    known: bool
    payment: Origin | None = None
    block: int | None = None
    refusals: tuple[str, ...] = ()
    detail: str = ""


class Looking(Protocol):
    """Asks gateways; `gateway` is an index into the profile's list."""

    def look(self, gateway: int, key: PaymentKey, min_block: int | None) -> Sight:
        """The payment as this gateway sees it, at `min_block` or later when that is given."""


def sight_of(document: Json) -> Sight:
    """An answer of GET /v1/payments/{order_no}/receipts; one of another form shows nothing."""
    try:
        block, refusals, payment = (
            document[name] for name in ("last_block", "refusals", "payment")
        )
        _require(_is_block(block) and isinstance(refusals, list) and len(refusals) <= _MOST)
        origin = None if payment is None else _origin(payment)
        return Sight(True, origin, block, tuple(one for one in refusals if isinstance(one, str)))
    except (KeyError, TypeError, ValueError):
        return Sight(False, detail="an answer of another form than it is documented to be")


def _origin(document: Json) -> Origin:
    """Raises KeyError, TypeError or ValueError for what is none."""
    origin = Origin(**{name: document[name] for name in Origin.__dataclass_fields__})
    times.parse(origin.requested_at)
    _require(isinstance(origin.intent_digest, str) and isinstance(origin.submitter, str))
    _require(_is_block(origin.block_number) and isinstance(origin.closing, bool))
    return origin


def _is_block(value: Json) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("of another form")
