"""Signed refusals: a gateway's word that the intent of one of its receipts was refused, and why.

A receipt promises the ledger or a reason by its deadline. The reason is signed with the key that
signed the receipt: a word that was signed is not taken back by one that nobody can be held to.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from clearline import canonical, jws
from clearline.answers import RECEIPT, Receipt
from clearline.canonical import CanonicalError
from clearline.codes import Code, Refusal
from clearline.jws import JwsError, Signer, Typ, Unverified
from clearline.schema import Members, OneOf, SchemaError, Time

# What the contract says of an intent, a refund's included. Not the gateway's own weather
# (`ledger_unavailable`, `overloaded`), its own standing (`role_forbidden`) or its own choice
# (`acquirer_not_acceptable` is said of a route that the intent doesn't name).
VERDICTS: Final = frozenset(
    {
        Code.MALFORMED,
        Code.CARD_DATA_REFUSED,
        Code.NETWORK_MISMATCH,
        Code.MERCHANT_UNKNOWN,
        Code.MERCHANT_INACTIVE,
        Code.KEY_UNKNOWN,
        Code.KEY_REVOKED,
        Code.KEY_NOT_YET_VALID,
        Code.SIGNATURE_INVALID,
        Code.CONFLICT,
        Code.ACQUIRER_UNKNOWN,
        Code.ACQUIRER_INACTIVE,
        Code.MERCHANT_CODE_MISMATCH,
        Code.CURRENCY_NOT_ACCEPTED,
        Code.NOT_YET_VALID,
        Code.EXPIRED,
        Code.ALREADY_SUCCEEDED,
        Code.ATTEMPT_OUT_OF_ORDER,
        Code.PAYMENT_UNKNOWN,
        Code.ALREADY_FINAL,
        Code.NOT_REFUNDABLE,
        Code.REFUND_AMOUNT_REFUSED,
        Code.REFUND_OUT_OF_ORDER,
    }
)
# Days after which a gateway may forget its refusals, and a merchant's tool no longer takes
# silence for an omission.
KEPT_DAYS: Final = 90
REFUSAL: Final = Members(
    {
        "receipt": RECEIPT,
        "code": OneOf(tuple(sorted(code.value for code in VERDICTS))),
        "refused_at": Time(),
    }
)


@dataclass(frozen=True, slots=True)
class ReceiptRefusal:
    """Why the intent of `receipt` is not on the ledger, and when that was known: by the clock of
    the gateway that signs both."""

    receipt: Receipt
    code: Code
    refused_at: str


def sign_refusal(refusal: ReceiptRefusal, signer: Signer) -> str:
    """The refusal as a JWS compact text."""
    return jws.sign(asdict(refusal) | {"code": refusal.code.value}, Typ.REFUSAL, signer)


def parse_refusal(compact: str) -> tuple[ReceiptRefusal, Unverified]:
    """Take a refusal apart; the caller verifies its signature. Raises Refusal `malformed`, for a
    code that is no verdict on an intent too."""
    try:
        token = jws.take_apart(compact)
        if token.typ is not Typ.REFUSAL:
            raise JwsError(f"typ must be {Typ.REFUSAL}")
        payload = canonical.loads(token.payload)
        REFUSAL.check(payload, "")
    except (JwsError, CanonicalError, SchemaError) as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    claim = Receipt(**payload["receipt"])
    return ReceiptRefusal(claim, Code(payload["code"]), payload["refused_at"]), token
