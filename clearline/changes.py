"""Changes of a registered merchant's key or settlement account: what the merchant signs.

A JWS of a `typ` of its own, so that no intent stands in for a change and no change for an intent.
The merchant hands it to its bank, whose maker carries it in a proposal; the contract checks it when
it is proposed and again when it is approved. Version 1; adding a field later changes a signed
format. `from` is the clearing date from which it holds, in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from clearline import canonical, jws, times
from clearline.canonical import CanonicalError, Json
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.jws import Algorithm, JwsError, Signer, Typ, Unverified
from clearline.schema import (
    BANK_CODE,
    IDENTIFIER,
    JWK,
    KEY_ID,
    LAST4,
    NETWORK,
    SHA256_HEX,
    Constant,
    Date,
    Members,
    OneOf,
    SchemaError,
    Shape,
    Time,
)

VERSION: Final = 1
# A signed text that nobody carried ends with its date, so that none lies about for years.
MAX_AHEAD: Final = timedelta(days=90)
_COMMON: Final[dict[str, Shape]] = {
    "version": Constant(VERSION),
    "network": NETWORK,
    "merchant_id": IDENTIFIER,
    "created": Time(),
    "from": Date(),
}
KEY_CHANGE: Final = Members(
    {
        "kind": Constant("key"),
        "key_id": KEY_ID,
        "algorithm": OneOf(tuple(Algorithm)),
        "jwk": JWK,
        **_COMMON,
    }
)
ACCOUNT_CHANGE: Final = Members(
    {
        "kind": Constant("account"),
        "account_id": SHA256_HEX,
        "bank_code": BANK_CODE,
        "last4": LAST4,
        **_COMMON,
    }
)


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A further key of this merchant, good from the day `valid_from` on."""

    network: str
    merchant_id: str
    jwk: dict[str, str]
    created: str
    valid_from: str

    @property
    def key_id(self) -> str:
        """The new key's RFC 7638 thumbprint."""
        return jws.thumbprint(self.jwk)

    def payload(self) -> dict[str, Json]:
        """The JSON object that is signed. Raises JwsError for a key of another kind."""
        named = {
            "kind": "key",
            "key_id": self.key_id,
            "algorithm": jws.algorithm_of(self.jwk).value,
            "jwk": self.jwk,
        }
        return named | _common(self)


@dataclass(frozen=True, slots=True)
class AccountChange:
    """Another settlement account of this merchant's entity, for the clearing dates from
    `valid_from` on. Bank code and last digits are what people at both ends can compare: the id is
    a keyed hash."""

    network: str
    merchant_id: str
    account_id: str
    bank_code: str
    last4: str
    created: str
    valid_from: str

    def payload(self) -> dict[str, Json]:
        """The JSON object that is signed."""
        named = {
            "kind": "account",
            "account_id": self.account_id,
            "bank_code": self.bank_code,
            "last4": self.last4,
        }
        return named | _common(self)


MerchantChange = KeyChange | AccountChange


@dataclass(frozen=True, slots=True)
class SignedChange:
    """A change as received: well-formed, its signature not yet verified."""

    compact: str
    token: Unverified
    change: MerchantChange


def sign(change: MerchantChange, signer: Signer) -> str:
    """The change as a JWS compact text."""
    return jws.sign(change.payload(), Typ.CHANGE, signer)


def parse(compact: str) -> SignedChange:
    """Take a JWS compact text as a change: form, closed schema, a sound key, card data; not the
    signature.

    Raises Refusal with `malformed`, `key_refused` or `card_data_refused`, and where.
    """
    try:
        token = jws.take_apart(compact)
        if token.typ is not Typ.CHANGE:
            raise JwsError(f"typ must be {Typ.CHANGE}")
        payload = canonical.loads(token.payload)
        of_account = isinstance(payload, dict) and payload.get("kind") == "account"
        (ACCOUNT_CHANGE if of_account else KEY_CHANGE).check(payload, "")
    except (JwsError, CanonicalError, SchemaError) as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    for name in ("network", "merchant_id", "bank_code"):
        if holds_card_number(payload.get(name, "")):
            raise Refusal(Code.CARD_DATA_REFUSED, f"/{name}: looks like a card number")
    _in_reach(payload["created"], payload["from"])
    change = _account(payload) if of_account else _key(payload)
    return SignedChange(compact, token, change)


def _common(change: MerchantChange) -> dict[str, Json]:
    return {
        "version": VERSION,
        "network": change.network,
        "merchant_id": change.merchant_id,
        "created": change.created,
        "from": change.valid_from,
    }


def _in_reach(created: str, valid_from: str) -> None:
    signed, start = times.parse(created).date(), times.parse_date(valid_from)
    if not timedelta() < start - signed <= MAX_AHEAD:
        raise Refusal(
            Code.MALFORMED, f"/from: must be 1 to {MAX_AHEAD.days} days after the day of created"
        )


def _key(payload: Json) -> KeyChange:
    jwk = payload["jwk"]
    try:
        algorithm = jws.algorithm_of(jwk)
        jws.public_key(jwk, algorithm)
    except JwsError as error:
        raise Refusal(Code.KEY_REFUSED, f"/jwk: {error}") from None
    if (algorithm, jws.thumbprint(jwk)) != (payload["algorithm"], payload["key_id"]):
        raise Refusal(Code.KEY_REFUSED, "/jwk: is not the key that key_id and algorithm name")
    return KeyChange(
        payload["network"], payload["merchant_id"], jwk, payload["created"], payload["from"]
    )


def _account(payload: Json) -> AccountChange:
    return AccountChange(
        payload["network"],
        payload["merchant_id"],
        payload["account_id"],
        payload["bank_code"],
        payload["last4"],
        payload["created"],
        payload["from"],
    )
