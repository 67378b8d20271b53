"""What an acquiring bank signed, as reports and evidence both read it: form, signer, what is kept.

Of a payment's reports, the result that ended it stands on the payment's own record; the text of
each other one is a record of its own (docs/adr/0006).
"""

from __future__ import annotations

from dataclasses import dataclass

from chaincode.contract import signers
from chaincode.contract.context import Transaction
from chaincode.contract.overlay import Overlay
from clearline import reports, times
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.records import (
    Acquirer,
    Equivocation,
    Kept,
    Kind,
    Payment,
    equivocation_key,
    payment_key,
    record_key,
    report_key,
)
from clearline.refunds import reference as refund_reference
from clearline.refunds import refund_key
from clearline.reports import Report, SignedReport, acquirer_reference
from clearline.statuses import ReportKind

# `acquirer_reference` is scanned unless it is the network's own, a digest.
_SCANNED = (
    "network",
    "acquirer_id",
    "merchant_id",
    "order_no",
    "merchant_name",
    "merchant_code",
    "payer_token",
    "clearing_route",
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed report, its digest, its payment's ledger key, the reference that payment has at its
    acquirer, and the epoch its submitter says is in force."""

    signed: SignedReport
    digest: str
    key: str
    reference: str
    epoch: int

    @property
    def report(self) -> Report:
        """What the acquirer signed."""
        return self.signed.report

    @property
    def kept_key(self) -> str:
        """The ledger key of this report's own record, where it has one."""
        return report_key(self.report.key, self.report.sequence)

    @property
    def equivocation_key(self) -> str:
        """The ledger key of the evidence that another report has this number."""
        return equivocation_key(self.report.key, self.report.sequence)

    @property
    def acquirer_key(self) -> str:
        """The acquirer's ledger key."""
        return record_key(Kind.ACQUIRER, self.report.acquirer_id)

    @property
    def lease_key(self) -> str:
        """The ledger key of the acquirer's lease."""
        return record_key(Kind.LEASE, self.report.acquirer_id)


@dataclass(frozen=True, slots=True)
class RefundStatement:
    """The same of a report on a refund: `key` and `reference` are the refund's."""

    signed: SignedReport
    digest: str
    key: str
    reference: str
    epoch: int

    @property
    def report(self) -> Report:
        """What the acquirer signed."""
        return self.signed.report

    @property
    def payment_key(self) -> str:
        """The ledger key of the payment that is refunded."""
        return payment_key(self.report.key)

    @property
    def acquirer_key(self) -> str:
        """The acquirer's ledger key."""
        return record_key(Kind.ACQUIRER, self.report.acquirer_id)

    @property
    def lease_key(self) -> str:
        """The ledger key of the acquirer's lease."""
        return record_key(Kind.LEASE, self.report.acquirer_id)

    @property
    def keys(self) -> tuple[str, ...]:
        """Every ledger key that it reads."""
        return (self.key, self.payment_key, self.acquirer_key, self.lease_key)


AnyStatement = Statement | RefundStatement


def parse(compact: str, epoch: int = 0) -> AnyStatement:
    """A report's form and named fields; raises Refusal `malformed` or `card_data_refused`."""
    signed = reports.parse_any(compact)
    report = signed.report
    if report.refund_no:
        reference = refund_reference(report.refund_key, report.network)
    else:
        reference = acquirer_reference(report.key, report.network)
    place = _card_data_in(report, reference)
    if place:
        raise Refusal(Code.CARD_DATA_REFUSED, f"/{place}: looks like a card number")
    if report.refund_no:
        key = refund_key(report.refund_key)
        return RefundStatement(signed, report.digest(), key, reference, epoch)
    return Statement(signed, report.digest(), payment_key(report.key), reference, epoch)


def key_status(item: AnyStatement, acquirer: Acquirer) -> str:
    """The status of the acquirer's key that signed the report; raises Refusal."""
    return signers.verified_key(item.signed.token, acquirer.keys, "acquirer").status


def own_payment(item: Statement, payment: Payment | None) -> Payment:
    """The payment, when its route is the report's acquirer; raises Refusal."""
    if payment is None:
        raise Refusal(Code.PAYMENT_UNKNOWN, "no such payment")
    if payment.acquirer_id != item.report.acquirer_id:
        raise Refusal(Code.ACQUIRER_MISMATCH, f"its route is {payment.acquirer_id}")
    return payment


def text_of(payment: Payment, sequence: int, overlay: Overlay) -> str:
    """The signed text of the report the payment took under this number."""
    if ended_by(payment) == sequence:
        return payment.result
    kept = overlay.get(Kept, report_key(payment.key, sequence))
    if kept is None:
        raise ValueError(f"report {sequence} of {payment.key} is not on the ledger")
    return kept.report


def ended_by(payment: Payment) -> int:
    """The number of the report that ended it, 0 while it has not ended: later results are of
    exceptions."""
    results = (entry[0] for entry in payment.reports if entry[1] == ReportKind.RESULT)
    return next(results, 0)


def record_contradiction(
    item: Statement, key_status: str, payment: Payment, at: Transaction, overlay: Overlay
) -> str | None:
    """Write the evidence that this report contradicts the payment's of the same number. Written
    once: the transaction that did, when an earlier item has shown such a report, else None."""
    before = overlay.get(Equivocation, item.equivocation_key)
    if before is not None:
        return before.txs[0]
    report = item.report
    evidence = Equivocation(
        merchant_id=report.merchant_id,
        order_no=report.order_no,
        attempt=report.attempt,
        sequence=report.sequence,
        acquirer_id=report.acquirer_id,
        first=text_of(payment, report.sequence, overlay),
        second=item.signed.compact,
        key_status=key_status,
        msp_id=at.submitter.msp_id,
        recorded_at=times.render(at.time),
        txs=[at.tx_id],
    )
    overlay.put(item.equivocation_key, evidence)
    return None


def _card_data_in(report: Report, own: str) -> str | None:
    for name in _SCANNED:
        value = getattr(report, name)
        if value is not None and holds_card_number(value):
            return name
    if report.acquirer_reference != own and holds_card_number(report.acquirer_reference):
        return "acquirer_reference"
    return None
