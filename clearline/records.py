"""Ledger records: their keys and their JSON, shared by the contract and whoever reads the ledger.

Keys are plain texts with `/` between parts; no part may hold `/`, so `payment/M1/` ranges over one
merchant's payments only. Each record names the transactions that made it (`txs`, oldest first).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from clearline import canonical
from clearline.canonical import Json
from clearline.clearing_records import (
    AcquirerFile,
    AdjustmentRecord,
    Settlement,
    SettlementPart,
    Statement,
)
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.proposals import PROPOSALS as PROPOSALS  # noqa: PLC0414 - callers know it from here
from clearline.refunds import Refund
from clearline.relations import Relation
from clearline.statuses import Status
from clearline.supervision import Checkpoint, Rule

EVENT: Final = "payments.v1"


class Kind(StrEnum):
    """Kinds of record; the first part of a ledger key."""

    ENTITY = "entity"
    ACCOUNT = "account"
    RELATION = "relation"
    MERCHANT = "merchant"
    MERCHANT_CODE = "merchant_code"
    ACQUIRER = "acquirer"
    PROPOSAL = "proposal"
    PAYMENT = "payment"
    REFUND = "refund"
    REPORT = "report"
    EQUIVOCATION = "equivocation"
    LEASE = "lease"
    REGISTRATION = "registration"
    ACQUIRER_FILE = "acquirer_file"
    ADJUSTMENT = "adjustment"
    SETTLEMENT = "settlement"
    SETTLEMENT_PART = "settlement_part"
    STATEMENT = "statement"
    RULE = "rule"
    CHECKPOINT = "checkpoint"


def payment_key(key: PaymentKey) -> str:
    """`payment/<merchant_id>/<order_no>/<attempt, four digits>`."""
    return f"payment/{key.merchant_id}/{key.order_no}/{key.attempt:04d}"


def report_key(key: PaymentKey, sequence: int) -> str:
    """`report/<merchant_id>/<order_no>/<attempt>/<number>`, four digits each."""
    return f"report/{key.merchant_id}/{key.order_no}/{key.attempt:04d}/{sequence:04d}"


def equivocation_key(key: PaymentKey, sequence: int) -> str:
    """`equivocation/<merchant_id>/<order_no>/<attempt>/<number>`, four digits each."""
    return f"equivocation/{key.merchant_id}/{key.order_no}/{key.attempt:04d}/{sequence:04d}"


def registration_key(country: str, registration_no: str) -> str:
    """The index record that says whose a registration is: `registration/<country>/<number>`, the
    number in capitals and without dots and dashes, so that another spelling is the same one."""
    plain = registration_no.upper().replace(".", "").replace("-", "")
    return f"registration/{country}/{plain}"


def payments_of(merchant_id: str) -> tuple[str, str]:
    """Start (inclusive) and end (exclusive) key of one merchant's payments."""
    return f"payment/{merchant_id}/", f"payment/{merchant_id}0"


def record_key(kind: Kind, record_id: str) -> str:
    """`<kind>/<id>`, for the kinds whose id is one text."""
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
    """A public key on the ledger. Revoked keys stay: `status` is `active` or `revoked`.
    `valid_from` is the first clearing date (UTC) on which it counts, empty: from the first on."""

    algorithm: str
    jwk: dict[str, str]
    status: str = "active"
    valid_from: str = ""

    def require_active(self, day: str) -> None:
        """Raise Refusal `key_revoked` or `key_not_yet_valid` unless what it signed counts on this
        day, YYYY-MM-DD in UTC."""
        if self.status != "active":
            raise Refusal(Code.KEY_REVOKED, f"the signing key is {self.status}")
        if self.valid_from > day:
            raise Refusal(Code.KEY_NOT_YET_VALID, f"the signing key counts from {self.valid_from}")


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
    there, `keys` key ids to public keys.

    `account_id` is the account it was registered with; `accounts` holds those that its signed
    changes named after it, oldest first, as objects of account_id, valid_from (the first clearing
    date that is settled there), signed_at and tx_id.
    """

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
    accounts: list[dict[str, str]] = field(default_factory=list)
    txs: list[str] = field(default_factory=list)

    def accounts_from(self, clearing_date: str) -> list[str]:
        """The account that this clearing date (YYYY-MM-DD) is settled to, and those named for
        later ones, in their order."""
        due = sum(one["valid_from"] <= clearing_date for one in self.accounts)
        return [self.account_id, *(one["account_id"] for one in self.accounts)][due:]


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

    `reports` holds [sequence, kind, status, payload digest, transaction] of each, `response` and
    `result` the signed texts of the last response and of the result that ended it (empty until
    there is one); the texts of all others are records of their own (Kept). `close` is the
    merchant's signed close and `close_tx` its transaction (empty until there is one).

    `exceptions` holds an object of kind, sequence, digest, amount, currency, status and tx_id for
    each success that came after the end (`kind` late_success): `open` until a reversal makes it
    `resolved`. Its amount is what was paid, which need not be what was asked. `refunded_amount` is
    what of a succeeded payment was given back by refunds. `settlement` is the id of the settlement
    whose line it is, empty until there is one.
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
    close: str = ""
    close_tx: str = ""
    exceptions: list[dict[str, Any]] = field(default_factory=list)
    refunded_amount: int = 0
    settlement: str = ""
    txs: list[str] = field(default_factory=list)

    @property
    def key(self) -> PaymentKey:
        """What names it."""
        return PaymentKey(self.merchant_id, self.order_no, self.attempt)

    @property
    def sequence(self) -> int:
        """The number of the last report, 0 before the first."""
        return int(self.reports[-1][0]) if self.reports else 0

    def report(self, sequence: int) -> list[Any] | None:
        """The entry of the report with this number, None when there is none yet."""
        return self.reports[sequence - 1] if 0 < sequence <= len(self.reports) else None

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return Status(self.status).final

    @property
    def excepted(self) -> bool:
        """Whether an exception is open: money moved that the status does not tell of."""
        return any(one["status"] == "open" for one in self.exceptions)


@dataclass(frozen=True, slots=True)
class Kept:
    """The signed text of a report that the payment's record does not keep: of each but the result
    that ended it."""

    merchant_id: str
    order_no: str
    attempt: int
    sequence: int
    report: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two reports on one payment with one number, both signed with keys of its acquirer: `first`
    is the one the payment took. `key_status` is that of the second's key when it was shown, by the
    organisation `msp_id`: what a revoked key signed, somebody else may have signed with it."""

    merchant_id: str
    order_no: str
    attempt: int
    sequence: int
    acquirer_id: str
    first: str
    second: str
    key_status: str
    msp_id: str
    recorded_at: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Lease:
    """Which of an acquirer's connectors may report: `holder`, under `epoch` (from 1)."""

    acquirer_id: str
    epoch: int
    holder: str
    msp_id: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Registration:
    """Which entity has a number in its country's register."""

    country: str
    registration_no: str
    entity_id: str
    txs: list[str] = field(default_factory=list)


Record = TypeVar(
    "Record",
    Entity, Account, Relation, Merchant, MerchantCode, Acquirer, Proposal, Payment, Refund, Kept,
    Equivocation, Lease, Registration, AcquirerFile, AdjustmentRecord, Settlement,
    SettlementPart, Statement, Rule, Checkpoint,
)  # fmt: skip
_KINDS: Final[dict[type, Kind]] = {
    Entity: Kind.ENTITY,
    Account: Kind.ACCOUNT,
    Relation: Kind.RELATION,
    Merchant: Kind.MERCHANT,
    MerchantCode: Kind.MERCHANT_CODE,
    Acquirer: Kind.ACQUIRER,
    Proposal: Kind.PROPOSAL,
    Payment: Kind.PAYMENT,
    Refund: Kind.REFUND,
    Kept: Kind.REPORT,
    Equivocation: Kind.EQUIVOCATION,
    Lease: Kind.LEASE,
    Registration: Kind.REGISTRATION,
    AcquirerFile: Kind.ACQUIRER_FILE,
    AdjustmentRecord: Kind.ADJUSTMENT,
    Settlement: Kind.SETTLEMENT,
    SettlementPart: Kind.SETTLEMENT_PART,
    Statement: Kind.STATEMENT,
    Rule: Kind.RULE,
    Checkpoint: Kind.CHECKPOINT,
}
_NAMES: Final = {kind: tuple(one.name for one in fields(kind)) for kind in _KINDS}


def dump(record: Record) -> bytes:
    """A record as the canonical JSON the ledger holds; `type` names its kind."""
    kind = type(record)
    # Not asdict: it copies every list and text of what is only read here.
    shown: dict[str, Json] = {name: getattr(record, name) for name in _NAMES[kind]}
    shown["type"] = _KINDS[kind].value
    if "keys" in shown:
        shown["keys"] = {kid: asdict(key) for kid, key in shown["keys"].items()}
    return canonical.dumps(shown)


def load(kind: type[Record], data: bytes) -> Record:
    """The record in these bytes. Raises ValueError when it is of another kind or shape."""
    return from_json(kind, canonical.loads(data))


def from_json(kind: type[Record], value: Json) -> Record:
    """The record a JSON object describes. Raises ValueError for another kind or shape."""
    try:
        members = dict(value)
        if members.pop("type") != _KINDS[kind].value:
            raise ValueError(f"not a record of kind {_KINDS[kind]}")
        if "keys" in members:
            members["keys"] = {kid: KeyRecord(**key) for kid, key in members["keys"].items()}
        return kind(**members)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a record of kind {_KINDS[kind]}: {error}") from None


def touched(record: Record, tx_id: str) -> Record:
    """The record with `tx_id` as its newest transaction."""
    return replace(record, txs=[*record.txs, tx_id])
