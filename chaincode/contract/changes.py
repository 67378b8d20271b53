"""What a merchant must have signed before its bank may add a key or change its account.

A proposal of either carries the merchant's own JWS (clearline/changes.py). Held when it is proposed
and again when it is approved, in this order:

     a  it is about this merchant, and this key or account       malformed
        form of the text, the new key                            malformed, key_refused
     b  signed for this network                                  network_mismatch
     c  the merchant is registered, and the bank's        merchant_unknown, role_forbidden
     d  the signing key is in the merchant's record              key_unknown
     e  the signature, with the algorithm the record names       signature_invalid
     f  the signing key is active, its own day has come   key_revoked, key_not_yet_valid
     g  created no more than five minutes after the transaction  not_yet_valid
     h  its day is later than the transaction's                  change_too_late

So a bank by itself can give its merchant neither a key nor an account. The day is held against the
transaction's, as an acquirer's licence is: what is approved today holds tomorrow at the earliest,
and the merchant sees it on the ledger before it does.
"""

from __future__ import annotations

from typing import Any

from chaincode.contract import signers
from chaincode.contract.context import CLOCK_TOLERANCE, Transaction
from clearline import changes, times
from clearline.changes import AccountChange, KeyChange, MerchantChange, SignedChange
from clearline.codes import Code, Refusal
from clearline.records import Merchant


def parse(kind: str, body: dict[str, Any]) -> SignedChange:
    """Check a, of the body of a `merchant_key` or `merchant_account`; raises Refusal."""
    try:
        signed = changes.parse(body["change"])
    except Refusal as refusal:
        raise Refusal(refusal.code, f"/body/change: {refusal.detail}") from None
    if not _about(signed.change, kind, body):
        raise Refusal(Code.MALFORMED, "/body/change: is not about what the proposal names")
    return signed


def verify(signed: SignedChange, merchant: Merchant, at: Transaction) -> None:
    """Checks d to h; raises Refusal."""
    token, change = signed.token, signed.change
    signers.verified_key(token, merchant.keys, "merchant").require_active(at.day)
    if times.parse(change.created) > at.time + CLOCK_TOLERANCE:
        raise Refusal(Code.NOT_YET_VALID, f"created {change.created}, after the transaction")
    if change.valid_from <= at.day:
        raise Refusal(Code.CHANGE_TOO_LATE, f"it was to hold from {change.valid_from}")


def check_network(signed: SignedChange, at: Transaction) -> None:
    """Check b; raises Refusal."""
    signers.require_network(signed.change.network, at)


def _about(change: MerchantChange, kind: str, body: dict[str, Any]) -> bool:
    if change.merchant_id != body["merchant_id"]:
        return False
    if kind == "merchant_key":
        return isinstance(change, KeyChange) and change.key_id == body["key_id"]
    return isinstance(change, AccountChange) and change.account_id == body["account_id"]
