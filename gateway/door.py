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
     8  the key is active                                         key_revoked
     9  no other intent is on the ledger under its key            conflict
    10  the merchant is active                                    merchant_inactive
    11  an acquirer of its list takes it                          acquirer_..., merchant_code_...,
                                                                  currency_not_accepted
        and can take payments now (this gateway's own)           acquirer_unavailable
    12  not expired by this gateway's clock (the committer's)     expired

The rest (attempts, intents of the future) is the contract's.

A close passes 1 to 6, whatever the merchant's status, and

     7  a close stands on the payment: its present answer         duplicate
     8  the key is active                                         key_revoked
     9  the payment, where this gateway sees it, has not ended    already_final

Whether there is such a payment is the contract's: another gateway may have brought it just now.
"""

from __future__ import annotations

from dataclasses import dataclass

from clearline import intents, times
from clearline.answers import PaymentAnswer
from clearline.codes import Code, Refusal
from clearline.intents import CloseIntent, PayIntent, SignedClose, SignedIntent
from clearline.jws import JwsError
from clearline.records import Merchant
from gateway import routing
from gateway.messages import Submission
from gateway.reader import Snapshot, verification_key
from gateway.routing import Judge


@dataclass(frozen=True, slots=True)
class Admitted:
    """An intent that may go to the ledger, a pay intent by the route chosen."""

    intent: PayIntent | CloseIntent
    submission: Submission


@dataclass(frozen=True, slots=True)
class Known:
    """The payment of an intent that is on the ledger."""

    answer: PaymentAnswer


def admit(compact: str | bytes, network: str, snapshot: Snapshot, judge: Judge) -> Admitted | Known:
    """Hold an intent against the checks above. Raises Refusal with the first that fails."""
    signed = intents.parse_any(compact)
    merchant = _signer(signed, network, snapshot)
    if isinstance(signed, SignedClose):
        return _close(signed, merchant, snapshot)
    return _pay(signed, merchant, snapshot, judge)


def _signer(signed: SignedIntent | SignedClose, network: str, snapshot: Snapshot) -> Merchant:
    """Checks 3 to 6."""
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
    return merchant


def _close(signed: SignedClose, merchant: Merchant, snapshot: Snapshot) -> Admitted | Known:
    intent = signed.intent
    payment = snapshot.payment(intent.key)
    if payment is not None and payment.close is not None:
        return Known(payment)
    _active(signed, merchant)
    if payment is not None and payment.final:
        raise Refusal(Code.ALREADY_FINAL, f"it is {payment.status}")
    return Admitted(intent, Submission(intent.key, intent.digest(), signed.compact, "", ""))


def _active(signed: SignedIntent | SignedClose, merchant: Merchant) -> None:
    key = merchant.keys[signed.token.key_id]
    if key.status != "active":
        raise Refusal(Code.KEY_REVOKED, f"the signing key is {key.status}")


def _pay(
    signed: SignedIntent, merchant: Merchant, snapshot: Snapshot, judge: Judge
) -> Admitted | Known:
    intent = signed.intent
    digest = intent.digest()
    before = snapshot.payment(intent.key)
    if before is not None and before.intent_digest == digest:
        return Known(before)
    _active(signed, merchant)
    if before is not None:
        raise Refusal(Code.CONFLICT, "another intent has this payment's key")
    if merchant.status != "active":
        raise Refusal(Code.MERCHANT_INACTIVE, f"the merchant is {merchant.status}")
    route = routing.choose(intent, merchant, snapshot.acquirer, judge, times.now()[:10])
    return Admitted(
        intent,
        Submission(intent.key, digest, signed.compact, route.acquirer_id, intent.expires_at),
    )
