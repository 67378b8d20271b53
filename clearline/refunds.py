"""Refunds: what a merchant signs to give money back, what names it, and its record.

A refund is of one payment: (merchant_id, order_no, attempt, refund_no), refund numbers from 1 and
signed in the intent. That is its ledger key and, across all gateways, the only duplicate guard.
What the acquiring bank signs about it is a report with its `refund_no` (clearline/reports.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from clearline import canonical, intents, jws
from clearline.canonical import Json
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.intents import VERSION, PaymentKey, SignedClose, SignedIntent
from clearline.jws import Signer, Typ, Unverified
from clearline.money import Money
from clearline.schema import (
    AMOUNT,
    ATTEMPT,
    IDENTIFIER,
    NETWORK,
    ORDER_NO,
    REFUND_NO,
    Constant,
    Currency,
    Members,
    Time,
)
from clearline.statuses import Status


class RefundKey(NamedTuple):
    """What names a refund on the ledger and at every gateway."""

    merchant_id: str
    order_no: str
    attempt: int
    refund_no: int

    @property
    def payment(self) -> PaymentKey:
        """The payment that is refunded."""
        return PaymentKey(self.merchant_id, self.order_no, self.attempt)

    def __str__(self) -> str:
        return f"{self.payment}/refund {self.refund_no}"


REFUND: Final = Members(
    {
        "kind": Constant("refund"),
        "version": Constant(VERSION),
        "network": NETWORK,
        "merchant_id": IDENTIFIER,
        "order_no": ORDER_NO,
        "attempt": ATTEMPT,
        "refund_no": REFUND_NO,
        "amount": AMOUNT,
        "currency": Currency(),
        "created": Time(),
        "expires_at": Time(),
    }
)
_SCANNED: Final = ("network", "merchant_id", "order_no")


@dataclass(frozen=True, slots=True)
class RefundIntent:
    """A merchant's wish that money of a payment be given back: field for field the signed payload.
    `amount` in minor units of `currency`."""

    network: str
    merchant_id: str
    order_no: str
    attempt: int
    refund_no: int
    amount: int
    currency: str
    created: str
    expires_at: str

    @property
    def key(self) -> RefundKey:
        """The refund this intent asks for."""
        return RefundKey(self.merchant_id, self.order_no, self.attempt, self.refund_no)

    @property
    def money(self) -> Money:
        """Amount and currency."""
        return Money(self.amount, self.currency)

    def payload(self) -> dict[str, Json]:
        """The JSON object that is signed."""
        return {"kind": "refund", "version": VERSION} | asdict(self)

    def digest(self) -> str:
        """What "same intent" compares and reports name, as for a pay intent."""
        payload = self.payload()
        del payload["created"]
        return canonical.digest(payload)


@dataclass(frozen=True, slots=True)
class SignedRefund:
    """A refund intent as received: well-formed, its signature not yet verified."""

    compact: str
    token: Unverified
    intent: RefundIntent


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund of a payment: the intent as the merchant signed it, and the bank's reports on it.

    `acquirer_id` and `merchant_code` are the payment's; `amount` in minor units of `currency`.
    `reports` holds [sequence, kind, status, payload digest, transaction, signed text] of each, few
    and all here (docs/adr/0016). `contradictions` holds, for each number under which the bank has
    signed another report, an object of sequence, report (the other's text), key_status, msp_id and
    tx_id. `clearing_date` is the result's, empty until there is one, and `settlement`
    the id of the settlement whose line it is.
    """

    merchant_id: str
    order_no: str
    attempt: int
    refund_no: int
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
    contradictions: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""
    result: str = ""
    clearing_date: str = ""
    settlement: str = ""
    txs: list[str] = field(default_factory=list)

    @property
    def key(self) -> RefundKey:
        """What names it."""
        return RefundKey(self.merchant_id, self.order_no, self.attempt, self.refund_no)

    @property
    def sequence(self) -> int:
        """The number of the last report, 0 before the first."""
        return len(self.reports)

    def report(self, sequence: int) -> list[Any] | None:
        """The entry of the report with this number, None when there is none yet."""
        return self.reports[sequence - 1] if 0 < sequence <= len(self.reports) else None

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return Status(self.status).final


def refund_key(key: RefundKey) -> str:
    """`refund/<merchant_id>/<order_no>/<attempt>/<refund_no>`, four digits each."""
    return f"refund/{key.merchant_id}/{key.order_no}/{key.attempt:04d}/{key.refund_no:04d}"


def sign(intent: RefundIntent, signer: Signer) -> str:
    """The intent as a JWS compact text."""
    return jws.sign(intent.payload(), Typ.INTENT, signer)


def parse(compact: str | bytes) -> SignedRefund:
    """Take a JWS compact text as a refund intent: form, closed schema, card data; not the
    signature. Raises Refusal with `malformed` or `card_data_refused`, and where."""
    return _refund(*intents.read(compact))


def parse_any(compact: str | bytes) -> SignedIntent | SignedClose | SignedRefund:
    """The same for an intent of any kind; `kind` of the payload decides."""
    text, token, payload = intents.read(compact)
    if isinstance(payload, dict) and payload.get("kind") == "refund":
        return _refund(text, token, payload)
    return intents.of_payment(text, token, payload)


def reference(key: RefundKey, network: str) -> str:
    """The reference a refund has at its acquirer, of the same form as a payment's: a pure function
    of what names it. 40 hex digits of SHA-256."""
    return canonical.digest([network, *key.payment, "refund", key.refund_no])[:40]


def _refund(text: str, token: Unverified, payload: Json) -> SignedRefund:
    intents.check(REFUND, payload)
    fields = {name: value for name, value in payload.items() if name not in ("kind", "version")}
    intent = RefundIntent(**fields)
    if intent.expires_at <= intent.created:
        raise Refusal(Code.MALFORMED, "/expires_at: must be after created")
    for name in _SCANNED:
        if holds_card_number(getattr(intent, name)):
            raise Refusal(Code.CARD_DATA_REFUSED, f"/{name}: looks like a card number")
    return SignedRefund(text, token, intent)
