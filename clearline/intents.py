"""Intents: what a merchant signs - to be paid (`pay`), or no longer (`close`); refunds: refunds.py.

Version 1 of `pay` carries every field supervision needs; `close` names the payment it ends.

The payload is a closed object; adding a field later changes a signed format. "Same intent"
compares the payload without `created`, so a merchant that signs the same wish twice is answered
with the first outcome. A payment is one attempt at an order: (merchant_id, order_no, attempt).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from clearline import canonical, jws
from clearline.canonical import CanonicalError, Json
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.jws import JwsError, Signer, Typ, Unverified
from clearline.money import Money
from clearline.schema import (
    AMOUNT,
    ATTEMPT,
    CATEGORY,
    IDENTIFIER,
    MCC,
    MERCHANT_CODE,
    NETWORK,
    ORDER_NO,
    SHA256_HEX,
    SITE,
    TERMINAL,
    TOKEN,
    Constant,
    Currency,
    Listed,
    Members,
    OneOf,
    SchemaError,
    Time,
)

VERSION: Final = 1


class Product(StrEnum):
    """How the payer pays."""

    CARD = "card"
    DYNAMIC_QR = "dynamic_qr"
    STATIC_QR = "static_qr"
    APP = "app"
    WEB = "web"


class PaymentKey(NamedTuple):
    """What names a payment on the ledger and at every gateway."""

    merchant_id: str
    order_no: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.merchant_id}/{self.order_no}/{self.attempt}"


ROUTE: Final = Members(
    {"acquirer_id": IDENTIFIER, "merchant_code": MERCHANT_CODE, "payer_token": TOKEN}
)
PAY: Final = Members(
    {
        "kind": Constant("pay"),
        "version": Constant(VERSION),
        "network": NETWORK,
        "merchant_id": IDENTIFIER,
        "order_no": ORDER_NO,
        "attempt": ATTEMPT,
        "amount": AMOUNT,
        "currency": Currency(),
        "acquirers": Listed(ROUTE, 1, 8),
        "created": Time(),
        "expires_at": Time(),
        "store": IDENTIFIER,
        "terminal": TERMINAL,
        "mcc": MCC,
        "product": OneOf(tuple(Product)),
        "goods_category": CATEGORY,
        "site": SITE,
        "order_digest": SHA256_HEX,
    }
)
CLOSE: Final = Members(
    {
        "kind": Constant("close"),
        "version": Constant(VERSION),
        "network": NETWORK,
        "merchant_id": IDENTIFIER,
        "order_no": ORDER_NO,
        "attempt": ATTEMPT,
        "created": Time(),
    }
)
# Fields a person or a till fills in, where a card number could slip in. Digests are not scanned.
_SCANNED: Final = (
    "network",
    "merchant_id",
    "order_no",
    "store",
    "terminal",
    "goods_category",
    "site",
)
_SCANNED_CLOSE: Final = ("network", "merchant_id", "order_no")


@dataclass(frozen=True, slots=True)
class Route:
    """One acceptable acquirer: the merchant's code there and the payer's token, which is its own
    at each acquirer."""

    acquirer_id: str
    merchant_code: str
    payer_token: str


@dataclass(frozen=True, slots=True)
class PayIntent:
    """A merchant's wish to be paid: field for field the signed payload."""

    network: str
    merchant_id: str
    order_no: str
    attempt: int
    amount: int
    currency: str
    acquirers: tuple[Route, ...]
    created: str
    expires_at: str
    store: str
    terminal: str
    mcc: str
    product: str
    goods_category: str
    site: str
    order_digest: str

    @property
    def key(self) -> PaymentKey:
        """The payment this intent asks for."""
        return PaymentKey(self.merchant_id, self.order_no, self.attempt)

    @property
    def money(self) -> Money:
        """Amount and currency."""
        return Money(self.amount, self.currency)

    def route(self, acquirer_id: str) -> Route | None:
        """The acceptable route through this acquirer, if there is one."""
        return next((route for route in self.acquirers if route.acquirer_id == acquirer_id), None)

    def payload(self) -> dict[str, Json]:
        """The JSON object that is signed."""
        return {
            "kind": "pay",
            "version": VERSION,
            "network": self.network,
            "merchant_id": self.merchant_id,
            "order_no": self.order_no,
            "attempt": self.attempt,
            "amount": self.amount,
            "currency": self.currency,
            "acquirers": [
                {
                    "acquirer_id": route.acquirer_id,
                    "merchant_code": route.merchant_code,
                    "payer_token": route.payer_token,
                }
                for route in self.acquirers
            ],
            "created": self.created,
            "expires_at": self.expires_at,
            "store": self.store,
            "terminal": self.terminal,
            "mcc": self.mcc,
            "product": self.product,
            "goods_category": self.goods_category,
            "site": self.site,
            "order_digest": self.order_digest,
        }

    def digest(self) -> str:
        """What "same intent" compares and reports name: SHA-256 of the payload without `created`,
        64 hex digits."""
        return _digest(self.payload())


@dataclass(frozen=True, slots=True)
class CloseIntent:
    """A merchant's wish that a payment end unpaid: a trigger. The acquirer's answer ends it."""

    network: str
    merchant_id: str
    order_no: str
    attempt: int
    created: str

    @property
    def key(self) -> PaymentKey:
        """The payment to be closed."""
        return PaymentKey(self.merchant_id, self.order_no, self.attempt)

    def payload(self) -> dict[str, Json]:
        """The JSON object that is signed."""
        return {"kind": "close", "version": VERSION} | asdict(self)

    def digest(self) -> str:
        """What "same intent" compares, as for a pay intent."""
        return _digest(self.payload())


@dataclass(frozen=True, slots=True)
class SignedIntent:
    """A pay intent as received: well-formed, its signature not yet verified."""

    compact: str
    token: Unverified
    intent: PayIntent


@dataclass(frozen=True, slots=True)
class SignedClose:
    """A close intent as received: well-formed, its signature not yet verified."""

    compact: str
    token: Unverified
    intent: CloseIntent


def sign(intent: PayIntent | CloseIntent, signer: Signer) -> str:
    """The intent as a JWS compact text."""
    return jws.sign(intent.payload(), Typ.INTENT, signer)


def parse(compact: str | bytes) -> SignedIntent:
    """Take a JWS compact text as a pay intent: form, closed schema, card data; not the signature.

    Raises Refusal with `malformed` or `card_data_refused`, and where.
    """
    return _pay(*read(compact))


def parse_close(compact: str | bytes) -> SignedClose:
    """The same for a close intent."""
    return _close(*read(compact))


def parse_any(compact: str | bytes) -> SignedIntent | SignedClose:
    """The same for either; `kind` of the payload decides."""
    return of_payment(*read(compact))


def of_payment(text: str, token: Unverified, payload: Json) -> SignedIntent | SignedClose:
    """The same for what `read` has taken apart."""
    closes = isinstance(payload, dict) and payload.get("kind") == "close"
    return _close(text, token, payload) if closes else _pay(text, token, payload)


def read(compact: str | bytes) -> tuple[str, Unverified, Json]:
    """The text, the token and the payload of an intent of any kind: form only. Raises Refusal."""
    text = compact.decode("ascii", "replace") if isinstance(compact, bytes) else compact
    try:
        token = jws.take_apart(text)
        if token.typ is not Typ.INTENT:
            raise JwsError(f"typ must be {Typ.INTENT}")
        return text, token, canonical.loads(token.payload)
    except (JwsError, CanonicalError) as error:
        raise Refusal(Code.MALFORMED, str(error)) from None


def _close(text: str, token: Unverified, payload: Json) -> SignedClose:
    check(CLOSE, payload)
    fields = {name: value for name, value in payload.items() if name not in ("kind", "version")}
    intent = CloseIntent(**fields)
    for name in _SCANNED_CLOSE:
        if holds_card_number(getattr(intent, name)):
            raise Refusal(Code.CARD_DATA_REFUSED, f"/{name}: looks like a card number")
    return SignedClose(text, token, intent)


def _pay(text: str, token: Unverified, payload: Json) -> SignedIntent:
    check(PAY, payload)
    intent = _from_payload(payload)
    if intent.expires_at <= intent.created:
        raise Refusal(Code.MALFORMED, "/expires_at: must be after created")
    ids = [route.acquirer_id for route in intent.acquirers]
    if len(frozenset(ids)) != len(ids):
        raise Refusal(Code.MALFORMED, "/acquirers: names an acquirer twice")
    place = card_data_in(intent)
    if place:
        raise Refusal(Code.CARD_DATA_REFUSED, f"{place}: looks like a card number")
    return SignedIntent(text, token, intent)


def card_data_in(intent: PayIntent) -> str | None:
    """The JSON Pointer of the first named field that could hold a card number, else None."""
    for name in _SCANNED:
        if holds_card_number(getattr(intent, name)):
            return f"/{name}"
    for index, route in enumerate(intent.acquirers):
        for name in ("acquirer_id", "payer_token", "merchant_code"):
            if holds_card_number(getattr(route, name)):
                return f"/acquirers/{index}/{name}"
    return None


def check(shape: Members, payload: Json) -> None:
    """Hold a payload against its closed schema. Raises Refusal `malformed`, and where."""
    try:
        shape.check(payload, "")
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None


def _digest(payload: dict[str, Json]) -> str:
    del payload["created"]
    return canonical.digest(payload)


def _from_payload(payload: dict[str, Json]) -> PayIntent:
    fields = {name: value for name, value in payload.items() if name not in ("kind", "version")}
    routes = tuple(Route(**route) for route in fields.pop("acquirers"))
    return PayIntent(acquirers=routes, **fields)
