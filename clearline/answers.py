"""What a gateway answers about a payment, as its REST clients see it.

An outcome proves itself: `result` is the bank-signed text, `tx_id` and `block_number` say where
it is on the ledger. A `received` payment is not on the ledger: it carries the gateway's receipt.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final

from clearline import canonical, jws
from clearline.canonical import CanonicalError, Json
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.jws import JwsError, Signer, Typ, Unverified
from clearline.refunds import RefundKey
from clearline.schema import (
    ATTEMPT,
    IDENTIFIER,
    NETWORK,
    ORDER_NO,
    SHA256_HEX,
    Members,
    SchemaError,
    Time,
)
from clearline.statuses import Status

RECEIPT: Final = Members(
    {
        "network": NETWORK,
        "gateway": IDENTIFIER,
        "merchant_id": IDENTIFIER,
        "order_no": ORDER_NO,
        "attempt": ATTEMPT,
        "intent_digest": SHA256_HEX,
        "received_at": Time(),
        "deadline": Time(),
    }
)


EXCEPTION_MEMBERS: Final = ("kind", "sequence", "amount", "currency", "status", "tx_id")


@dataclass(frozen=True, slots=True)
class PaymentAnswer:
    """A payment at a gateway. `amount` in minor units; `tx_id` and `block_number` are those of
    its newest change, null while it is only received; `response`, `result`, `receipt` and `close`
    (the merchant's own) are JWS compact texts, null until there is one. `exceptions`: what came
    after the end, as on the ledger: an object of EXCEPTION_MEMBERS each, `open` or `resolved`.
    `refunded_amount`: what refunds have given back of it."""

    merchant_id: str
    order_no: str
    attempt: int
    status: str
    final: bool
    amount: int
    currency: str
    acquirer_id: str
    intent_digest: str
    reason: str = ""
    response: str | None = None
    result: str | None = None
    receipt: str | None = None
    tx_id: str | None = None
    block_number: int | None = None
    close: str | None = None
    exceptions: tuple[Json, ...] = ()
    refunded_amount: int = 0

    @property
    def key(self) -> PaymentKey:
        """What names the payment."""
        return PaymentKey(self.merchant_id, self.order_no, self.attempt)

    def to_json(self) -> dict[str, Json]:
        """The object that travels."""
        # Not asdict, which looks into every text; an exception's object holds texts and integers.
        shown: dict[str, Json] = {name: getattr(self, name) for name in _PAYMENT_MEMBERS}
        shown["exceptions"] = [dict(one) for one in self.exceptions]
        return shown

    @classmethod
    def from_json(cls, value: Json) -> PaymentAnswer:
        """The answer an object describes; members it does not know are left out.

        Raises ValueError for an object that lacks one.
        """
        if not isinstance(value, dict):
            raise ValueError("not a payment: not an object")
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        if isinstance(known.get("exceptions"), list):
            known["exceptions"] = tuple(known["exceptions"])
        try:
            answer = cls(**known)
            Status(answer.status)
        except TypeError:
            raise ValueError("not a payment: a member is missing") from None
        return answer


_PAYMENT_MEMBERS: Final = tuple(one.name for one in fields(PaymentAnswer))


@dataclass(frozen=True, slots=True)
class RefundAnswer:
    """A refund at a gateway, its members as those of a PaymentAnswer; `clearing_date` is the
    result's, empty until there is one."""

    merchant_id: str
    order_no: str
    attempt: int
    refund_no: int
    status: str
    final: bool
    amount: int
    currency: str
    acquirer_id: str
    intent_digest: str
    reason: str = ""
    clearing_date: str = ""
    result: str | None = None
    receipt: str | None = None
    tx_id: str | None = None
    block_number: int | None = None

    @property
    def key(self) -> RefundKey:
        """What names the refund."""
        return RefundKey(self.merchant_id, self.order_no, self.attempt, self.refund_no)

    def to_json(self) -> dict[str, Json]:
        """The object that travels."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Json) -> RefundAnswer:
        """The answer an object describes; members it does not know are left out.

        Raises ValueError for an object that lacks one.
        """
        if not isinstance(value, dict):
            raise ValueError("not a refund: not an object")
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        try:
            answer = cls(**known)
            Status(answer.status)
        except TypeError:
            raise ValueError("not a refund: a member is missing") from None
        return answer


@dataclass(frozen=True, slots=True)
class Receipt:
    """A gateway's signed word that it holds an intent on stable storage and will have put it on
    the ledger, or answered why not, by `deadline`: a dropped request can be proven."""

    network: str
    gateway: str
    merchant_id: str
    order_no: str
    attempt: int
    intent_digest: str
    received_at: str
    deadline: str


def sign_receipt(receipt: Receipt, signer: Signer) -> str:
    """The receipt as a JWS compact text."""
    return jws.sign(asdict(receipt), Typ.RECEIPT, signer)


def parse_receipt(compact: str) -> tuple[Receipt, Unverified]:
    """Take a receipt apart; the caller verifies its signature. Raises Refusal `malformed`."""
    try:
        token = jws.take_apart(compact)
        if token.typ is not Typ.RECEIPT:
            raise JwsError(f"typ must be {Typ.RECEIPT}")
        payload = canonical.loads(token.payload)
        RECEIPT.check(payload, "")
    except (JwsError, CanonicalError, SchemaError) as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    return Receipt(**payload), token
