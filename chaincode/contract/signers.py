"""What holds for whatever is signed: whose it is, for which network, and when it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from chaincode.contract.context import CLOCK_TOLERANCE, Transaction
from chaincode.contract.overlay import Overlay, verification_key
from clearline.codes import Code, Refusal
from clearline.intents import PayIntent, SignedClose, SignedIntent
from clearline.jws import JwsError, Unverified
from clearline.records import Acquirer, KeyRecord, Kind, Merchant, record_key
from clearline.refunds import RefundIntent, SignedRefund


def verified_merchant(
    signed: SignedIntent | SignedClose | SignedRefund, transaction: Transaction, overlay: Overlay
) -> Merchant:
    """The merchant whose key made the signature: checks 3 to 6 of an intent. Raises Refusal."""
    intent, token = signed.intent, signed.token
    require_network(intent.network, transaction)
    merchant = overlay.get(Merchant, record_key(Kind.MERCHANT, intent.merchant_id))
    if merchant is None:
        raise Refusal(Code.MERCHANT_UNKNOWN, "no such merchant")
    verified_key(token, merchant.keys, "merchant")
    return merchant


class AcquirersWord(Protocol):
    """What an acquiring bank signed: for which network, about which acquirer."""

    @property
    def network(self) -> str: ...
    @property
    def acquirer_id(self) -> str: ...


def acquirer_of(said: AcquirersWord, transaction: Transaction, overlay: Overlay) -> Acquirer:
    """The acquirer it names, on this network; raises Refusal."""
    require_network(said.network, transaction)
    return _registered(said.acquirer_id, overlay)


def own_acquirer(said: AcquirersWord, transaction: Transaction, overlay: Overlay) -> Acquirer:
    """The same, when it is the submitter's organisation's; raises Refusal."""
    require_network(said.network, transaction)
    return acquirer_owned_by(transaction.submitter.msp_id, said.acquirer_id, overlay)


def acquirer_owned_by(msp_id: str, acquirer_id: str, overlay: Overlay) -> Acquirer:
    """The acquirer of that id, which must be this organisation's; raises Refusal."""
    acquirer = _registered(acquirer_id, overlay)
    if acquirer.msp_id != msp_id:
        raise Refusal(Code.ROLE_FORBIDDEN, f"the acquirer is {acquirer.msp_id}'s")
    return acquirer


def _registered(acquirer_id: str, overlay: Overlay) -> Acquirer:
    acquirer = overlay.get(Acquirer, record_key(Kind.ACQUIRER, acquirer_id))
    if acquirer is None:
        raise Refusal(Code.ACQUIRER_UNKNOWN, "no such acquirer")
    return acquirer


def verified_key(token: Unverified, keys: Mapping[str, KeyRecord], owner: str) -> KeyRecord:
    """The record of the key that made the signature, active or not; raises Refusal."""
    key = keys.get(token.key_id)
    if key is None:
        raise Refusal(Code.KEY_UNKNOWN, f"the {owner} has no such key")
    try:
        verification_key(key).verify(token)
    except JwsError as error:
        raise Refusal(Code.SIGNATURE_INVALID, str(error)) from None
    return key


def require_network(network: str, transaction: Transaction) -> None:
    """What is signed for another network does not count here; raises Refusal."""
    if network != transaction.network:
        raise Refusal(Code.NETWORK_MISMATCH, f"this is {transaction.network}")


def require_in_time(intent: PayIntent | RefundIntent, transaction: Transaction) -> None:
    """Raise Refusal `not_yet_valid` or `expired`. Of texts: they compare as the times they name,
    and a time cut to whole milliseconds stands to those of the intent as the whole one does."""
    if intent.created > transaction.later(CLOCK_TOLERANCE):
        raise Refusal(Code.NOT_YET_VALID, f"created {intent.created}, after the transaction")
    if intent.expires_at <= transaction.at:
        raise Refusal(Code.EXPIRED, f"expired at {intent.expires_at}")
