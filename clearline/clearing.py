"""What the acquiring bank signs after the payments: files, adjustments, settlements, payouts.

A JWS of a `typ` of its own, so that no report stands in for one. Everything is about one *account
of clearing*: an acquirer, one merchant code there, one currency, one clearing date. Version 1;
adding a field later changes a signed format. Amounts are integers in the currency's minor unit:
those of payments, refunds and fees are never negative, that of an adjustment is what the merchant
gets (negative: gives) by it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from clearline import canonical, jws
from clearline.canonical import CanonicalError, Json
from clearline.clearing_schema import (
    SCHEMAS,
    VERSION,
    Cause,
    LineKind,
    Paid,
    What,
)
from clearline.codes import Code, Refusal
from clearline.jws import JwsError, Signer, Typ, Unverified
from clearline.schema import OneOf, SchemaError


class Totals(NamedTuple):
    """Sums of the lines of each kind."""

    payments: int = 0
    refunds: int = 0
    fees: int = 0
    adjustments: int = 0

    @property
    def net(self) -> int:
        """What the merchant gets for these lines."""
        return self.payments - self.refunds - self.fees + self.adjustments

    def plus(self, other: Totals) -> Totals:
        """Both together."""
        return Totals(*(one + more for one, more in zip(self, other, strict=True)))


class Place(NamedTuple):
    """An account of clearing: whose money of which day."""

    acquirer_id: str
    merchant_code: str
    currency: str
    clearing_date: str

    @property
    def name(self) -> str:
        """`<acquirer_id>/<merchant_code>/<currency>/<clearing_date>`."""
        return "/".join(self)


class Entry(NamedTuple):
    """A line of a settlement. `name` is an order's number, or an adjustment's reference; `attempt`
    its payment's (0: an adjustment's), `number` a refund's (0: no refund's). A fee follows the
    payment or refund it is taken for, and names the same."""

    kind: str
    name: str
    attempt: int
    number: int
    amount: int

    @property
    def totals(self) -> Totals:
        """Its own sum."""
        return Totals(**{f"{self.kind}s": self.amount})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What all of them say: whose money of which day."""

    network: str
    acquirer_id: str
    merchant_id: str
    merchant_code: str
    currency: str
    clearing_date: str

    @property
    def place(self) -> Place:
        """The account of clearing."""
        return Place(self.acquirer_id, self.merchant_code, self.currency, self.clearing_date)

    def payload(self) -> dict[str, Json]:
        """The JSON object that is signed."""
        told: dict[str, Json] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("cause", "status"):
            if name in told:
                told[name] = told[name].value
        if "entries" in told:
            told["entries"] = [list(entry) for entry in told["entries"]]
        return told | {"kind": KIND_OF[type(self)].value, "version": VERSION}

    def digest(self) -> str:
        """SHA-256 of the payload, 64 hex digits."""
        return canonical.digest(self.payload())


@dataclass(frozen=True, slots=True, kw_only=True)
class Filing(Cleared):
    """The acquirer's file of a day: SHA-256 of its bytes, its lines and control totals."""

    file_digest: str
    lines: int
    payments: int
    refunds: int
    fees: int
    adjustments: int

    @property
    def totals(self) -> Totals:
        """The control totals."""
        return Totals(self.payments, self.refunds, self.fees, self.adjustments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment(Cleared):
    """What the merchant gets (negative: gives) besides payments and refunds, under the acquirer's
    `reference`; the payment it is about, where there is one."""

    reference: str
    cause: Cause
    amount: int
    order_no: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Cleared):
    """A part of a settlement: all of its header, and some of its lines."""

    run: int
    file_digest: str
    account_id: str
    lines: int
    payments: int
    refunds: int
    fees: int
    adjustments: int
    carried: int
    net: int
    parts: int
    part: int
    entries: tuple[Entry, ...]

    @property
    def totals(self) -> Totals:
        """Of all parts together."""
        return Totals(self.payments, self.refunds, self.fees, self.adjustments)

    @property
    def own_totals(self) -> Totals:
        """Of this part's lines."""
        total = Totals()
        for entry in self.entries:
            total = total.plus(entry.totals)
        return total

    def header(self) -> dict[str, Json]:
        """What every part of a settlement says alike."""
        return {
            name: value for name, value in self.payload().items() if name not in ("part", "entries")
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout(Cleared):
    """What became of a settlement's money: `amount` went to this account, or came back."""

    run: int
    account_id: str
    amount: int
    status: Paid
    reference: str
    value_date: str


Clearing = Filing | Adjustment | Part | Payout
KIND_OF: Final[dict[type, What]] = {
    Filing: What.ACQUIRER_FILE,
    Adjustment: What.ADJUSTMENT,
    Part: What.SETTLEMENT,
    Payout: What.PAYOUT,
}


@dataclass(frozen=True, slots=True)
class SignedClearing:
    """As received: well-formed, its signature not yet verified."""

    compact: str
    token: Unverified
    said: Clearing


def sign(said: Clearing, signer: Signer) -> str:
    """As a JWS compact text."""
    return jws.sign(said.payload(), Typ.CLEARING, signer)


def parse(compact: str) -> SignedClearing:
    """Take a JWS compact text apart: form and closed schema, not the signature.

    Raises Refusal with `malformed` and where.
    """
    try:
        token = jws.take_apart(compact)
        if token.typ is not Typ.CLEARING:
            raise JwsError(f"typ must be {Typ.CLEARING}")
        payload = canonical.loads(token.payload)
        kind = payload.get("kind") if isinstance(payload, dict) else None
        OneOf(tuple(What)).check(kind, "/kind")
        SCHEMAS[str(kind)].check(payload, "")
        members = {name: value for name, value in payload.items() if name not in _NOT_FIELDS}
        return SignedClearing(compact, token, _MAKERS[What(str(kind))](members))
    except (JwsError, CanonicalError, SchemaError) as error:
        raise Refusal(Code.MALFORMED, str(error)) from None


_NOT_FIELDS: Final = ("kind", "version")


def _filing(members: dict[str, Any]) -> Clearing:
    return Filing(**members)


def _adjustment(members: dict[str, Any]) -> Clearing:
    if members["amount"] == 0:
        raise SchemaError("/amount", "must not be 0")
    if (members["order_no"] is None) != (members["attempt"] is None):
        raise SchemaError("/attempt", "goes with an order_no")
    return Adjustment(**(members | {"cause": Cause(members["cause"])}))


def _part(members: dict[str, Any]) -> Clearing:
    entries = tuple(Entry(*entry) for entry in members["entries"])
    if members["part"] > members["parts"]:
        raise SchemaError("/part", "must be 1..parts")
    for index, entry in enumerate(entries):
        if entry.kind == LineKind.FEE:
            before = entries[index - 1] if index else None
            if before is None or before.kind == LineKind.FEE or before[1:4] != entry[1:4]:
                raise SchemaError(f"/entries/{index}", "a fee follows what it is taken for")
    return Part(**(members | {"entries": entries}))


def _payout(members: dict[str, Any]) -> Clearing:
    return Payout(**(members | {"status": Paid(members["status"])}))


_MAKERS: Final = {
    What.ACQUIRER_FILE: _filing,
    What.ADJUSTMENT: _adjustment,
    What.SETTLEMENT: _part,
    What.PAYOUT: _payout,
}
