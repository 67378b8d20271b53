"""The second verification: a request on the ledger is looked at again before it costs money.

A numbered list that fails closed (each step that can't be done is a failure). The flag is the
follower's step: only writes of VALID transactions come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clearline import intents, jws, records, refunds
from clearline.codes import Code, Refusal
from clearline.intents import PayIntent, Route, SignedClose, SignedIntent
from clearline.jws import JwsError
from clearline.records import KeyRecord, Merchant, Payment
from clearline.refunds import Refund, RefundIntent, SignedRefund
from connector.projection import Projection

ACTIVE: Final = "active"


@dataclass(frozen=True, slots=True)
class Place:
    """Where this connector stands: its network, its acquirer."""

    network: str
    acquirer_id: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A request that may be forwarded."""

    intent: PayIntent
    route: Route


def verify(key: str, payment: Payment, place: Place, projection: Projection, now: str) -> Verified:
    """Check a request with status `requested`, found at ledger key `key`, at the time `now`.

    Raises Refusal with the first reason not to forward it.
    """
    # 1. The record is where its content says it is.
    if records.payment_key(payment.key) != key:
        raise Refusal(Code.MALFORMED, "the record is not the one its key names")
    # 2. The intent is well-formed: header, closed schema, no card data.
    signed = intents.parse(payment.intent)
    intent = signed.intent
    # 3. It was signed for this network.
    if intent.network != place.network:
        raise Refusal(Code.NETWORK_MISMATCH, f"signed for {intent.network}")
    # 4. The record says what the intent says.
    _same(payment, intent)
    # 5. It may go through this acquirer, with the code the record names.
    route = intent.route(place.acquirer_id)
    if payment.acquirer_id != place.acquirer_id or route is None:
        raise Refusal(Code.ACQUIRER_NOT_ACCEPTABLE, "the intent does not name this acquirer")
    if route.merchant_code != payment.merchant_code:
        raise Refusal(Code.MERCHANT_CODE_MISMATCH, "the record names another merchant code")
    # 6. This acquirer works, is licensed and takes the currency.
    _acquirer_works(intent, place, projection, now)
    # 7. The merchant is registered and active.
    merchant = projection.merchant(intent.merchant_id)
    if merchant is None:
        raise Refusal(Code.MERCHANT_UNKNOWN, intent.merchant_id)
    if merchant.status != ACTIVE:
        raise Refusal(Code.MERCHANT_INACTIVE, merchant.status)
    # 8. The merchant's key on the ledger made the signature.
    record = _signed_by(merchant, signed)
    # ... on a day on which it counted: by the record's time, which the contract went by as well.
    record.require_active(payment.requested_at[:10])
    # 9. The code is this merchant's and nobody else's.
    owner = projection.merchant_code(place.acquirer_id, route.merchant_code)
    owned = route.merchant_code in merchant.codes.get(place.acquirer_id, [])
    if owner is None or owner.merchant_id != merchant.merchant_id or not owned:
        raise Refusal(Code.MERCHANT_CODE_MISMATCH, "the code is not this merchant's")
    # 10. It has not expired by our own clock.
    if intent.expires_at <= now:
        raise Refusal(Code.EXPIRED, f"expired at {intent.expires_at}")
    return Verified(intent, route)


def verify_close(payment: Payment, place: Place, projection: Projection) -> None:
    """Check the close that stands on a payment. Raises Refusal with the first reason not to act
    on it."""
    # 1. The close is well-formed: header, closed schema, no card data.
    signed = intents.parse_close(payment.close)
    # 2. It was signed for this network and names this payment.
    if signed.intent.network != place.network:
        raise Refusal(Code.NETWORK_MISMATCH, f"signed for {signed.intent.network}")
    if signed.intent.key != payment.key:
        raise Refusal(Code.INTENT_MISMATCH, "the close names another payment")
    # 3. The merchant's key on the ledger made the signature.
    merchant = projection.merchant(payment.merchant_id)
    if merchant is None:
        raise Refusal(Code.MERCHANT_UNKNOWN, payment.merchant_id)
    _signed_by(merchant, signed)


def verify_refund(
    key: str, refund: Refund, place: Place, projection: Projection, now: str
) -> RefundIntent:
    """Check a refund with status `requested`, found at ledger key `key`, at the time `now`.

    Raises Refusal with the first reason not to forward it. That no more is given back than was
    paid the acquirer's own book holds once more.
    """
    # 1. The record is where its content says it is.
    if refunds.refund_key(refund.key) != key:
        raise Refusal(Code.MALFORMED, "the record is not the one its key names")
    # 2. The intent is well-formed: header, closed schema, no card data.
    signed = refunds.parse(refund.intent)
    intent = signed.intent
    # 3. It was signed for this network.
    if intent.network != place.network:
        raise Refusal(Code.NETWORK_MISMATCH, f"signed for {intent.network}")
    # 4. The record says what the intent says.
    said = (refund.key, refund.amount, refund.currency, refund.expires_at, refund.intent_digest)
    if said != (intent.key, intent.amount, intent.currency, intent.expires_at, intent.digest()):
        raise Refusal(Code.INTENT_MISMATCH, "the record is not what the merchant signed")
    # 5. It is of this acquirer.
    if refund.acquirer_id != place.acquirer_id:
        raise Refusal(Code.ACQUIRER_MISMATCH, f"its acquirer is {refund.acquirer_id}")
    # 6. The merchant is registered, and its key on the ledger made the signature, on a day on
    # which it counted. A suspended merchant's payers get their money back too.
    merchant = projection.merchant(intent.merchant_id)
    if merchant is None:
        raise Refusal(Code.MERCHANT_UNKNOWN, intent.merchant_id)
    _signed_by(merchant, signed).require_active(refund.requested_at[:10])
    # 7. The money is at a code of this merchant.
    owner = projection.merchant_code(place.acquirer_id, refund.merchant_code)
    if owner is None or owner.merchant_id != merchant.merchant_id:
        raise Refusal(Code.MERCHANT_CODE_MISMATCH, "the code is not this merchant's")
    # 8. It has not expired by our own clock.
    if intent.expires_at <= now:
        raise Refusal(Code.EXPIRED, f"expired at {intent.expires_at}")
    return intent


def _same(payment: Payment, intent: PayIntent) -> None:
    said = (payment.key, payment.amount, payment.currency, payment.expires_at)
    if said != (intent.key, intent.amount, intent.currency, intent.expires_at):
        raise Refusal(Code.INTENT_MISMATCH, "the record is not what the merchant signed")
    if payment.intent_digest != intent.digest():
        raise Refusal(Code.INTENT_MISMATCH, "the record names another intent")


def _acquirer_works(intent: PayIntent, place: Place, projection: Projection, now: str) -> None:
    acquirer = projection.acquirer(place.acquirer_id)
    if acquirer is None:
        raise Refusal(Code.ACQUIRER_UNKNOWN, place.acquirer_id)
    today = now.partition("T")[0]
    if acquirer.status != ACTIVE or acquirer.licence_valid_until < today:
        raise Refusal(Code.ACQUIRER_INACTIVE, "suspended, or its licence has ended")
    if intent.currency not in acquirer.currencies:
        raise Refusal(Code.CURRENCY_NOT_ACCEPTED, intent.currency)


def _signed_by(merchant: Merchant, signed: SignedIntent | SignedClose | SignedRefund) -> KeyRecord:
    record = merchant.keys.get(signed.token.key_id)
    if record is None:
        raise Refusal(Code.KEY_UNKNOWN, signed.token.key_id)
    if record.status != ACTIVE:
        raise Refusal(Code.KEY_REVOKED, signed.token.key_id)
    try:
        key = jws.public_key(record.jwk, jws.Algorithm(record.algorithm))
        key.verify(signed.token)
    except (JwsError, ValueError) as error:
        raise Refusal(Code.SIGNATURE_INVALID, str(error)) from None
    return record
