"""What a gateway shows of a payment or refund that a receipt is held against: its answer, taken
apart.

A gateway is believed nothing that it can't be held to: the form is checked here, what follows from
it is merchant/omissions.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from clearline import times
from clearline.canonical import MAX_INTEGER, Json
from clearline.intents import PaymentKey
from clearline.refunds import RefundKey

Named = PaymentKey | RefundKey  # what a receipt promises to bring onto the ledger, or to close
_MOST: Final = 1_000  # refusals of one gateway for one attempt


@dataclass(frozen=True, slots=True)
class Origin:
    """How a payment or refund came onto the ledger: by which intent, when as its transaction says
    (RFC 3339), by the owner of which key (its id, empty when not known); its newest block, and
    whether a close stands on it or came too late, never of a refund."""

    intent_digest: str
    requested_at: str
    submitter: str
    block_number: int
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What a gateway shows of a payment or refund at the newest block it had seen: where it comes
    from (None: not on the ledger), and the gateway's signed refusals (JWS, not yet verified). Not
    `known`: it could not be asked, `detail` says why."""

    known: bool
    origin: Origin | None = None
    block: int | None = None
    refusals: tuple[str, ...] = ()
    detail: str = ""


class Looking(Protocol):
    """Asks gateways; `gateway` is an index into the profile's list."""

    def look(self, gateway: int, key: Named, min_block: int | None) -> Sight:
        """What `key` names as this gateway sees it, at `min_block` or later when that is given."""


def payment_of(key: Named) -> PaymentKey:
    """The payment itself, or the one that is refunded."""
    return key.payment if isinstance(key, RefundKey) else key


def sight_of(document: Json, key: Named) -> Sight:
    """An answer of GET /v1/payments/{order_no}/receipts about what `key` names; one of another form
    shows nothing."""
    member = "refund" if isinstance(key, RefundKey) else "payment"
    try:
        block, refusals, found = (document[name] for name in ("last_block", "refusals", member))
        _require(_is_block(block) and isinstance(refusals, list) and len(refusals) <= _MOST)
        origin = None if found is None else _origin(found, key)
        return Sight(True, origin, block, tuple(one for one in refusals if isinstance(one, str)))
    except (KeyError, TypeError, ValueError):
        return Sight(False, detail="an answer of another form than it is documented to be")


def _origin(document: Json, key: Named) -> Origin:
    """Raises KeyError, TypeError or ValueError for what is none."""
    names = set(Origin.__dataclass_fields__)
    if isinstance(key, RefundKey):
        names.remove("closing")
    origin = Origin(**{name: document[name] for name in names})
    times.parse(origin.requested_at)
    _require(isinstance(origin.intent_digest, str) and isinstance(origin.submitter, str))
    _require(_is_block(origin.block_number) and isinstance(origin.closing, bool))
    return origin


def _is_block(value: Json) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError("of another form")
