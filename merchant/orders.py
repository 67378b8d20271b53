"""Orders: from the fields a shop's system gives to an exact order, and from that to an intent.

Pure: a row and a profile in, an order or a refusal with a stable code out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from clearline import canonical, times
from clearline.cards import holds_card_number
from clearline.intents import PayIntent, Route
from clearline.money import Money, MoneyError, parse_decimal
from clearline.schema import (
    MERCHANT_CODE,
    ORDER_NO,
    SHA256_HEX,
    TOKEN,
    Currency,
    SchemaError,
    Shape,
)
from merchant.profile import ORDER_FIELDS, Profile

REQUIRED: Final = ("order_no", "amount")
TOKEN_FOR: Final = "payer_token."  # noqa: S105 - payer_token.unionpay: a token at that acquirer
CODE_FOR: Final = "merchant_code."  # merchant_code.unionpay: the merchant's code at that acquirer
DIGEST: Final = "order_digest"
COLUMNS: Final = (
    *(*REQUIRED, "currency", *ORDER_FIELDS),
    *("payer_token", "acquirer", "merchant_code", DIGEST),
)
MAX_FIELD: Final = 256  # characters; the longest admissible field has 128
# A path segment `.` or `..` can't be addressed: clients and proxies take it away (RFC 3986 5.2.4).
_UNADDRESSABLE: Final = frozenset({".", ".."})


class RowCode(StrEnum):
    """Why an order is not taken. Codes never change their meaning; docs/merchant.md lists them."""

    LINE_TOO_LONG = "line_too_long"
    ENCODING_INVALID = "encoding_invalid"
    QUOTING_INVALID = "quoting_invalid"
    FIELDS_MISSING = "fields_missing"
    FIELDS_SURPLUS = "fields_surplus"
    JSON_INVALID = "json_invalid"
    MEMBER_UNKNOWN = "member_unknown"
    CARD_DATA_REFUSED = "card_data_refused"
    FIELD_MISSING = "field_missing"
    FIELD_TOO_LONG = "field_too_long"
    FIELD_INVALID = "field_invalid"
    ORDER_NO_INVALID = "order_no_invalid"
    AMOUNT_INVALID = "amount_invalid"
    CURRENCY_INVALID = "currency_invalid"
    ACQUIRER_UNKNOWN = "acquirer_unknown"
    CONFLICT = "conflict"


class OrderRefusedError(ValueError):
    """An order is not taken: the code and, for people, the detail (never the value of a field
    that could be a card number)."""

    def __init__(self, code: RowCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be paid: `amount` in minor units of `currency`, each field settled when the order
    was taken, so that a later change of the profile changes no order.

    `digest` is the SHA-256 of the canonical row: what the shop's system said, no defaults.
    `own_digest` is the one the row gave of the order, empty when it gave none.
    """

    order_no: str
    amount: int
    currency: str
    store: str
    terminal: str
    mcc: str
    product: str
    goods_category: str
    site: str
    routes: tuple[Route, ...]
    digest: str
    own_digest: str = ""

    @property
    def money(self) -> Money:
        """Amount and currency."""
        return Money(self.amount, self.currency)

    @property
    def order_digest(self) -> str:
        """What the intent says: the digest the row gave, else the row's."""
        return self.own_digest or self.digest

    def to_text(self) -> str:
        """The order as JSON, for the order book."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Order:
        """The order that `to_text` wrote, or wrote before an order could have its own digest."""
        fields = json.loads(text)
        fields["routes"] = tuple(Route(**route) for route in fields["routes"])
        return cls(**fields)


def known_column(name: str, profile: Profile) -> bool:
    """Whether an order may have a field of this name."""
    for prefix in (TOKEN_FOR, CODE_FOR):
        if name.startswith(prefix):
            return any(name == prefix + route.acquirer_id for route in profile.routes)
    return name in COLUMNS


def take(row: Mapping[str, str], profile: Profile) -> Order:
    """The order these fields describe; an empty field is one that was not given.

    The names must be known columns. Raises OrderRefusedError for the first fault.
    """
    given = {name: value.strip() for name, value in row.items() if value.strip()}
    own_digest = given.get(DIGEST, "")
    for name, value in given.items():
        # Hashes are not searched for card numbers.
        if not (name == DIGEST and SHA256_HEX.fits(value)) and holds_card_number(value):
            raise OrderRefusedError(
                RowCode.CARD_DATA_REFUSED, f"{name} looks like a card number; use a payer token"
            )
    for name, value in given.items():
        if len(value) > MAX_FIELD:
            raise OrderRefusedError(
                RowCode.FIELD_TOO_LONG, f"{name} has {len(value)} characters, at most {MAX_FIELD}"
            )
    for name in REQUIRED:
        if name not in given:
            raise OrderRefusedError(RowCode.FIELD_MISSING, f"{name} is empty")
    order_no = _checked(ORDER_NO, "order_no", given["order_no"], RowCode.ORDER_NO_INVALID)
    if order_no in _UNADDRESSABLE:
        raise OrderRefusedError(RowCode.ORDER_NO_INVALID, f"order_no can't be {order_no!r}")
    currency = _checked(
        Currency(), "currency", _field("currency", given, profile), RowCode.CURRENCY_INVALID
    )
    try:
        money = parse_decimal(given["amount"], currency)
    except MoneyError as error:
        raise OrderRefusedError(RowCode.AMOUNT_INVALID, str(error)) from None
    fields = {
        name: _checked(shape, name, _field(name, given, profile), RowCode.FIELD_INVALID)
        for name, shape in ORDER_FIELDS.items()
    }
    if own_digest:
        _checked(SHA256_HEX, DIGEST, own_digest, RowCode.FIELD_INVALID)
    routes = _routes(given, profile)
    content = given | {"amount": money.amount, "currency": currency}
    return Order(
        order_no=order_no,
        amount=money.amount,
        currency=currency,
        routes=routes,
        digest=canonical.digest(content),
        own_digest=own_digest,
        **fields,
    )


def _field(name: str, given: Mapping[str, str], profile: Profile) -> str:
    value = given.get(name) or profile.defaults.get(name)
    if not value:
        raise OrderRefusedError(
            RowCode.FIELD_MISSING, f"{name} is in neither the order nor the profile's defaults"
        )
    return value


def _checked(shape: Shape, name: str, value: str, code: RowCode) -> str:
    try:
        shape.check(value, "")
    except SchemaError as error:
        raise OrderRefusedError(code, f"{name} {error.reason}") from None
    return value


def _routes(given: Mapping[str, str], profile: Profile) -> tuple[Route, ...]:
    """The acceptable routes: those the payer has a token for, in the profile's order.

    A token is one acquirer's own. A plain `payer_token` is for the acquirer the order names, else
    for the first of the profile; `payer_token.ACQUIRER` is for that one. A plain `merchant_code`
    is for the first of these routes, `merchant_code.ACQUIRER` for that acquirer; where the order
    gives none, the profile's counts.
    """
    named = given.get("acquirer")
    known = [route.acquirer_id for route in profile.routes]
    if named is not None and named not in known:
        raise OrderRefusedError(
            RowCode.ACQUIRER_UNKNOWN, f"acquirer is not one of the profile's: {', '.join(known)}"
        )
    tokens = _by_acquirer(TOKEN_FOR, given)
    plain = given.get("payer_token")
    if plain is None and not tokens:
        plain = profile.defaults.get("payer_token")
    if plain is not None:
        tokens.setdefault(named or known[0], plain)
    for token in tokens.values():
        _checked(TOKEN, "payer_token", token, RowCode.FIELD_INVALID)
    settings = [
        setting
        for setting in profile.routes
        if setting.acquirer_id in tokens and named in (None, setting.acquirer_id)
    ]
    if not settings:
        raise OrderRefusedError(
            RowCode.FIELD_MISSING, "payer_token is in neither the order nor the profile's defaults"
        )
    codes = _codes(given, settings[0].acquirer_id)
    return tuple(
        Route(
            setting.acquirer_id,
            codes.get(setting.acquirer_id, setting.merchant_code),
            tokens[setting.acquirer_id],
        )
        for setting in settings
    )


def _by_acquirer(prefix: str, given: Mapping[str, str]) -> dict[str, str]:
    """What the order says for one acquirer each, in columns PREFIX.ACQUIRER."""
    return {
        name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)
    }


def _codes(given: Mapping[str, str], first: str) -> dict[str, str]:
    """The merchant codes that the order gives, by acquirer; a plain one is for `first`."""
    codes = _by_acquirer(CODE_FOR, given)
    for acquirer_id, code in codes.items():
        _checked(MERCHANT_CODE, CODE_FOR + acquirer_id, code, RowCode.FIELD_INVALID)
    plain = given.get("merchant_code")
    if plain is None:
        return codes
    _checked(MERCHANT_CODE, "merchant_code", plain, RowCode.FIELD_INVALID)
    if codes.setdefault(first, plain) != plain:
        # One of them would send the money elsewhere, and nobody knows which.
        raise OrderRefusedError(
            RowCode.FIELD_INVALID, f"merchant_code and {CODE_FOR}{first} are not the same"
        )
    return codes


def intent_for(order: Order, attempt: int, profile: Profile, created: str) -> PayIntent:
    """The intent that asks for one attempt at an order, signed at `created` (RFC 3339)."""
    return PayIntent(
        network=profile.network,
        merchant_id=profile.merchant_id,
        order_no=order.order_no,
        attempt=attempt,
        amount=order.amount,
        currency=order.currency,
        acquirers=order.routes,
        created=created,
        expires_at=times.after(created, profile.expires_in),
        store=order.store,
        terminal=order.terminal,
        mcc=order.mcc,
        product=order.product,
        goods_category=order.goods_category,
        site=order.site,
        order_digest=order.order_digest,
    )
