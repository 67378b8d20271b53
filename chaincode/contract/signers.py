"""What holds for each intent a merchant signs: whose it is, and when it counts."""

from __future__ import annotations

from chaincode.contract.context import CLOCK_TOLERANCE, Transaction
from chaincode.contract.overlay import Overlay, verification_key
from clearline.codes import Code, Refusal
from clearline.intents import PayIntent, SignedClose, SignedIntent
from clearline.jws import JwsError
from clearline.records import Kind, Merchant, record_key
from clearline.refunds import RefundIntent, SignedRefund


def verified_merchant(
    signed: SignedIntent | SignedClose | SignedRefund, transaction: Transaction, overlay: Overlay
) -> Merchant:
    """The merchant whose key made the signature: checks 3 to 6 of an intent. Raises Refusal."""
    intent, token = signed.intent, signed.token
    if intent.network != transaction.network:
        raise Refusal(Code.NETWORK_MISMATCH, f"this is {transaction.network}")
    merchant = overlay.get(Merchant, record_key(Kind.MERCHANT, intent.merchant_id))
    if merchant is None:
        raise Refusal(Code.MERCHANT_UNKNOWN, "no such merchant")
    key = merchant.keys.get(token.key_id)
    if key is None:
        raise Refusal(Code.KEY_UNKNOWN, "the merchant has no such key")
    try:
        verification_key(key).verify(token)
    except JwsError as error:
        raise Refusal(Code.SIGNATURE_INVALID, str(error)) from None
    return merchant


def require_in_time(intent: PayIntent | RefundIntent, transaction: Transaction) -> None:
    """Raise Refusal `not_yet_valid` or `expired`. Of texts: they compare as the times they name,
    and a time cut to whole milliseconds stands to those of the intent as the whole one does."""
    if intent.created > transaction.later(CLOCK_TOLERANCE):
        raise Refusal(Code.NOT_YET_VALID, f"created {intent.created}, after the transaction")
    if intent.expires_at <= transaction.at:
        raise Refusal(Code.EXPIRED, f"expired at {intent.expires_at}")
