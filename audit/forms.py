"""The closed forms of what merchants, banks and desks send, written a second time."""

from __future__ import annotations

from typing import Final

from audit.shapes import (
    Closed,
    Shape,
    anything,
    constant,
    currency,
    day,
    integer,
    listed,
    mapped,
    moment,
    nullable,
    one_of,
    printable,
    text,
)
from clearline.statuses import Reason

_ID: Final = text("[A-Za-z0-9._-]{1,32}")
_ORDER: Final = text(r"(?!\.\.?$)[A-Za-z0-9._-]{1,64}")
_NETWORK: Final = text("[a-z0-9.-]{1,64}")
_TOKEN: Final = text("[A-Za-z0-9._:-]{1,64}")
_REFERENCE: Final = text("[A-Za-z0-9._-]{1,64}")
_HASH: Final = text("[0-9a-f]{64}")
_THUMBPRINT: Final = text("[A-Za-z0-9_-]{43}")
_MCC: Final = text("[0-9]{4}")
_CODE: Final = text("[A-Za-z0-9]{1,15}")
_CATEGORY: Final = text("[a-z0-9_-]{1,32}")
_SIGNED: Final = text("[A-Za-z0-9_.-]+")
_AMOUNT: Final = integer(1, 10**12 - 1)
_EPOCH: Final = integer(0, 2**31 - 1)
_NUMBER: Final = integer(1, 9999)
_SUSPENSION: Final = one_of("active", "suspended")

_ROUTE: Final = Closed({"acquirer_id": _ID, "merchant_code": _CODE, "payer_token": _TOKEN})
_PAYMENT: Final[dict[str, Shape]] = {
    "version": constant(1),
    "network": _NETWORK,
    "merchant_id": _ID,
    "order_no": _ORDER,
    "attempt": _NUMBER,
    "created": moment,
}
PAY: Final = Closed(
    {
        **_PAYMENT,
        "kind": one_of("pay"),
        "amount": _AMOUNT,
        "currency": currency,
        "acquirers": listed(_ROUTE, 8),
        "expires_at": moment,
        "store": _ID,
        "terminal": text("[A-Za-z0-9]{1,16}"),
        "mcc": _MCC,
        "product": one_of("card", "dynamic_qr", "static_qr", "app", "web"),
        "goods_category": _CATEGORY,
        "site": text("[A-Za-z0-9.:_-]{1,128}"),
        "order_digest": _HASH,
    }
)
CLOSE: Final = Closed({**_PAYMENT, "kind": one_of("close")})
REFUND: Final = Closed(
    {
        **_PAYMENT,
        "kind": one_of("refund"),
        "refund_no": _NUMBER,
        "amount": _AMOUNT,
        "currency": currency,
        "expires_at": moment,
    }
)
REFUND_SCANNED: Final = ("network", "merchant_id", "order_no")
PAY_SCANNED: Final = (
    *("network", "merchant_id", "order_no", "store", "terminal", "goods_category", "site"),
)
CLOSE_SCANNED: Final = ("network", "merchant_id", "order_no")
INTENT_ITEM: Final = Closed({"intent": _SIGNED, "acquirer_id": _ID}, frozenset({"acquirer_id"}))

_REPORT: Final[dict[str, Shape]] = {
    "kind": one_of("response", "unknown", "result", "reversal"),
    "version": constant(1),
    "network": _NETWORK,
    "acquirer_id": _ID,
    "merchant_id": _ID,
    "order_no": _ORDER,
    "attempt": _NUMBER,
    "intent_digest": _HASH,
    "sequence": _NUMBER,
    "status": one_of("accepted", "unknown", "succeeded", "declined", "closed", "expired"),
    "reason": one_of(*Reason),
    "amount": _AMOUNT,
    "currency": currency,
    "acquirer_reference": _REFERENCE,
    "merchant_name": nullable(printable(64)),
    "merchant_code": nullable(_CODE),
    "mcc": nullable(_MCC),
    "payer_token": nullable(_TOKEN),
    "clearing_route": nullable(_REFERENCE),
    "clearing_date": nullable(day),
    "forwarded_at": nullable(moment),
    "answered_at": nullable(moment),
    "ended_at": nullable(moment),
    "native_digest": nullable(_HASH),
}
REPORT: Final = Closed(_REPORT)
REFUND_REPORT: Final = Closed(_REPORT | {"refund_no": _NUMBER})
REPORT_SCANNED: Final = (
    *("network", "acquirer_id", "merchant_id", "order_no", "merchant_name", "merchant_code"),
    *("payer_token", "clearing_route"),
)
REPORT_ITEM: Final = Closed({"report": _SIGNED, "epoch": _EPOCH})
LEASE_ITEM: Final = Closed({"acquirer_id": _ID, "epoch": _EPOCH, "holder": _ID})

_JWK: Final = mapped(one_of("kty", "crv", "x", "y"), text("[A-Za-z0-9_-]{1,64}"), 4)
_KEYS: Final = listed(_JWK, 8)
_KEY_ACTION: Final[dict[str, Shape]] = {
    "action": one_of("add", "revoke"),
    "key_id": _THUMBPRINT,
}
_BANK_CODE: Final = text("[A-Z0-9]{4,14}")
_LAST4: Final = text("[0-9]{4}")
_BANK_NUMBER: Final = text("[A-Za-z0-9.-]{1,32}")
BODIES: Final[dict[str, Closed]] = {
    "entity": Closed(
        {
            "entity_id": _ID,
            "name": printable(128),
            "country": text("[A-Z]{2}"),
            "registration_no": _BANK_NUMBER,
        }
    ),
    "account": Closed(
        {
            "account_id": _HASH,
            "entity_id": _ID,
            "bank_code": _BANK_CODE,
            "last4": _LAST4,
            "currency": currency,
        }
    ),
    "merchant": Closed(
        {
            "merchant_id": _ID,
            "entity_id": _ID,
            "account_id": _HASH,
            "name": printable(64),
            "mcc": _MCC,
            "goods_categories": listed(_CATEGORY, 16),
            "codes": mapped(_ID, listed(_CODE, 16), 8),
            "keys": _KEYS,
        }
    ),
    "acquirer": Closed(
        {
            "acquirer_id": _ID,
            "name": printable(64),
            "currencies": listed(currency, 32),
            "licence_no": _BANK_NUMBER,
            "licence_valid_until": day,
            "keys": _KEYS,
        }
    ),
    "merchant_code": Closed({"merchant_id": _ID, "acquirer_id": _ID, "code": _CODE}),
    "merchant_key": Closed(
        {"merchant_id": _ID, **_KEY_ACTION, "change": _SIGNED}, frozenset({"change"})
    ),
    "merchant_account": Closed({"merchant_id": _ID, "account_id": _HASH, "change": _SIGNED}),
    "acquirer_key": Closed({"acquirer_id": _ID, **_KEY_ACTION, "jwk": _JWK}, frozenset({"jwk"})),
    "merchant_status": Closed({"merchant_id": _ID, "status": _SUSPENSION}),
    "acquirer_status": Closed({"acquirer_id": _ID, "status": _SUSPENSION}),
    "relation": Closed(
        {
            "account_id": _HASH,
            "owner_id": _ID,
            "entity_id": _ID,
            "relationship": one_of(
                "parent", "subsidiary", "head_office", "franchisor", "licensed_agent"
            ),
            "since": day,
            "until": day,
            "document_digest": _HASH,
            "licence_no": _BANK_NUMBER,
        },
        frozenset({"licence_no"}),
    ),
    "relation_end": Closed({"account_id": _HASH, "entity_id": _ID, "until": day}),
}
PROPOSAL_ITEM: Final = Closed({"proposal_id": _ID, "kind": one_of(*BODIES), "body": anything})
DECISION_ITEM: Final = Closed({"proposal_id": _ID, "decision": one_of("approve", "reject")})
# Digests and public keys are not scanned for card numbers; a signed text is by its members.
BODY_NOT_SCANNED: Final = frozenset(
    {"account_id", "keys", "jwk", "key_id", "change", "document_digest"}
)

_CHANGE: Final[dict[str, Shape]] = {
    "version": constant(1),
    "network": _NETWORK,
    "merchant_id": _ID,
    "created": moment,
    "from": day,
}
KEY_CHANGE: Final = Closed(
    {
        **_CHANGE,
        "kind": one_of("key"),
        "key_id": _THUMBPRINT,
        "algorithm": one_of("Ed25519", "ES256"),
        "jwk": _JWK,
    }
)
ACCOUNT_CHANGE: Final = Closed(
    {
        **_CHANGE,
        "kind": one_of("account"),
        "account_id": _HASH,
        "bank_code": _BANK_CODE,
        "last4": _LAST4,
    }
)
