"""Admission: what an intent must pass before it goes to the committer.

The checks and their order are the contract's (SubmitIntents), as far as this gateway's projection
can tell, so that a refusal here is the one the ledger would give:

     1  form, closed schema                                       malformed
     2  no card number in a named field                           card_data_refused
     3  signed for this network                                   network_mismatch
     4  the merchant is registered                                merchant_unknown
     5  the signing key is in its record                          key_unknown
     6  the signature, with the algorithm of the record           signature_invalid
     7  this very intent is on the ledger: its present answer     duplicate
     8  the key is active, and its day has come    key_revoked, key_not_yet_valid
     9  no other intent is on the ledger under its key            conflict
    10  the merchant is active                                    merchant_inactive
    11  an acquirer of its list takes it                          acquirer_..., merchant_code_...,
                                                                  currency_not_accepted
        and can take payments now (this gateway's own)           acquirer_unavailable
    12  not expired by this gateway's clock (the committer's)     expired

The rest (attempts, intents of the future) is the contract's. While all acquirers that an intent
names are behind, that is said before all of these; see gateway.crowding.

A close passes 1 to 6, whatever the merchant's status, and

     7  a close stands on the payment: its present answer         duplicate
     8  the key is active, and its day has come    key_revoked, key_not_yet_valid
     9  the payment, where this gateway sees it, has not ended    already_final

Whether there is such a payment is the contract's: another gateway may have brought it just now.
Refunds come by an address of their own: gateway.refunds.
"""

from __future__ import annotations

from dataclasses import dataclass

from clearline import intents
from clearline.answers import PaymentAnswer
from clearline.codes import Code, Refusal
from clearline.intents import CloseIntent, PayIntent, SignedClose, SignedIntent
from clearline.jws import JwsError
from clearline.records import KeyRecord, Merchant
from clearline.refunds import SignedRefund
from gateway import routing
from gateway.messages import Submission
from gateway.reader import Snapshot, verification_key
from gateway.routing import Judge, Lookup


@dataclass(frozen=True, slots=True)
class Verified:
    """An intent that its merchant signed (checks 1 to 6)."""

    intent: PayIntent | CloseIntent
    compact: str
    digest: str
    merchant: Merchant
    key: KeyRecord


@dataclass(frozen=True, slots=True)
class Admitted:
    """An intent that may go to the ledger, a pay intent by the route chosen."""

    intent: PayIntent | CloseIntent
    submission: Submission


@dataclass(frozen=True, slots=True)
class Known:
    """The payment of an intent that is on the ledger."""

    answer: PaymentAnswer


def verify(compact: str | bytes, network: str, snapshot: Snapshot) -> Verified:
    """Checks 1 to 6. Raises Refusal with the first that fails."""
    signed = intents.parse_any(compact)
    merchant, key = signer_of(signed, network, snapshot)
    return Verified(signed.intent, signed.compact, signed.intent.digest(), merchant, key)


def signer_of(
    signed: SignedIntent | SignedClose | SignedRefund, network: str, snapshot: Snapshot
) -> tuple[Merchant, KeyRecord]:
    """Checks 3 to 6 of any intent: whose it is, and with which key. Raises Refusal."""
    intent, token = signed.intent, signed.token
    if intent.network != network:
        raise Refusal(Code.NETWORK_MISMATCH, f"this is {network}")
    merchant = snapshot.merchant(intent.merchant_id)
    if merchant is None:
        raise Refusal(Code.MERCHANT_UNKNOWN, "no such merchant")
    key = merchant.keys.get(token.key_id)
    if key is None:
        raise Refusal(Code.KEY_UNKNOWN, "the merchant has no such key")
    try:
        verification_key(key).verify(token)
    except JwsError as error:
        raise Refusal(Code.SIGNATURE_INVALID, str(error)) from None
    return merchant, key


def admit(
    verified: Verified, before: PaymentAnswer | None, acquirers: Lookup, judge: Judge, today: str
) -> Admitted | Known:
    """The other checks. `before` is the payment under its key, if there is one; `today` a date in
    UTC. Raises Refusal with the first that fails."""
    intent, digest, merchant = verified.intent, verified.digest, verified.merchant
    if isinstance(intent, CloseIntent):
        return _close(verified, intent, before, today)
    if before is not None and before.intent_digest == digest:
        return Known(before)
    verified.key.require_active(today)
    if before is not None:
        raise Refusal(Code.CONFLICT, "another intent has this payment's key")
    if merchant.status != "active":
        raise Refusal(Code.MERCHANT_INACTIVE, f"the merchant is {merchant.status}")
    route = routing.choose(intent, merchant, acquirers, judge, today)
    return Admitted(
        intent,
        Submission(intent.key, digest, verified.compact, route.acquirer_id, intent.expires_at),
    )


def _close(
    verified: Verified, intent: CloseIntent, payment: PaymentAnswer | None, today: str
) -> Admitted | Known:
    if payment is not None and payment.close is not None:
        return Known(payment)
    verified.key.require_active(today)
    if payment is not None and payment.final:
        raise Refusal(Code.ALREADY_FINAL, f"it is {payment.status}")
    return Admitted(intent, Submission(intent.key, verified.digest, verified.compact, "", ""))
