"""SubmitReports: what an acquiring bank's signed response, unknown or result does to a payment.

An item is a JWS compact text. The checks, in their order; the first that fails names the outcome:

     1  form and closed schema of header and payload              malformed
     2  no card number in a named field                           card_data_refused
     3  signed for this network                                   network_mismatch
     4  the acquirer is registered                                acquirer_unknown
     5  the submitter's organisation owns the acquirer            role_forbidden
     6  the signing key is in the acquirer's record               key_unknown
     7  the signature, with the algorithm the record names        signature_invalid
     8  the payment is on the ledger                              payment_unknown
     9  its route is this acquirer                                acquirer_mismatch
    10  the report with this number is this one: first answer     duplicate
    11  the key is active                                         key_revoked
    12  it is about the intent on the ledger                      intent_mismatch
    13  no other report has this number                           equivocation
    14  the number is the last one's plus one                     sequence_gap
    15  amount and currency are the requested ones                amount_mismatch
    16  the payment has not ended                                 already_final
    17  its status may go there (DESIGN.md section 3)             transition_forbidden
        otherwise the payment takes the report's status           ok

An equivocation is refused; keeping both reports as evidence, and a late success after a signed
failure, are a later version's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chaincode.contract.context import Transaction
from chaincode.contract.decision import Change, Refused, Taken, refused, text_item
from chaincode.contract.overlay import Overlay, verification_key
from clearline import reports
from clearline.cards import holds_card_number
from clearline.codes import Code, Outcome, Refusal
from clearline.jws import JwsError
from clearline.records import Acquirer, Kind, Payment, payment_key, record_key, touched
from clearline.reports import Report, SignedReport, acquirer_reference
from clearline.statuses import ReportKind, Status, may_follow

# `acquirer_reference` is scanned unless it is the network's own, a digest.
_SCANNED = ("merchant_name", "merchant_code", "payer_token", "clearing_route")


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed item: the report and its digest."""

    signed: SignedReport
    digest: str

    @property
    def report(self) -> Report:
        """What the acquirer signed."""
        return self.signed.report

    @property
    def key(self) -> str:
        """The payment's ledger key."""
        return payment_key(self.report.key)


def parse(item: object) -> Statement:
    """Checks 1 and 2; raises Refusal."""
    signed = reports.parse(text_item(item))
    place = _card_data_in(signed.report)
    if place:
        raise Refusal(Code.CARD_DATA_REFUSED, f"/{place}: looks like a card number")
    return Statement(signed, signed.report.digest())


def plan(items: tuple[Statement | Refused, ...]) -> list[str]:
    """The keys these items read: payment and acquirer."""
    keys: dict[str, None] = {}
    for item in items:
        if not isinstance(item, Refused):
            keys[item.key] = None
            keys[record_key(Kind.ACQUIRER, item.report.acquirer_id)] = None
    return list(keys)


def decide(item: Statement, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 to 17, and the payment's next status when all pass."""
    report = item.report
    payment = overlay.get(Payment, item.key)
    try:
        acquirer = _verified_acquirer(item, transaction, overlay)
        if payment is None:
            raise Refusal(Code.PAYMENT_UNKNOWN, "no such payment")
        if payment.acquirer_id != report.acquirer_id:
            raise Refusal(Code.ACQUIRER_MISMATCH, f"its route is {payment.acquirer_id}")
        if report.sequence <= payment.sequence and _known(payment, item):
            # Each report added one transaction after the request's.
            first = payment.txs[report.sequence]
            return Taken(Outcome(Code.DUPLICATE, report.key, payment.status, tx_id=first))
        if acquirer.keys[item.signed.token.key_id].status != "active":
            raise Refusal(Code.KEY_REVOKED, "the signing key is revoked")
        _next(report, payment)
    except Refusal as refusal:
        status = "" if payment is None else payment.status
        return Taken(refused(refusal, report.key, status))
    changed = _changed(item, payment, transaction)
    overlay.put(item.key, changed)
    outcome = Outcome(Code.OK, report.key, changed.status, tx_id=transaction.tx_id)
    return Taken(outcome, Change(report.key, changed.status))


def _verified_acquirer(item: Statement, transaction: Transaction, overlay: Overlay) -> Acquirer:
    """Checks 3 to 7."""
    report, token = item.report, item.signed.token
    if report.network != transaction.network:
        raise Refusal(Code.NETWORK_MISMATCH, f"this is {transaction.network}")
    acquirer = overlay.get(Acquirer, record_key(Kind.ACQUIRER, report.acquirer_id))
    if acquirer is None:
        raise Refusal(Code.ACQUIRER_UNKNOWN, "no such acquirer")
    if acquirer.msp_id != transaction.submitter.msp_id:
        raise Refusal(Code.ROLE_FORBIDDEN, f"the acquirer is {acquirer.msp_id}'s")
    key = acquirer.keys.get(token.key_id)
    if key is None:
        raise Refusal(Code.KEY_UNKNOWN, "the acquirer has no such key")
    try:
        verification_key(key).verify(token)
    except JwsError as error:
        raise Refusal(Code.SIGNATURE_INVALID, str(error)) from None
    return acquirer


def _known(payment: Payment, item: Statement) -> bool:
    return bool(payment.reports[item.report.sequence - 1][3] == item.digest)


def _next(report: Report, payment: Payment) -> None:
    """Checks 12 to 17."""
    if report.intent_digest != payment.intent_digest:
        raise Refusal(Code.INTENT_MISMATCH, "the ledger's intent has another digest")
    if report.sequence <= payment.sequence:
        raise Refusal(Code.EQUIVOCATION, f"report {report.sequence} was another one")
    if report.sequence != payment.sequence + 1:
        raise Refusal(Code.SEQUENCE_GAP, f"the next report is {payment.sequence + 1}")
    if (report.amount, report.currency) != (payment.amount, payment.currency):
        raise Refusal(Code.AMOUNT_MISMATCH, f"requested were {payment.amount} {payment.currency}")
    if payment.final:
        raise Refusal(Code.ALREADY_FINAL, f"it is {payment.status}")
    if not may_follow(Status(payment.status), report.status):
        raise Refusal(
            Code.TRANSITION_FORBIDDEN, f"{report.status} does not follow {payment.status}"
        )


def _changed(item: Statement, payment: Payment, transaction: Transaction) -> Payment:
    report = item.report
    entry = [report.sequence, report.kind.value, report.status.value, item.digest]
    kept = item.signed.compact
    return touched(
        replace(
            payment,
            status=report.status.value,
            reason=report.reason.value,
            reports=[*payment.reports, entry],
            response=kept if report.kind is ReportKind.RESPONSE else payment.response,
            result=kept if report.kind is ReportKind.RESULT else payment.result,
        ),
        transaction.tx_id,
    )


def _card_data_in(report: Report) -> str | None:
    for name in _SCANNED:
        value = getattr(report, name)
        if value is not None and holds_card_number(value):
            return name
    own = acquirer_reference(report.key, report.network)
    if report.acquirer_reference != own and holds_card_number(report.acquirer_reference):
        return "acquirer_reference"
    return None
