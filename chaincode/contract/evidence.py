"""SubmitEvidence: two reports of one acquirer with one number, shown by whoever holds the second.

A bank that contradicts itself does not report it. An item is a JWS compact text: a report that the
acquirer signed and the ledger does not hold, on a payment or a refund. The checks, in their order:

     1  form and closed schema of header and payload              malformed
     2  no card number anywhere in it: else the whole call        card_data_refused
     3  signed for this network                                   network_mismatch
     4  the acquirer is registered                                acquirer_unknown
     5  the signing key is in the acquirer's record               key_unknown
     6  the signature, with the algorithm the record names        signature_invalid
     7  the payment, or the refund, is on the ledger              payment_unknown, refund_unknown
     8  its route is this acquirer                                acquirer_mismatch
     9  it took another report with this number                   no_contradiction
    10  this number's evidence is on the ledger already           duplicate
        otherwise both texts are kept                             ok

A revoked key's signature counts, and the record says that the key was revoked: who cheats could
revoke a key first, and who stole one could sign with it later. The reader weighs it.
"""

from __future__ import annotations

from chaincode.contract import refund_reports, signers, statements
from chaincode.contract.context import Transaction
from chaincode.contract.decision import Change, Refused, Taken, refused, text_item
from chaincode.contract.overlay import Overlay
from chaincode.contract.statements import AnyStatement, RefundStatement
from clearline.codes import Code, Outcome, Refusal
from clearline.records import Kind, Payment


def parse(item: object) -> AnyStatement:
    """Checks 1 and 2; raises Refusal."""
    return statements.parse(text_item(item))


def plan(items: tuple[AnyStatement | Refused, ...]) -> list[str]:
    """The keys these items read: payment, acquirer, the report's text, the evidence."""
    keys: dict[str, None] = {}
    for item in items:
        if isinstance(item, RefundStatement):
            keys |= dict.fromkeys(item.keys)
        elif not isinstance(item, Refused):
            own = (item.key, item.acquirer_key, item.kept_key, item.equivocation_key)
            keys |= dict.fromkeys(own)
    return list(keys)


def decide(item: AnyStatement, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 to 10, and the evidence when all pass."""
    if isinstance(item, RefundStatement):
        return refund_reports.show(item, transaction, overlay)
    report = item.report
    payment = overlay.get(Payment, item.key)
    try:
        acquirer = signers.acquirer_of(item.report, transaction, overlay)
        key_status = statements.key_status(item, acquirer)
        payment = statements.own_payment(item, payment)
        entry = payment.report(report.sequence)
        if entry is None or entry[3] == item.digest:
            raise Refusal(Code.NO_CONTRADICTION, f"the ledger holds no other {report.sequence}")
    except Refusal as refusal:
        return Taken(refused(refusal, report.key, "" if payment is None else payment.status))
    shown = statements.record_contradiction(item, key_status, payment, transaction, overlay)
    if shown is not None:
        return Taken(Outcome(Code.DUPLICATE, report.key, payment.status, tx_id=shown))
    outcome = Outcome(Code.OK, report.key, payment.status, tx_id=transaction.tx_id)
    return Taken(outcome, Change(report.key, payment.status, Kind.EQUIVOCATION))
