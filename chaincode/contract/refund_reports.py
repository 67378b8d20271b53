"""SubmitReports and SubmitEvidence, of a refund: what the acquiring bank's signed response, unknown
or result does to it, and to its payment.

An item is that of a report on a payment; its payload names a `refund_no`. The checks are those of
reports.py in their order, held against the refund's record, with these differences:

     8  the refund is on the ledger                               refund_unknown
    13  another report with this number is kept on the refund     equivocation
    16  amount and currency are the refund's                      amount_mismatch
    19  anything after the end                                    already_final

A refund that succeeds moves its payment's `refunded_amount`; of a payment with an open late success
it resolves that instead. Reports on a refund are few, so the record keeps their texts itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chaincode.contract import leases, signers, statements
from chaincode.contract.context import Transaction
from chaincode.contract.decision import Change, Taken, refused
from chaincode.contract.overlay import Overlay
from chaincode.contract.statements import RefundStatement
from clearline.codes import Code, Outcome, Refusal
from clearline.records import Kind, Payment
from clearline.refunds import Refund
from clearline.statuses import ReportKind, Status, may_follow


def decide(item: RefundStatement, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 to 20, and what the report does when it is taken."""
    key, refund = item.report.refund_key, overlay.get(Refund, item.key)
    try:
        acquirer = signers.own_acquirer(item.report, transaction, overlay)
        key_status = statements.key_status(item, acquirer)
        refund = _own(item, refund)
        entry = refund.report(item.report.sequence)
        if entry is not None and entry[3] == item.digest:
            return Taken(Outcome(Code.DUPLICATE, key, refund.status, tx_id=entry[4]))
        leases.require_in_force(item.epoch, item.lease_key, overlay)
        if key_status != "active":
            raise Refusal(Code.KEY_REVOKED, "the signing key is revoked")
        if entry is not None:
            return _contradicts(item, key_status, refund, transaction, overlay)
        _require_next(item, refund)
    except Refusal as refusal:
        return Taken(refused(refusal, key, "" if refund is None else refund.status))
    changed = _changed(item, refund, transaction)
    overlay.put(item.key, changed)
    if changed.status == Status.SUCCEEDED:
        _give_back(item, changed, transaction, overlay)
    outcome = Outcome(Code.OK, key, changed.status, tx_id=transaction.tx_id)
    return Taken(outcome, Change(key.payment, changed.status, Kind.REFUND))


def show(item: RefundStatement, transaction: Transaction, overlay: Overlay) -> Taken:
    """Evidence: checks 3 to 10 of evidence.py, and the other report kept when all pass."""
    key, refund = item.report.refund_key, overlay.get(Refund, item.key)
    try:
        acquirer = signers.acquirer_of(item.report, transaction, overlay)
        key_status = statements.key_status(item, acquirer)
        refund = _own(item, refund)
        entry = refund.report(item.report.sequence)
        if entry is None or entry[3] == item.digest:
            raise Refusal(Code.NO_CONTRADICTION, "the ledger holds no other with this number")
    except Refusal as refusal:
        return Taken(refused(refusal, key, "" if refund is None else refund.status))
    shown = _keep(item, key_status, refund, transaction, overlay)
    if shown is not None:
        return Taken(Outcome(Code.DUPLICATE, key, refund.status, tx_id=shown))
    outcome = Outcome(Code.OK, key, refund.status, tx_id=transaction.tx_id)
    return Taken(outcome, Change(key.payment, refund.status, Kind.EQUIVOCATION))


def _own(item: RefundStatement, refund: Refund | None) -> Refund:
    """Checks 8 and 9."""
    if refund is None:
        raise Refusal(Code.REFUND_UNKNOWN, "no such refund")
    if refund.acquirer_id != item.report.acquirer_id:
        raise Refusal(Code.ACQUIRER_MISMATCH, f"its acquirer is {refund.acquirer_id}")
    return refund


def _contradicts(
    item: RefundStatement,
    key_status: str,
    refund: Refund,
    transaction: Transaction,
    overlay: Overlay,
) -> Taken:
    """Refuses the report, and keeps it: the first time with an entry in the event."""
    key = item.report.refund_key
    shown = _keep(item, key_status, refund, transaction, overlay)
    detail = f"report {item.report.sequence} was another one; both are kept as evidence"
    tx_id = shown or transaction.tx_id
    outcome = Outcome(Code.EQUIVOCATION, key, refund.status, detail, tx_id)
    if shown is not None:
        return Taken(outcome)
    return Taken(outcome, Change(key.payment, refund.status, Kind.EQUIVOCATION))


def _keep(
    item: RefundStatement,
    key_status: str,
    refund: Refund,
    transaction: Transaction,
    overlay: Overlay,
) -> str | None:
    """Keep a contradicting report on the refund, one a number: the transaction that did, when an
    earlier item has shown such a report, else None."""
    sequence = item.report.sequence
    for one in refund.contradictions:
        if one["sequence"] == sequence:
            return str(one["tx_id"])
    kept = {
        "sequence": sequence,
        "report": item.signed.compact,
        "key_status": key_status,
        "msp_id": transaction.submitter.msp_id,
        "tx_id": transaction.tx_id,
    }
    contradictions = [*refund.contradictions, kept]
    txs = [*refund.txs, transaction.tx_id]
    overlay.put(item.key, replace(refund, contradictions=contradictions, txs=txs))
    return None


def _require_next(item: RefundStatement, refund: Refund) -> None:
    """Checks 14 to 20."""
    report = item.report
    if report.intent_digest != refund.intent_digest:
        raise Refusal(Code.INTENT_MISMATCH, "the ledger's intent has another digest")
    if report.sequence != refund.sequence + 1:
        raise Refusal(Code.SEQUENCE_GAP, f"the next report is {refund.sequence + 1}")
    if (report.amount, report.currency) != (refund.amount, refund.currency):
        raise Refusal(Code.AMOUNT_MISMATCH, f"requested were {refund.amount} {refund.currency}")
    if report.acquirer_reference != item.reference:
        raise Refusal(Code.REFERENCE_MISMATCH, "the refund has another reference there")
    moves = report.status in (Status.ACCEPTED, Status.SUCCEEDED)
    if moves and report.merchant_code not in (None, refund.merchant_code):
        raise Refusal(Code.REPORTED_CODE_MISMATCH, f"the payment's code is {refund.merchant_code}")
    if refund.final:
        raise Refusal(Code.ALREADY_FINAL, f"it is {refund.status}")
    if not may_follow(Status(refund.status), report.status):
        raise Refusal(
            Code.TRANSITION_FORBIDDEN,
            f"a {report.kind} {report.status} does not follow {refund.status}",
        )


def _changed(item: RefundStatement, refund: Refund, transaction: Transaction) -> Refund:
    """The refund with this report."""
    report, compact, tx_id = item.report, item.signed.compact, transaction.tx_id
    kind, status = report.kind.value, report.status.value
    told: dict[str, Any] = {
        "status": status,
        "reason": report.reason.value,
        "reports": [
            *refund.reports,
            [report.sequence, kind, status, item.digest, tx_id, compact],
        ],
        "txs": [*refund.txs, tx_id],
    }
    if report.kind is ReportKind.RESULT:
        told |= {"result": compact, "clearing_date": report.clearing_date or ""}
    return replace(refund, **told)


def _give_back(
    item: RefundStatement, refund: Refund, transaction: Transaction, overlay: Overlay
) -> None:
    """What a refund that succeeded means for its payment: less of it is left, or the late success
    is resolved. One that a reversal resolved meanwhile stays as it is."""
    payment = overlay.get(Payment, item.payment_key)
    if payment is None:
        raise ValueError(f"the payment of {refund.key} is not on the ledger")
    changed: dict[str, Any] = {"txs": [*payment.txs, transaction.tx_id]}
    if payment.status == Status.SUCCEEDED:
        changed["refunded_amount"] = payment.refunded_amount + refund.amount
    elif payment.excepted:
        changed["exceptions"] = [one | {"status": "resolved"} for one in payment.exceptions]
    else:
        return
    overlay.put(item.payment_key, replace(payment, **changed))
