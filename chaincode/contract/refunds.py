"""SubmitIntents, of a refund: what makes a merchant's signed refund a record on the ledger.

An item is {"intent": JWS compact text}. The checks, in their order, after the form and card data of
every intent:

     3  signed for this network                                   network_mismatch
     4  the merchant is registered                                merchant_unknown
     5  the signing key is in the merchant's record               key_unknown
     6  the signature, with the algorithm the record names        signature_invalid
     7  this refund's intent is this one: its first answer        duplicate
     8  the key is active, and its day has come    key_revoked, key_not_yet_valid
     9  no other intent has this refund's key                     conflict
    10  the payment is on the ledger                              payment_unknown
    11  it succeeded, or a late success of it is open             not_refundable
    12  the currency is the payment's, the amount at most what
        is left of it; of a late success all that was paid        refund_amount_refused
    13  created no more than five minutes after the transaction   not_yet_valid
    14  not expired at the transaction's time                     expired
    15  the refund before is there and has ended                  refund_out_of_order
        otherwise the refund is requested                         ok

One refund of a payment is open at a time, so what is left is the amount less `refunded_amount`.
Whatever the merchant's status, and whatever its acquirer's: a refund brings no money in, and who
has paid must get it back.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaincode.contract import signers
from chaincode.contract.context import Transaction
from chaincode.contract.decision import Change, Taken, refused
from chaincode.contract.overlay import Overlay
from clearline.codes import Code, Outcome, Refusal
from clearline.money import Money
from clearline.records import Kind, Payment, payment_key
from clearline.refunds import Refund, RefundIntent, SignedRefund, refund_key
from clearline.statuses import Status


@dataclass(frozen=True, slots=True)
class Refunding:
    """A parsed refund."""

    signed: SignedRefund

    @property
    def intent(self) -> RefundIntent:
        """What the merchant signed."""
        return self.signed.intent

    @property
    def key(self) -> str:
        """The payment's ledger key."""
        return payment_key(self.intent.key.payment)

    @property
    def refund_keys(self) -> tuple[str, ...]:
        """The ledger keys of this refund and of the one before it, if there must be one."""
        key = self.intent.key
        numbers = (key.refund_no, key.refund_no - 1)
        return tuple(refund_key(key._replace(refund_no=number)) for number in numbers if number)


def decide(item: Refunding, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 to 15, and the refund when all pass."""
    intent, digest = item.intent, item.intent.digest()
    own, *earlier = item.refund_keys
    before = overlay.get(Refund, own)
    try:
        merchant = signers.verified_merchant(item.signed, transaction, overlay)
        if before is not None and before.intent_digest == digest:
            return Taken(Outcome(Code.DUPLICATE, intent.key, before.status, tx_id=before.txs[0]))
        merchant.keys[item.signed.token.key_id].require_active(transaction.day)
        if before is not None:
            raise Refusal(Code.CONFLICT, "another intent has this refund's key")
        payment = overlay.get(Payment, item.key)
        if payment is None:
            raise Refusal(Code.PAYMENT_UNKNOWN, "no such payment")
        _amount(intent, payment)
        signers.require_in_time(intent, transaction)
        _in_order(intent, earlier, overlay)
    except Refusal as refusal:
        return Taken(refused(refusal, intent.key, "" if before is None else before.status))
    refund = Refund(
        merchant_id=intent.merchant_id,
        order_no=intent.order_no,
        attempt=intent.attempt,
        refund_no=intent.refund_no,
        status=Status.REQUESTED.value,
        acquirer_id=payment.acquirer_id,
        merchant_code=payment.merchant_code,
        amount=intent.amount,
        currency=intent.currency,
        intent=item.signed.compact,
        intent_digest=digest,
        expires_at=intent.expires_at,
        msp_id=transaction.submitter.msp_id,
        requested_at=transaction.at,
        txs=[transaction.tx_id],
    )
    overlay.put(own, refund)
    outcome = Outcome(Code.OK, intent.key, refund.status, tx_id=transaction.tx_id)
    return Taken(outcome, Change(intent.key.payment, refund.status, Kind.REFUND))


def _amount(intent: RefundIntent, payment: Payment) -> None:
    """Checks 11 and 12."""
    asked = (intent.amount, intent.currency)
    if payment.status == Status.SUCCEEDED:
        left = payment.amount - payment.refunded_amount
        if intent.currency != payment.currency or intent.amount > left:
            money = Money(left, payment.currency)
            raise Refusal(Code.REFUND_AMOUNT_REFUSED, f"{money} is left to be given back")
        return
    open_ = [(one["amount"], one["currency"]) for one in payment.exceptions
             if one["status"] == "open"]  # fmt: skip
    if not open_:
        raise Refusal(Code.NOT_REFUNDABLE, f"it is {payment.status}")
    if asked not in open_:
        money = Money(*open_[0])
        raise Refusal(Code.REFUND_AMOUNT_REFUSED, f"paid after the end, and due whole: {money}")


def _in_order(intent: RefundIntent, earlier: list[str], overlay: Overlay) -> None:
    """Check 15. What holds for each pair of refunds holds for a payment's all."""
    if not earlier:
        return
    before = overlay.get(Refund, earlier[0])
    if before is None or not before.final:
        state = "is not on the ledger" if before is None else f"is {before.status}"
        raise Refusal(Code.REFUND_OUT_OF_ORDER, f"refund {intent.refund_no - 1} {state}")
