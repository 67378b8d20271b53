"""Ledger records: their keys and their JSON, shared by the contract and whoever reads the ledger.

Keys are plain texts with `/` between parts; no part may hold `/`, so `payment/M1/` ranges over one
merchant's payments only. Each record names the transactions that made it (`txs`, oldest first).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from clearline import canonical
from clearline.canonical import Json
from clearline.intents import PaymentKey
from clearline.schema import (
    CATEGORY,
    IDENTIFIER,
    KEY_ID,
    MCC,
    MERCHANT_CODE,
    SHA256_HEX,
    Currency,
    Date,
    Listed,
    Mapped,
    Members,
    OneOf,
    Printable,
    Shape,
    Text,
)
from clearline.statuses import Status

EVENT: Final = "payments.v1"


class Kind(StrEnum):
    """Kinds of record; the first part of a ledger key."""

    ENTITY = "entity"
    ACCOUNT = "account"
    MERCHANT = "merchant"
    MERCHANT_CODE = "merchant_code"
    ACQUIRER = "acquirer"
    PROPOSAL = "proposal"
    PAYMENT = "payment"


def payment_key(key: PaymentKey) -> str:
    """`payment/<merchant_id>/<order_no>/<attempt, four digits>`."""
    return f"payment/{key.merchant_id}/{key.order_no}/{key.attempt:04d}"


def payments_of(merchant_id: str) -> tuple[str, str]:
    """Start (inclusive) and end (exclusive) key of one merchant's payments."""
    return f"payment/{merchant_id}/", f"payment/{merchant_id}0"


def record_key(kind: Kind, record_id: str) -> str:
    """`<kind>/<id>`, for every kind but payments and merchant codes."""
    return f"{kind}/{record_id}"


def merchant_code_key(acquirer_id: str, code: str) -> str:
    """The index record that says whose a code is: `merchant_code/<acquirer_id>/<code>`."""
    return f"merchant_code/{acquirer_id}/{code}"


def account_id(secret: bytes, bank_code: str, number: str) -> str:
    """The keyed hash by which the ledger names an account: HMAC-SHA-256, 64 hex digits.

    `secret` is the banks' shared key, so that one account has one name at every bank and nobody
    else can try numbers against it.
    """
    return hmac.new(secret, f"{bank_code}\n{number}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A public key on the ledger. Revoked keys stay: `status` is `active` or `revoked`."""

    algorithm: str
    jwk: dict[str, str]
    status: str = "active"


@dataclass(frozen=True, slots=True)
class Entity:
    """A legal entity: `registration_no` as its country's register (or LEI) writes it."""

    entity_id: str
    name: str
    country: str
    registration_no: str
    msp_id: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Account:
    """A settlement account, attested by the bank `msp_id`: keyed hash, bank code, last digits."""

    account_id: str
    entity_id: str
    bank_code: str
    last4: str
    currency: str
    msp_id: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Merchant:
    """A merchant: one entity's, settled to one account. `codes` maps acquirer ids to its codes
    there, `keys` key ids to public keys."""

    merchant_id: str
    entity_id: str
    account_id: str
    name: str
    mcc: str
    goods_categories: list[str]
    codes: dict[str, list[str]]
    keys: dict[str, KeyRecord]
    status: str
    msp_id: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MerchantCode:
    """Whose an acquirer's merchant code is."""

    acquirer_id: str
    code: str
    merchant_id: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Acquirer:
    """An acquiring channel of the bank `msp_id`; its keys sign reports."""

    acquirer_id: str
    name: str
    msp_id: str
    currencies: list[str]
    licence_no: str
    licence_valid_until: str
    keys: dict[str, KeyRecord]
    status: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Proposal:
    """An administrative change between maker and checker. `maker` and `checker` are identities:
    SHA-256 of the certificate's subject and issuer, hex."""

    proposal_id: str
    kind: str
    body: dict[str, Any]
    status: str
    msp_id: str
    maker: str
    checker: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment: the intent as the merchant signed it, and the bank's reports on it.

    `reports` holds [sequence, kind, status, payload digest] of each, `response` and `result` the
    signed texts of the last response and of the result (empty until there is one).
    """

    merchant_id: str
    order_no: str
    attempt: int
    status: str
    acquirer_id: str
    merchant_code: str
    amount: int
    currency: str
    intent: str
    intent_digest: str
    expires_at: str
    msp_id: str
    requested_at: str
    reports: list[list[Any]] = field(default_factory=list)
    reason: str = ""
    response: str = ""
    result: str = ""
    txs: list[str] = field(default_factory=list)

    @property
    def key(self) -> PaymentKey:
        """What names it."""
        return PaymentKey(self.merchant_id, self.order_no, self.attempt)

    @property
    def sequence(self) -> int:
        """The number of the last report, 0 before the first."""
        return int(self.reports[-1][0]) if self.reports else 0

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return Status(self.status).final


Record = TypeVar("Record", Entity, Account, Merchant, MerchantCode, Acquirer, Proposal, Payment)
_KINDS: Final[dict[type, Kind]] = {
    Entity: Kind.ENTITY,
    Account: Kind.ACCOUNT,
    Merchant: Kind.MERCHANT,
    MerchantCode: Kind.MERCHANT_CODE,
    Acquirer: Kind.ACQUIRER,
    Proposal: Kind.PROPOSAL,
    Payment: Kind.PAYMENT,
}


def dump(record: Record) -> bytes:
    """A record as the canonical JSON the ledger holds; `type` names its kind."""
    return canonical.dumps(asdict(record) | {"type": _KINDS[type(record)].value})


def load(kind: type[Record], data: bytes) -> Record:
    """The record in these bytes. Raises ValueError when it is of another kind or shape."""
    return from_json(kind, canonical.loads(data))


def from_json(kind: type[Record], value: Json) -> Record:
    """The record a JSON object describes. Raises ValueError for another kind or shape."""
    try:
        fields = dict(value)
        if fields.pop("type") != _KINDS[kind].value:
            raise ValueError(f"not a record of kind {_KINDS[kind]}")
        if "keys" in fields:
            fields["keys"] = {kid: KeyRecord(**key) for kid, key in fields["keys"].items()}
        return kind(**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a record of kind {_KINDS[kind]}: {error}") from None


def touched(record: Record, tx_id: str) -> Record:
    """The record with `tx_id` as its newest transaction."""
    return replace(record, txs=[*record.txs, tx_id])


# What a bank's maker proposes, by kind. `merchant_key` and `acquirer_key` add or revoke one key.
_JWK: Final[Shape] = Mapped(
    Text("kty|crv|x|y", "must be a member of a public JWK"), Text("[A-Za-z0-9_-]{1,64}"), 4
)
_KEYS: Final = Listed(_JWK, 1, 8)
_KEY_CHANGE: Final[dict[str, Shape]] = {
    "action": OneOf(("add", "revoke")),
    "key_id": KEY_ID,
    "jwk": _JWK,
}
PROPOSALS: Final[dict[str, Members]] = {
    "entity": Members(
        {
            "entity_id": IDENTIFIER,
            "name": Printable(128),
            "country": Text("[A-Z]{2}", "must be an ISO 3166-1 alpha-2 code"),
            "registration_no": Text("[A-Za-z0-9.-]{1,32}"),
        }
    ),
    "account": Members(
        {
            "account_id": SHA256_HEX,
            "entity_id": IDENTIFIER,
            "bank_code": Text("[A-Z0-9]{4,14}", "must be a BIC or national bank code"),
            "last4": Text("[0-9]{4}", "must be four digits"),
            "currency": Currency(),
        }
    ),
    "merchant": Members(
        {
            "merchant_id": IDENTIFIER,
            "entity_id": IDENTIFIER,
            "account_id": SHA256_HEX,
            "name": Printable(64),
            "mcc": MCC,
            "goods_categories": Listed(CATEGORY, 1, 16),
            "codes": Mapped(IDENTIFIER, Listed(MERCHANT_CODE, 1, 16), 8),
            "keys": _KEYS,
        }
    ),
    "acquirer": Members(
        {
            "acquirer_id": IDENTIFIER,
            "name": Printable(64),
            "currencies": Listed(Currency(), 1, 32),
            "licence_no": Text("[A-Za-z0-9.-]{1,32}"),
            "licence_valid_until": Date(),
            "keys": _KEYS,
        }
    ),
    "merchant_key": Members({"merchant_id": IDENTIFIER, **_KEY_CHANGE}, frozenset({"jwk"})),
    "acquirer_key": Members({"acquirer_id": IDENTIFIER, **_KEY_CHANGE}, frozenset({"jwk"})),
    "merchant_status": Members(
        {"merchant_id": IDENTIFIER, "status": OneOf(("active", "suspended"))}
    ),
    "acquirer_status": Members(
        {"acquirer_id": IDENTIFIER, "status": OneOf(("active", "suspended"))}
    ),
}
PROPOSAL_KINDS: Final = OneOf(tuple(PROPOSALS))
DECISION: Final = Members({"proposal_id": IDENTIFIER, "decision": OneOf(("approve", "reject"))})
