"""What became of receipts: a gateway gave its signed word, its deadline has passed, and now.

A receipt promises that by its deadline the intent is on the ledger, or that this gateway says why
not. What clears it is the ledger, as another gateway shows it, or a refusal that the gateway signed
with the key of its receipts. Nothing else that the one in question says counts for it. An omission
that was found once stays found: a later commit makes it late. Pure but for the questions it asks.

What is proven by whom is a table in docs/merchant.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from clearline import times
from clearline.answers import Receipt, parse_receipt
from clearline.codes import Refusal
from clearline.intents import PaymentKey
from clearline.jws import JwsError, PublicKey, Unverified
from clearline.refusals import KEPT_DAYS, ReceiptRefusal, parse_refusal
from merchant.sights import Looking, Named, Origin, Sight, payment_of


class Verdict(StrEnum):
    """What became of a receipt."""

    KEPT = "kept"  # the payment, close or refund is on the ledger
    REFUSED = "refused"  # the gateway signed in time why it is not
    OPEN = "open"  # the deadline has not come
    LATE = "late"  # proven: the one or the other came after the deadline
    OMITTED = "omitted"  # proven: neither
    UNPROVEN = "unproven"  # neither, as far as could be asked; the detail says what is missing
    FORGED = "forged"  # the receipt is not one of this payment by a gateway that is known


@dataclass(frozen=True, slots=True)
class Omission:
    """Neither ledger nor refusal, found at `found_at` (RFC 3339, this machine's clock), after the
    deadline: the gateway `witness` (a URL) did not find what was promised at `block`. `answered`:
    the gateway in question was asked as well, and answered without a refusal."""

    found_at: str
    witness: str
    block: int
    answered: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a receipt before: signed refusals (JWS), an omission."""

    refusals: tuple[str, ...] = ()
    omission: Omission | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A receipt in the order book: what it came with, what was found of it before. `closes`: digest
    of the payment's close; empty with a refund, which takes none."""

    key: Named
    gateway: int | None  # index in the profile of who gave it; None when it is there no more
    receipt: str
    digests: frozenset[str]  # of the intents this merchant signed for the payment, or the refund
    closes: str = ""
    before: Found = Found()


@dataclass(frozen=True, slots=True)
class Known:
    """Who may be asked, and what is known beforehand: the gateways' URLs in the profile's order,
    the keys pinned by gateway name and key id, the time (RFC 3339)."""

    urls: tuple[str, ...]
    keys: Mapping[str, Mapping[str, PublicKey]]
    now: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A receipt and what became of it. `witness` (a URL) is the gateway that shows it, `block` the
    one it had seen; `refusal` the signed one that decided, `omission` the one that was found, now
    or before, and `origin` where what is on the ledger comes from."""

    held: Held
    verdict: Verdict
    detail: str
    claim: Receipt | None = None
    witness: str | None = None
    block: int | None = None
    refusal: str = ""
    omission: Omission | None = None
    origin: Origin | None = None


# Seconds a transaction's time may be off the clocks of those who endorse it.
CLOCK_WINDOW: Final = 300
_PIN: Final = "pin the key of {0} in gateway_keys of merchant.json (its bank hands it over)"


@dataclass(frozen=True, slots=True)
class _Case:
    """A receipt that is one of this payment or refund; `keys` are those pinned for its gateway."""

    held: Held
    claim: Receipt
    keys: Mapping[str, PublicKey] | None

    @property
    def closes(self) -> bool:
        return self.claim.intent_digest == self.held.closes

    def shown(self, sight: Sight) -> Origin | None:
        """What is there in this view, when it is what the receipt promised."""
        origin = sight.origin
        if origin is None or not sight.known:
            return None
        there = origin.closing if self.closes else origin.intent_digest == self.claim.intent_digest
        return origin if there else None

    def late(self, origin: Origin) -> bool:
        """Whether it came after the deadline by its transaction's own time. That is its
        submitter's claim: the gateway's own word against itself, and anybody else's only beyond
        what endorsers let pass. A close's time is not in the payment's record."""
        if self.closes:
            return False
        slack = 0 if self.own(origin) else CLOCK_WINDOW
        return origin.requested_at > times.after(self.claim.deadline, slack)

    def own(self, origin: Origin) -> bool:
        """Whether the gateway's own key put it on the ledger."""
        return self.keys is not None and origin.submitter in self.keys


@dataclass(frozen=True, slots=True)
class _Facts:
    """What was found out. `witness` (an index) has seen `sight`, with or without what was promised:
    None when no other gateway could say, and `reason` tells why. `answered`: the gateway in
    question answered; `refusal` is its earliest signed one that is about this receipt, with its
    text."""

    witness: int | None
    sight: Sight | None
    answered: bool
    refusal: tuple[ReceiptRefusal, str] | None
    reason: str = ""


def examine(held: Held, known: Known, looking: Looking) -> Finding:
    """What became of one receipt."""
    # 1. It is a receipt for this payment, for an intent this merchant signed: of a refund, one that
    # it signed under this number, for a receipt names none.
    try:
        claim, token = parse_receipt(held.receipt)
    except Refusal as error:
        return Finding(held, Verdict.FORGED, error.detail)
    if PaymentKey(claim.merchant_id, claim.order_no, claim.attempt) != payment_of(held.key):
        return Finding(held, Verdict.FORGED, "the receipt is for another payment", claim)
    if claim.intent_digest not in held.digests | {held.closes}:
        return Finding(held, Verdict.FORGED, "the receipt is for an intent never signed", claim)
    # 2. The gateway it names signed it, with a key that was handed over outside this network.
    keys = known.keys.get(claim.gateway)
    if keys is not None and (reason := _unsigned(token, keys, claim.gateway)):
        return Finding(held, Verdict.FORGED, reason, claim)
    # 3. Its deadline has passed. Times have one spelling, so texts compare as times.
    if known.now <= claim.deadline:
        return Finding(held, Verdict.OPEN, f"by {claim.deadline}", claim)
    return _ask(_Case(held, claim, keys), known, looking)


def _ask(case: _Case, known: Known, looking: Looking) -> Finding:
    # 4. The ledger, as anybody but the one in question shows it, at a block no older than any other
    # has seen just now. That one's own view only says how far the others must have come: it could
    # show one that nobody else finds.
    held = case.held
    sights = {place: looking.look(place, held.key, None) for place in range(len(known.urls))}
    own = sights.get(held.gateway) if held.gateway is not None else None
    others = {place: one for place, one in sights.items() if place != held.gateway and one.known}
    claimed = None if own is None else case.shown(own)
    level = -1 if claimed is None else claimed.block_number
    level = max([level, *(one.block for one in others.values() if one.block is not None)])
    witness, sight = _witness(case, others, level, looking)
    reason = "no other gateway could be asked"
    if claimed is not None:
        reason = f"its gateway alone shows it, in block {claimed.block_number}"
    parts = [f"{known.urls[at]}: {one.detail}" for at, one in sights.items() if one.detail]
    facts = _Facts(
        witness,
        sight,
        answered=own is not None and own.known,
        # 5. The gateway's refusals, those that were shown before among them.
        refusal=_refusal(case, (*held.before.refusals, *(() if own is None else own.refusals))),
        reason="; ".join([reason, *parts]),
    )
    finding = _decide(case, facts, known)
    if witness is None or sight is None:
        return finding
    origin = case.shown(sight)
    return replace(finding, witness=known.urls[witness], block=sight.block, origin=origin)


def _witness(
    case: _Case, others: Mapping[int, Sight], level: int, looking: Looking
) -> tuple[int | None, Sight | None]:
    """One that shows what was promised, or one that doesn't at block `level` or later."""
    for place, sight in others.items():
        if case.shown(sight) is not None:
            return place, sight
    for place in others:
        sight = looking.look(place, case.held.key, level)
        reached = sight.block is not None and sight.block >= level
        if sight.known and (case.shown(sight) is not None or reached):
            return place, sight
    return None, None


def _refusal(case: _Case, compacts: Sequence[str]) -> tuple[ReceiptRefusal, str] | None:
    """The earliest signed by the gateway about this very receipt; whatever else is there says
    nothing."""
    found: list[tuple[ReceiptRefusal, str]] = []
    for compact in compacts:
        try:
            refusal, token = parse_refusal(compact)
        except Refusal:
            continue
        if case.keys is None or _unsigned(token, case.keys, case.claim.gateway):
            continue
        if refusal.receipt == case.claim:
            found.append((refusal, compact))
    return min(found, key=lambda one: one[0].refused_at, default=None)


def _decide(case: _Case, facts: _Facts, known: Known) -> Finding:
    claim, before = case.claim, case.held.before.omission
    origin = None if facts.sight is None else case.shown(facts.sight)
    refusal, text = facts.refusal or (None, "")

    def found(verdict: Verdict, detail: str, omission: Omission | None = before) -> Finding:
        return Finding(case.held, verdict, detail, claim, refusal=text, omission=omission)

    if origin is not None and before is None and not case.late(origin):
        return found(Verdict.KEPT, "on the ledger")
    # A gateway dates its refusals itself: one that it did not have when it was asked after the
    # deadline was not made before.
    shown_in_time = before is None or not before.answered
    if refusal is not None and refusal.refused_at <= claim.deadline and shown_in_time:
        return found(Verdict.REFUSED, f"{refusal.code}, said at {refusal.refused_at}")
    if case.keys is None:
        detail = f"not there by {claim.deadline} as far as is seen; {_PIN.format(claim.gateway)}"
        return found(Verdict.UNPROVEN, detail)
    missing = "" if before is None else f"; missing at block {before.block}, {before.found_at}"
    if origin is not None:
        by = "its own" if case.own(origin) else "another's"
        detail = f"promised by {claim.deadline}, in {by} transaction of {origin.requested_at}"
        return found(Verdict.LATE, detail + missing)
    if refusal is not None:
        detail = f"promised by {claim.deadline}, {refusal.code} said at {refusal.refused_at}"
        return found(Verdict.LATE, detail + missing)
    if before is not None:
        detail = f"promised by {claim.deadline}{missing}"
        answered = before.answered or facts.answered
        return found(Verdict.OMITTED, detail, replace(before, answered=answered))
    if facts.witness is None or facts.sight is None or facts.sight.block is None:
        return found(Verdict.UNPROVEN, facts.reason)
    if known.now > times.after(claim.deadline, KEPT_DAYS * 86_400):
        detail = f"not there; its gateway need not have kept a refusal for over {KEPT_DAYS} days"
        return found(Verdict.UNPROVEN, detail)
    block = facts.sight.block
    omission = Omission(known.now, known.urls[facts.witness], block, facts.answered)
    detail = f"promised by {claim.deadline}, not on the ledger at block {block}"
    return found(Verdict.OMITTED, detail, omission)


def _unsigned(token: Unverified, keys: Mapping[str, PublicKey], gateway: str) -> str:
    """Why none of these keys signed it, empty when one did."""
    key = keys.get(token.key_id)
    if key is None:
        return f"not signed by {gateway}'s key"
    try:
        key.verify(token)
    except JwsError as error:
        return str(error)
    return ""
