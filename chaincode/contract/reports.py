"""SubmitReports: what an acquiring bank's signed response, unknown, result or reversal does; what
its reports on a refund do is in refund_reports.py.

An item is {"report": JWS compact text, "epoch": the submitter's lease}; a bare text stands for
epoch 0, that of an acquirer without a lease. The checks, in their order; the first that fails
names the outcome:

     1  form and closed schema of item, header and payload        malformed
     2  no card number anywhere in it: else the whole call        card_data_refused
     3  signed for this network                                   network_mismatch
     4  the acquirer is registered                                acquirer_unknown
     5  the submitter's organisation owns the acquirer            role_forbidden
     6  the signing key is in the acquirer's record               key_unknown
     7  the signature, with the algorithm the record names        signature_invalid
     8  the payment is on the ledger                              payment_unknown
     9  its route is this acquirer                                acquirer_mismatch
    10  the report with this number is this one: first answer     duplicate
    11  the epoch is the one in force                             lease_lost
    12  the key is active                                         key_revoked
    13  no other report has this number: else both are kept       equivocation
    14  it is about the intent on the ledger                      intent_mismatch
    15  the number is the last one's plus one                     sequence_gap
    16  amount and currency are the requested ones; after the
        end only a reversal's, and those are the exception's      amount_mismatch
        ... the acquirer's reference is this payment's            reference_mismatch
        ... and the merchant code, where money is or comes in     reported_code_mismatch
    17  a success after an end without one: an open exception     late_success
    18  a reversal of it says the status that stands              transition_forbidden
    19  anything else after the end                               already_final
    20  its status may go there (docs/architecture.md)         transition_forbidden
        otherwise the payment takes it                            ok

`late_success` takes the report, whatever amount was paid: the status stays, and until a reversal
resolves the exception no further attempt is taken. `equivocation` refuses it, but keeps it as
evidence beside the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from chaincode.contract import leases, refund_reports, signers, statements
from chaincode.contract.context import Transaction
from chaincode.contract.decision import Change, Refused, Taken, refused
from chaincode.contract.overlay import Overlay
from chaincode.contract.statements import AnyStatement, RefundStatement, Statement
from clearline.codes import Code, Outcome, Refusal
from clearline.records import Kept, Kind, Payment
from clearline.reports import Report
from clearline.schema import EPOCH, JWS_TEXT, Members, SchemaError
from clearline.statuses import ReportKind, Status, may_follow

LATE_SUCCESS = "late_success"  # the one kind of exception there is yet
OPEN, RESOLVED = "open", "resolved"
Value = TypeVar("Value")
_ITEM = Members({"report": JWS_TEXT, "epoch": EPOCH})


def parse(item: object) -> AnyStatement:
    """Checks 1 and 2; raises Refusal."""
    if isinstance(item, str):
        return statements.parse(item)
    try:
        _ITEM.check(item, "")
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    assert isinstance(item, dict)  # noqa: S101 - the schema has just said so
    return statements.parse(item["report"], item["epoch"])


def plan(
    items: tuple[AnyStatement | Refused, ...], committed: Mapping[str, bytes | None]
) -> list[str]:
    """The keys these items read: payment, acquirer, lease; and once the payments are read, of the
    few that contradict or come late, the report's own record and the evidence.

    The usual report - a response, or the result that ends a payment - needs no second reading.
    """
    keys: dict[str, None] = {}
    sound = [item for item in items if isinstance(item, Statement)]
    numbers = _repeated((item.key, item.report.sequence) for item in sound)
    results = _repeated(item.key for item in sound if item.report.kind is ReportKind.RESULT)
    overlay = Overlay(committed)
    for item in sound:
        keys |= dict.fromkeys((item.key, item.acquirer_key, item.lease_key))
        before = overlay.get(Payment, item.key) if item.key in committed else None
        entry = None if before is None else before.report(item.report.sequence)
        contradicts = (item.key, item.report.sequence) in numbers or (
            entry is not None and entry[3] != item.digest
        )
        late = item.key in results or (before is not None and before.final)
        if contradicts or late or item.report.kind is not ReportKind.RESULT:
            keys[item.kept_key] = None
        if contradicts:
            keys[item.equivocation_key] = None
    for other in items:
        if isinstance(other, RefundStatement):
            keys |= dict.fromkeys(other.keys)
    return list(keys)


def decide(item: AnyStatement, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 to 20, and what the report does when it is taken."""
    if isinstance(item, RefundStatement):
        return refund_reports.decide(item, transaction, overlay)
    report = item.report
    payment = overlay.get(Payment, item.key)
    try:
        acquirer = signers.own_acquirer(item.report, transaction, overlay)
        key_status = statements.key_status(item, acquirer)
        payment = statements.own_payment(item, payment)
        entry = payment.report(report.sequence)
        if entry is not None and entry[3] == item.digest:
            return Taken(Outcome(Code.DUPLICATE, report.key, payment.status, tx_id=entry[4]))
        leases.require_in_force(item.epoch, item.lease_key, overlay)
        if key_status != "active":
            raise Refusal(Code.KEY_REVOKED, "the signing key is revoked")
        if entry is not None:
            return _contradicts(item, key_status, payment, transaction, overlay)
        code = _next(item, payment)
    except Refusal as refusal:
        status = "" if payment is None else payment.status
        return Taken(refused(refusal, report.key, status))
    changed = _changed(item, code, payment, transaction)
    overlay.put(item.key, changed)
    if statements.ended_by(changed) != report.sequence:
        overlay.put(item.kept_key, _kept(item, transaction))
    outcome = Outcome(code, report.key, changed.status, tx_id=transaction.tx_id)
    return Taken(outcome, Change(report.key, changed.status))


def _contradicts(
    item: Statement,
    key_status: str,
    payment: Payment,
    transaction: Transaction,
    overlay: Overlay,
) -> Taken:
    """Refuses the report, and keeps it: the first time with an entry in the event."""
    report = item.report
    shown = statements.record_contradiction(item, key_status, payment, transaction, overlay)
    detail = f"report {report.sequence} was another one; both are kept as evidence"
    tx_id = shown or transaction.tx_id
    outcome = Outcome(Code.EQUIVOCATION, report.key, payment.status, detail, tx_id)
    if shown is not None:
        return Taken(outcome)
    return Taken(outcome, Change(report.key, payment.status, Kind.EQUIVOCATION))


def _next(item: Statement, payment: Payment) -> Code:
    """Checks 14 to 20: `ok` or `late_success`; raises Refusal for all else."""
    report = item.report
    if report.intent_digest != payment.intent_digest:
        raise Refusal(Code.INTENT_MISMATCH, "the ledger's intent has another digest")
    if report.sequence != payment.sequence + 1:
        raise Refusal(Code.SEQUENCE_GAP, f"the next report is {payment.sequence + 1}")
    asked = (payment.amount, payment.currency)
    if not payment.final and (report.amount, report.currency) != asked:
        raise Refusal(Code.AMOUNT_MISMATCH, f"requested were {payment.amount} {payment.currency}")
    if report.acquirer_reference != item.reference:
        raise Refusal(Code.REFERENCE_MISMATCH, "the payment has another reference there")
    # A refusal or a close may name any code: it says where money did not go.
    paid = report.status in (Status.ACCEPTED, Status.SUCCEEDED)
    if paid and report.merchant_code not in (None, payment.merchant_code):
        raise Refusal(Code.REPORTED_CODE_MISMATCH, f"the payment's code is {payment.merchant_code}")
    if payment.final:
        return _after_end(report, payment)
    if report.kind is ReportKind.REVERSAL or not may_follow(Status(payment.status), report.status):
        raise Refusal(
            Code.TRANSITION_FORBIDDEN,
            f"a {report.kind} {report.status} does not follow {payment.status}",
        )
    return Code.OK


def _after_end(report: Report, payment: Payment) -> Code:
    """Checks 16 to 19."""
    if report.kind is ReportKind.REVERSAL and payment.excepted:
        paid = next((one["amount"], one["currency"]) for one in payment.exceptions
                    if one["status"] == OPEN)  # fmt: skip
        if (report.amount, report.currency) != paid:
            raise Refusal(Code.AMOUNT_MISMATCH, f"to be given back are {paid[0]} {paid[1]}")
        if report.status != payment.status:
            raise Refusal(Code.TRANSITION_FORBIDDEN, f"it is {payment.status}, and stays so")
        return Code.OK
    succeeds = report.kind is ReportKind.RESULT and report.status is Status.SUCCEEDED
    if succeeds and payment.status != Status.SUCCEEDED and not payment.excepted:
        return Code.LATE_SUCCESS
    exception = ", with an open late success" if payment.excepted else ""
    raise Refusal(Code.ALREADY_FINAL, f"it is {payment.status}{exception}")


def _changed(item: Statement, code: Code, payment: Payment, transaction: Transaction) -> Payment:
    """The payment with this report: after the end only the list of reports and the exceptions
    change."""
    report = item.report
    kind, status = report.kind.value, report.status.value
    entry = [report.sequence, kind, status, item.digest, transaction.tx_id]
    told: dict[str, Any] = {
        "reports": [*payment.reports, entry],
        "txs": [*payment.txs, transaction.tx_id],
    }
    if code is Code.LATE_SUCCESS:
        exception = {
            "kind": LATE_SUCCESS,
            "sequence": report.sequence,
            "digest": item.digest,
            "amount": report.amount,
            "currency": report.currency,
            "status": OPEN,
            "tx_id": transaction.tx_id,
        }
        told["exceptions"] = [*payment.exceptions, exception]
    elif report.kind is ReportKind.REVERSAL:
        told["exceptions"] = [one | {"status": RESOLVED} for one in payment.exceptions]
    else:
        told |= {"status": status, "reason": report.reason.value}
        if report.kind in (ReportKind.RESPONSE, ReportKind.RESULT):
            told[report.kind.value] = item.signed.compact
    return replace(payment, **told)


def _kept(item: Statement, transaction: Transaction) -> Kept:
    report = item.report
    return Kept(
        merchant_id=report.merchant_id,
        order_no=report.order_no,
        attempt=report.attempt,
        sequence=report.sequence,
        report=item.signed.compact,
        txs=[transaction.tx_id],
    )


def _repeated(values: Iterable[Value]) -> frozenset[Value]:
    """Those that come more than once; to be asked, never to be walked through."""
    first: dict[Value, None] = {}
    again: list[Value] = []
    for value in values:
        if value in first:
            again.append(value)
        first[value] = None
    return frozenset(again)
