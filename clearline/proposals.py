"""What a bank's maker may propose, kind by kind, and how a checker decides: closed schemas."""

from __future__ import annotations

from typing import Final

from clearline.relations import RELATION, RELATION_END
from clearline.schema import (
    BANK_CODE,
    CATEGORY,
    IDENTIFIER,
    JWK,
    JWS_TEXT,
    KEY_ID,
    LAST4,
    MCC,
    MERCHANT_CODE,
    SHA256_HEX,
    Currency,
    Date,
    Listed,
    Mapped,
    Members,
    OneOf,
    Printable,
    Shape,
    Text,
)

# `merchant_key` and `acquirer_key` add or revoke one key, `merchant_code` adds one code. What a
# merchant must sign (clearline/changes.py) is in `change`, and the new key only there.
_KEYS: Final = Listed(JWK, 1, 8)
_KEY_CHANGE: Final[dict[str, Shape]] = {
    "action": OneOf(("add", "revoke")),
    "key_id": KEY_ID,
}
PROPOSALS: Final[dict[str, Members]] = {
    "entity": Members(
        {
            "entity_id": IDENTIFIER,
            "name": Printable(128),
            "country": Text("[A-Z]{2}", "must be an ISO 3166-1 alpha-2 code"),
            "registration_no": Text("[A-Za-z0-9.-]{1,32}"),
        }
    ),
    "account": Members(
        {
            "account_id": SHA256_HEX,
            "entity_id": IDENTIFIER,
            "bank_code": BANK_CODE,
            "last4": LAST4,
            "currency": Currency(),
        }
    ),
    "merchant": Members(
        {
            "merchant_id": IDENTIFIER,
            "entity_id": IDENTIFIER,
            "account_id": SHA256_HEX,
            "name": Printable(64),
            "mcc": MCC,
            "goods_categories": Listed(CATEGORY, 1, 16),
            "codes": Mapped(IDENTIFIER, Listed(MERCHANT_CODE, 1, 16), 8),
            "keys": _KEYS,
        }
    ),
    "acquirer": Members(
        {
            "acquirer_id": IDENTIFIER,
            "name": Printable(64),
            "currencies": Listed(Currency(), 1, 32),
            "licence_no": Text("[A-Za-z0-9.-]{1,32}"),
            "licence_valid_until": Date(),
            "keys": _KEYS,
        }
    ),
    "merchant_code": Members(
        {"merchant_id": IDENTIFIER, "acquirer_id": IDENTIFIER, "code": MERCHANT_CODE}
    ),
    "merchant_key": Members(
        {"merchant_id": IDENTIFIER, **_KEY_CHANGE, "change": JWS_TEXT}, frozenset({"change"})
    ),
    "merchant_account": Members(
        {"merchant_id": IDENTIFIER, "account_id": SHA256_HEX, "change": JWS_TEXT}
    ),
    "acquirer_key": Members(
        {"acquirer_id": IDENTIFIER, **_KEY_CHANGE, "jwk": JWK}, frozenset({"jwk"})
    ),
    "merchant_status": Members(
        {"merchant_id": IDENTIFIER, "status": OneOf(("active", "suspended"))}
    ),
    "acquirer_status": Members(
        {"acquirer_id": IDENTIFIER, "status": OneOf(("active", "suspended"))}
    ),
    "relation": RELATION,
    "relation_end": RELATION_END,
}
PROPOSAL_KINDS: Final = OneOf(tuple(PROPOSALS))
# A checker's approval of a `relation` attests it: it then waits for the supervisor, who makes it
# `approved` or `refused`.
ATTESTED: Final = "attested"
STATUSES: Final = ("proposed", ATTESTED, "approved", "rejected", "refused")
DECISION: Final = Members({"proposal_id": IDENTIFIER, "decision": OneOf(("approve", "reject"))})
