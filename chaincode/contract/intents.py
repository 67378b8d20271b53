"""SubmitIntents: what makes a merchant's pay intent a payment on the ledger, and a close its end;
what makes a refund is in refunds.py.

An item is {"intent": JWS compact text, "acquirer_id": the route the gateway chose} for a pay
intent, {"intent": JWS compact text} for a close or a refund. The checks, in their order; the first
that fails names the outcome:

     1  form and closed schema of item, header, payload           malformed
     2  no card number anywhere in it: else the whole call        card_data_refused
     3  signed for this network                                   network_mismatch
     4  the merchant is registered                                merchant_unknown
     5  the signing key is in the merchant's record               key_unknown
     6  the signature, with the algorithm the record names        signature_invalid
     7  this payment's intent is this one: its first answer       duplicate
     8  the key is active, and its day has come    key_revoked, key_not_yet_valid
     9  no other intent has this payment's key                    conflict
    10  the merchant is active                                    merchant_inactive
    11  the intent names the acquirer                             acquirer_not_acceptable
    12  the acquirer is registered                                acquirer_unknown
    13  the acquirer is active, its licence valid                 acquirer_inactive
    14  the merchant owns the route's code at this acquirer       merchant_code_mismatch
    15  the acquirer takes the currency                           currency_not_accepted
    16  created no more than five minutes after the transaction   not_yet_valid
    17  not expired at the transaction's time                     expired
    18  the attempt before has not succeeded                      already_succeeded
    19  the attempt before has ended, with no open exception      attempt_out_of_order
        otherwise the payment is requested                        ok

A close passes checks 1 to 6, whatever the merchant's status - closing brings no money in - and

     7  the payment is on the ledger                              payment_unknown
     8  it was closed by this intent: first answer                duplicate
     9  the key is active, and its day has come    key_revoked, key_not_yet_valid
    10  the payment has not ended                                 already_final
        otherwise the close stands on the payment                 ok

and the payment keeps its status: only the acquirer's answer ends it.

`duplicate` stands before all that can change with time (a key revoked, a merchant suspended, an
intent expired since), so that a retry after a lost answer always gets the first one; it stands
after the signature, so that nobody but the signer is told of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chaincode.contract import refunds, signers
from chaincode.contract.context import Transaction
from chaincode.contract.decision import Change, Refused, Taken, refused
from chaincode.contract.overlay import Overlay
from chaincode.contract.refunds import Refunding
from clearline.cards import holds_card_number
from clearline.codes import Code, Outcome, Refusal
from clearline.intents import CloseIntent, PayIntent, Route, SignedClose, SignedIntent
from clearline.records import (
    Acquirer,
    Kind,
    Merchant,
    Payment,
    payment_key,
    record_key,
    touched,
)
from clearline.refunds import SignedRefund
from clearline.refunds import parse_any as parse_intent
from clearline.schema import IDENTIFIER, JWS_TEXT, Members, SchemaError
from clearline.statuses import Status

_ITEM = Members({"intent": JWS_TEXT, "acquirer_id": IDENTIFIER}, frozenset(("acquirer_id",)))


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request: the intent, its digest, the payment's ledger key, the route chosen."""

    signed: SignedIntent
    digest: str
    key: str
    acquirer_id: str

    @property
    def intent(self) -> PayIntent:
        """What the merchant signed."""
        return self.signed.intent


@dataclass(frozen=True, slots=True)
class Closing:
    """A parsed close."""

    signed: SignedClose

    @property
    def intent(self) -> CloseIntent:
        """What the merchant signed."""
        return self.signed.intent

    @property
    def key(self) -> str:
        """The payment's ledger key."""
        return payment_key(self.intent.key)


Item = Request | Closing | Refunding


def parse(item: object) -> Item:
    """Checks 1 and 2; raises Refusal."""
    try:
        _ITEM.check(item, "")
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    assert isinstance(item, dict)  # noqa: S101 - the schema has just said so
    signed = parse_intent(item["intent"])
    if not isinstance(signed, SignedIntent):
        if "acquirer_id" in item:
            raise Refusal(Code.MALFORMED, "/acquirer_id: goes with a pay intent only")
        return Refunding(signed) if isinstance(signed, SignedRefund) else Closing(signed)
    if "acquirer_id" not in item:
        raise Refusal(Code.MALFORMED, "/acquirer_id: is missing")
    if holds_card_number(item["acquirer_id"]):
        raise Refusal(Code.CARD_DATA_REFUSED, "/acquirer_id: looks like a card number")
    intent = signed.intent
    return Request(signed, intent.digest(), payment_key(intent.key), item["acquirer_id"])


def plan(items: tuple[Item | Refused, ...]) -> list[str]:
    """The keys these items read: payment, merchant; of a request attempt before, acquirer; of a
    refund its own and the one before it."""
    keys: dict[str, None] = {}
    for item in items:
        if isinstance(item, Refused):
            continue
        keys[item.key] = None
        keys[record_key(Kind.MERCHANT, item.intent.merchant_id)] = None
        if isinstance(item, Request):
            if item.intent.attempt > 1:
                keys[_key_before(item.intent)] = None
            keys[record_key(Kind.ACQUIRER, item.acquirer_id)] = None
        elif isinstance(item, Refunding):
            keys |= dict.fromkeys(item.refund_keys)
    return list(keys)


def decide(item: Item, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 on, and what the intent does when all pass."""
    if isinstance(item, Closing):
        return _close(item, transaction, overlay)
    if isinstance(item, Refunding):
        return refunds.decide(item, transaction, overlay)
    return _pay(item, transaction, overlay)


def _close(item: Closing, transaction: Transaction, overlay: Overlay) -> Taken:
    key = item.intent.key
    payment = overlay.get(Payment, item.key)
    try:
        merchant = signers.verified_merchant(item.signed, transaction, overlay)
        if payment is None:
            raise Refusal(Code.PAYMENT_UNKNOWN, "no such payment")
        # A close names the payment and nothing else: any other is the same intent.
        if payment.close:
            return Taken(Outcome(Code.DUPLICATE, key, payment.status, tx_id=payment.close_tx))
        merchant.keys[item.signed.token.key_id].require_active(transaction.day)
        if payment.final:
            raise Refusal(Code.ALREADY_FINAL, f"it is {payment.status}")
    except Refusal as refusal:
        return Taken(refused(refusal, key, "" if payment is None else payment.status))
    tx_id = transaction.tx_id
    closing = replace(payment, close=item.signed.compact, close_tx=tx_id)
    overlay.put(item.key, touched(closing, tx_id))
    outcome = Outcome(Code.OK, key, payment.status, tx_id=tx_id)
    return Taken(outcome, Change(key, payment.status))


def _pay(item: Request, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 to 19, and the payment when all pass."""
    before = overlay.get(Payment, item.key)
    try:
        merchant = signers.verified_merchant(item.signed, transaction, overlay)
        if before is not None and before.intent_digest == item.digest:
            outcome = Outcome(Code.DUPLICATE, item.intent.key, before.status, tx_id=before.txs[0])
            return Taken(outcome)
        merchant.keys[item.signed.token.key_id].require_active(transaction.day)
        if before is not None:
            raise Refusal(Code.CONFLICT, "another intent has this payment's key")
        if merchant.status != "active":
            raise Refusal(Code.MERCHANT_INACTIVE, f"the merchant is {merchant.status}")
        route = _route(item, merchant, transaction, overlay)
        signers.require_in_time(item.intent, transaction)
        _attempt(item.intent, overlay)
    except Refusal as refusal:
        status = "" if before is None else before.status
        return Taken(refused(refusal, item.intent.key, status))
    payment = _payment(item, route, transaction)
    overlay.put(item.key, payment)
    outcome = Outcome(Code.OK, item.intent.key, payment.status, tx_id=transaction.tx_id)
    return Taken(outcome, Change(item.intent.key, payment.status))


def _route(item: Request, merchant: Merchant, transaction: Transaction, overlay: Overlay) -> Route:
    """Checks 11 to 15."""
    route = item.intent.route(item.acquirer_id)
    if route is None:
        raise Refusal(Code.ACQUIRER_NOT_ACCEPTABLE, "the intent does not name this acquirer")
    acquirer = overlay.get(Acquirer, record_key(Kind.ACQUIRER, item.acquirer_id))
    if acquirer is None:
        raise Refusal(Code.ACQUIRER_UNKNOWN, "no such acquirer")
    if acquirer.status != "active":
        raise Refusal(Code.ACQUIRER_INACTIVE, f"the acquirer is {acquirer.status}")
    if transaction.day > acquirer.licence_valid_until:
        raise Refusal(Code.ACQUIRER_INACTIVE, "the acquirer's licence has ended")
    if route.merchant_code not in merchant.codes.get(item.acquirer_id, []):
        raise Refusal(Code.MERCHANT_CODE_MISMATCH, "the merchant does not own this code there")
    if item.intent.currency not in acquirer.currencies:
        raise Refusal(Code.CURRENCY_NOT_ACCEPTED, f"the acquirer takes no {item.intent.currency}")
    return route


def _attempt(intent: PayIntent, overlay: Overlay) -> None:
    """Checks 18 and 19. What holds for each pair of attempts holds for an order's all."""
    if intent.attempt == 1:
        return
    earlier = overlay.get(Payment, _key_before(intent))
    if earlier is not None and earlier.status == Status.SUCCEEDED:
        raise Refusal(Code.ALREADY_SUCCEEDED, f"attempt {intent.attempt - 1} succeeded")
    if earlier is None or not earlier.final:
        state = "is not on the ledger" if earlier is None else f"is {earlier.status}"
        raise Refusal(Code.ATTEMPT_OUT_OF_ORDER, f"attempt {intent.attempt - 1} {state}")
    if earlier.excepted:
        raise Refusal(
            Code.ATTEMPT_OUT_OF_ORDER,
            f"attempt {intent.attempt - 1} has an open late success: a reversal must resolve it",
        )


def _key_before(intent: PayIntent) -> str:
    return payment_key(intent.key._replace(attempt=intent.attempt - 1))


def _payment(item: Request, route: Route, transaction: Transaction) -> Payment:
    intent = item.intent
    return Payment(
        merchant_id=intent.merchant_id,
        order_no=intent.order_no,
        attempt=intent.attempt,
        status=Status.REQUESTED.value,
        acquirer_id=route.acquirer_id,
        merchant_code=route.merchant_code,
        amount=intent.amount,
        currency=intent.currency,
        intent=item.signed.compact,
        intent_digest=item.digest,
        expires_at=intent.expires_at,
        msp_id=transaction.submitter.msp_id,
        requested_at=transaction.at,
        txs=[transaction.tx_id],
    )
