"""Proof of omission: a gateway gave a signed receipt, its deadline has passed, and the ledger does
not know the payment.

A receipt promises that by its deadline the intent is on the ledger, or that this gateway says why
not. So an omission is shown by the receipt (verified with a pinned key), by the gateway itself (it
gives no refusal), and by another gateway that has seen the ledger at a block not before the
deadline. Pure but for the questions it asks of the gateways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from clearline.answers import Receipt, parse_receipt
from clearline.codes import Refusal
from clearline.intents import PaymentKey
from clearline.jws import JwsError, PublicKey


class Verdict(StrEnum):
    """What became of a receipt."""

    KEPT = "kept"  # the payment is on the ledger
    REFUSED = "refused"  # the gateway says why it is not
    OPEN = "open"  # the deadline has not come
    OMITTED = "omitted"  # proven: neither
    UNPROVEN = "unproven"  # neither, as far as could be asked; the detail says what is missing
    FORGED = "forged"  # the receipt is not one of this payment by a gateway that is known


@dataclass(frozen=True, slots=True)
class Held:
    """A receipt in the order book: what it came with. `closes`: digest of the payment's close."""

    key: PaymentKey
    gateway: int | None  # index in the profile of who gave it; None when it is there no more
    receipt: str
    digests: frozenset[str]  # of the intents this merchant signed for the payment
    closes: str = ""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a gateway shows of a payment: on the ledger or not, as of which block, and whether a
    close stands on it or came too late; `refusal` is its word on a receipt. Not `known`: it could
    not be asked, `detail` says why."""

    known: bool
    on_ledger: bool = False
    block: int | None = None
    refusal: str = ""
    detail: str = ""
    closed: bool = False

    def shows(self, digest: str, held: Held) -> bool:
        """Whether what the receipt promised is to be seen."""
        return self.closed if digest == held.closes else self.on_ledger


class Looking(Protocol):
    """Asks gateways; `gateway` is an index into the profile's list."""

    def look(self, gateway: int, key: PaymentKey, min_block: int | None) -> Sight:
        """The payment as this gateway sees it, at `min_block` or later when that is given."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A receipt and what became of it. `witness` is the gateway that does not find the payment on
    the ledger, `block` the one it had seen."""

    held: Held
    verdict: Verdict
    detail: str
    claim: Receipt | None = None
    witness: int | None = None
    block: int | None = None


Keys = Mapping[str, Mapping[str, PublicKey]]
_PIN: Final = "pin the key of {0} in gateway_keys of merchant.json (its bank hands it over)"


def examine(held: Held, keys: Keys, gateways: int, now: str, looking: Looking) -> Finding:
    """What became of one receipt. `keys`: pinned, by gateway name and key id; `now`: RFC 3339."""
    # 1. It is a receipt for this payment, for an intent this merchant signed.
    try:
        claim, token = parse_receipt(held.receipt)
    except Refusal as error:
        return Finding(held, Verdict.FORGED, error.detail)
    if PaymentKey(claim.merchant_id, claim.order_no, claim.attempt) != held.key:
        return Finding(held, Verdict.FORGED, "the receipt is for another payment", claim)
    if claim.intent_digest not in held.digests | {held.closes}:
        return Finding(held, Verdict.FORGED, "the receipt is for an intent never signed", claim)
    # 2. The gateway it names signed it, with a key that was handed over outside this network.
    pinned = keys.get(claim.gateway)
    signed = False
    if pinned is not None:
        key = pinned.get(token.key_id)
        if key is None:
            return Finding(held, Verdict.FORGED, f"not signed by {claim.gateway}'s key", claim)
        try:
            key.verify(token)
        except JwsError as error:
            return Finding(held, Verdict.FORGED, str(error), claim)
        signed = True
    # 3. Its deadline has passed. Times have one spelling, so texts compare as times.
    if now <= claim.deadline:
        return Finding(held, Verdict.OPEN, f"by {claim.deadline}", claim)
    return _ask(held, claim, signed, range(gateways), looking)


def _ask(
    held: Held, claim: Receipt, signed: bool, gateways: Sequence[int], looking: Looking
) -> Finding:
    # 4. The ledger does not know the payment, and the gateway says nothing of a refusal.
    sights = {gateway: looking.look(gateway, held.key, None) for gateway in gateways}
    for gateway, sight in sights.items():
        if sight.shows(claim.intent_digest, held):
            return Finding(held, Verdict.KEPT, "on the ledger", claim, gateway, sight.block)
    own = sights.get(held.gateway) if held.gateway is not None else None
    if own is not None and own.refusal:
        return Finding(held, Verdict.REFUSED, own.refusal, claim)
    # 5. Another gateway says so of a ledger no older than any other has seen just now. What the
    # one in question claims to have seen doesn't count: it could name a block nobody reaches.
    others = {name: seen for name, seen in sights.items() if name != held.gateway and seen.known}
    newest = max((seen.block for seen in others.values() if seen.block is not None), default=-1)
    for gateway in others:
        again = looking.look(gateway, held.key, newest)
        if again.shows(claim.intent_digest, held):
            return Finding(held, Verdict.KEPT, "on the ledger", claim, gateway, again.block)
        if not again.known or again.block is None or again.block < newest:
            continue
        if not signed:
            detail = f"not on the ledger at block {again.block}; {_PIN.format(claim.gateway)}"
            return Finding(held, Verdict.UNPROVEN, detail, claim, gateway, again.block)
        detail = f"promised by {claim.deadline}, not on the ledger at block {again.block}"
        return Finding(held, Verdict.OMITTED, detail, claim, gateway, again.block)
    reasons = "; ".join(
        f"gateway {gateway}: {sight.detail}" for gateway, sight in sights.items() if sight.detail
    )
    detail = f"no other gateway could be asked; {reasons}" if reasons else "no other gateway"
    return Finding(held, Verdict.UNPROVEN, detail, claim)
