"""Reports: what the acquiring bank signs about a payment - response, unknown, result, reversal -
and about a refund of one: response, unknown, result.

They are numbered from 1 per payment, and per refund; two different signed reports with one number
are an equivocation. The native message stays at the bank: its salted digest is in the report.
Version 1 carries every field supervision needs; adding one later changes a signed format. A report
about a refund is an object of its own: the same members and `refund_no`, which no other has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from clearline import canonical, jws
from clearline.canonical import CanonicalError, Json
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.jws import JwsError, Signer, Typ, Unverified
from clearline.refunds import RefundKey
from clearline.schema import (
    AMOUNT,
    ATTEMPT,
    IDENTIFIER,
    MCC,
    MERCHANT_CODE,
    NETWORK,
    ORDER_NO,
    REFUND_NO,
    SHA256_HEX,
    TOKEN,
    Constant,
    Currency,
    Date,
    Integer,
    Members,
    Nullable,
    OneOf,
    Printable,
    SchemaError,
    Shape,
    Text,
    Time,
)
from clearline.statuses import REFUND_STATUSES_OF, STATUSES_OF, Reason, ReportKind, Status

VERSION: Final = 1
REFERENCE: Final = Text("[A-Za-z0-9._-]{1,64}", "must be 1 to 64 of A-Z a-z 0-9 . _ -")
# In the enumeration's order: the contract quotes them, and endorsers must quote alike.
_STATUSES: Final = tuple(
    status for status in Status if any(status in said for said in STATUSES_OF.values())
)
_MEMBERS: Final[dict[str, Shape]] = {
    "kind": OneOf(tuple(ReportKind)),
    "version": Constant(VERSION),
    "network": NETWORK,
    "acquirer_id": IDENTIFIER,
    "merchant_id": IDENTIFIER,
    "order_no": ORDER_NO,
    "attempt": ATTEMPT,
    "intent_digest": SHA256_HEX,
    "sequence": Integer(1, 9999),
    "status": OneOf(_STATUSES),
    "reason": OneOf(tuple(Reason)),
    "amount": AMOUNT,
    "currency": Currency(),
    "acquirer_reference": REFERENCE,
    "merchant_name": Nullable(Printable(64)),
    "merchant_code": Nullable(MERCHANT_CODE),
    "mcc": Nullable(MCC),
    "payer_token": Nullable(TOKEN),
    "clearing_route": Nullable(REFERENCE),
    "clearing_date": Nullable(Date()),
    "forwarded_at": Nullable(Time()),
    "answered_at": Nullable(Time()),
    "ended_at": Nullable(Time()),
    "native_digest": Nullable(SHA256_HEX),
}
REPORT: Final = Members(_MEMBERS)
REFUND_REPORT: Final = Members(_MEMBERS | {"refund_no": REFUND_NO})


@dataclass(frozen=True, slots=True)
class Report:
    """One signed statement of the acquirer: field for field the payload.

    `amount` and `currency` are as the acquirer saw them; `merchant_name`, `merchant_code`, `mcc`,
    `payer_token` as the acquirer knows them (null when its answer did not say). `refund_no` is 0
    in a report about the payment itself, and then no member of the payload.
    """

    kind: ReportKind
    network: str
    acquirer_id: str
    merchant_id: str
    order_no: str
    attempt: int
    intent_digest: str
    sequence: int
    status: Status
    reason: Reason
    amount: int
    currency: str
    acquirer_reference: str
    merchant_name: str | None = None
    merchant_code: str | None = None
    mcc: str | None = None
    payer_token: str | None = None
    clearing_route: str | None = None
    clearing_date: str | None = None
    forwarded_at: str | None = None
    answered_at: str | None = None
    ended_at: str | None = None
    native_digest: str | None = None
    refund_no: int = 0

    @property
    def key(self) -> PaymentKey:
        """The payment this report is about."""
        return PaymentKey(self.merchant_id, self.order_no, self.attempt)

    @property
    def refund_key(self) -> RefundKey:
        """The refund this report is about; it must be about one."""
        return RefundKey(self.merchant_id, self.order_no, self.attempt, self.refund_no)

    def payload(self) -> dict[str, Json]:
        """The JSON object that is signed."""
        # Not asdict, which copies: every member is a text, an integer or null.
        names = _REFUND_NAMES if self.refund_no else _NAMES
        return {name: getattr(self, name) for name in names} | {
            "kind": self.kind.value,
            "status": self.status.value,
            "reason": self.reason.value,
            "version": VERSION,
        }

    def digest(self) -> str:
        """SHA-256 of the payload, 64 hex digits: two reports with one number and other digests
        are an equivocation."""
        return canonical.digest(self.payload())


_REFUND_NAMES: Final = tuple(field.name for field in fields(Report))
_NAMES: Final = tuple(name for name in _REFUND_NAMES if name != "refund_no")


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A report as received: well-formed, its signature not yet verified."""

    compact: str
    token: Unverified
    report: Report


def sign(report: Report, signer: Signer) -> str:
    """The report as a JWS compact text."""
    return jws.sign(report.payload(), Typ.REPORT, signer)


def parse(compact: str | bytes) -> SignedReport:
    """Take a JWS compact text as a report on a payment: form and closed schema, not the signature.

    Raises Refusal with `malformed` and where.
    """
    return _report(*_read(compact), REPORT, STATUSES_OF)


def parse_refund(compact: str | bytes) -> SignedReport:
    """The same for a report on a refund."""
    return _report(*_read(compact), REFUND_REPORT, REFUND_STATUSES_OF)


def parse_any(compact: str | bytes) -> SignedReport:
    """The same for either; `refund_no` in the payload decides."""
    text, token, payload = _read(compact)
    if isinstance(payload, dict) and "refund_no" in payload:
        return _report(text, token, payload, REFUND_REPORT, REFUND_STATUSES_OF)
    return _report(text, token, payload, REPORT, STATUSES_OF)


def _read(compact: str | bytes) -> tuple[str, Unverified, Json]:
    text = compact.decode("ascii", "replace") if isinstance(compact, bytes) else compact
    try:
        token = jws.take_apart(text)
        if token.typ is not Typ.REPORT:
            raise JwsError(f"typ must be {Typ.REPORT}")
        return text, token, canonical.loads(token.payload)
    except (JwsError, CanonicalError) as error:
        raise Refusal(Code.MALFORMED, str(error)) from None


def _report(
    text: str,
    token: Unverified,
    payload: Json,
    shape: Members,
    statuses: Mapping[ReportKind, frozenset[Status]],
) -> SignedReport:
    try:
        shape.check(payload, "")
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    members = {name: value for name, value in payload.items() if name != "version"}
    kind, status = ReportKind(members.pop("kind")), Status(members.pop("status"))
    if status not in statuses.get(kind, ()):
        raise Refusal(Code.MALFORMED, f"/status: a {kind} can't say {status}")
    reason = Reason(members.pop("reason"))
    if kind is ReportKind.REVERSAL and reason is not Reason.REVERSED:
        raise Refusal(Code.MALFORMED, f"/reason: a {kind} says {Reason.REVERSED}")
    return SignedReport(text, token, Report(kind=kind, status=status, reason=reason, **members))


def acquirer_reference(key: PaymentKey, network: str) -> str:
    """The reference a payment has at its acquirer: a pure function of what names it, so that the
    acquirer's own duplicate check fences the money. 40 hex digits of SHA-256."""
    return canonical.digest([network, *key])[:40]
