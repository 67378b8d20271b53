"""OpenAPI 3.1 of the refunds' resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from clearline import refunds
from clearline.answers import RefundAnswer
from clearline.canonical import Json
from clearline.codes import Code
from clearline.schema import ATTEMPT, ORDER_NO, REFUND_NO
from gateway.openapi_headers import Headers, Limited
from gateway.openapi_parts import COMPACT, bare, closed, content, listed, problems, query, ref

# What the door, the contract and the gateway's own limits can answer to a refund.
REFUND_CODES: Final = (
    Code.MALFORMED, Code.CARD_DATA_REFUSED, Code.NETWORK_MISMATCH, Code.MERCHANT_UNKNOWN,
    Code.KEY_UNKNOWN, Code.SIGNATURE_INVALID, Code.KEY_REVOKED, Code.KEY_NOT_YET_VALID,
    Code.CONFLICT, Code.PAYMENT_UNKNOWN, Code.NOT_REFUNDABLE, Code.REFUND_AMOUNT_REFUSED,
    Code.NOT_YET_VALID, Code.EXPIRED, Code.REFUND_OUT_OF_ORDER, Code.ROLE_FORBIDDEN,
    Code.PAYLOAD_TOO_LARGE, Code.RATE_LIMITED, Code.OVERLOADED, Code.LEDGER_UNAVAILABLE,
    Code.ACQUIRER_UNAVAILABLE,
    Code.UNSUPPORTED_MEDIA_TYPE, Code.PARAMETER_INVALID, Code.NOT_ACCEPTABLE,
)  # fmt: skip
_OWN: Final[dict[str, Json]] = {
    "refund_no": REFUND_NO.json_schema(),
    "clearing_date": {"type": "string", "description": "of the result, empty until there is one"},
}
_ORDER: Final[Json] = {
    "name": "order_no", "in": "path", "required": True, "schema": ORDER_NO.json_schema(),
}  # fmt: skip
_NUMBER: Final[Json] = {
    "name": "refund_no", "in": "path", "required": True, "schema": REFUND_NO.json_schema(),
}  # fmt: skip
_ATTEMPT: Final = query("attempt", ATTEMPT.json_schema())


@dataclass(frozen=True, slots=True)
class Shared:
    """What reads, lists and posts of every resource have: parameters, codes, headers, buckets."""

    prefer: Json
    limit: Json
    min_block: Json
    read_codes: tuple[Code, ...]
    read: tuple[str, ...]
    posted: tuple[str, ...]
    reading: Limited
    posting: Limited


def paths(shared: Shared) -> dict[str, Json]:
    """The addresses of these resources."""
    refund = ref("Refund")
    on_ledger = Headers((*shared.posted, "Clearline-Block"), ("RateLimit", "Preference-Applied"))
    held = Headers(shared.posted, ("RateLimit", "Preference-Applied"))
    post = {
        "operationId": "postRefund",
        "summary": "Give back money of a payment that has succeeded.",
        "description": "Sending the same intent again is always safe, to any gateway.",
        "parameters": [_ORDER, shared.prefer],
        "requestBody": {"required": True, "content": {"application/jose": {"schema": COMPACT}}},
        "responses": {
            "200": content(
                "The same intent is on the ledger: the refund as it is now.", refund, on_ledger
            ),
            "201": content("The refund is on the ledger.", refund, on_ledger),
            "202": content(
                "Stored durably, with a signed receipt; not on the ledger yet.", refund, held
            ),
            **problems(REFUND_CODES, shared.posting),
        },
    }
    all_ = {
        "operationId": "listRefunds",
        "summary": "The refunds of an order on the ledger.",
        "security": [{"bearer": []}],
        "parameters": [
            _ORDER,
            _ATTEMPT,
            shared.limit,
            query("cursor", {"type": "string"}),
            shared.min_block,
        ],
        "responses": {
            "200": content("A page, by attempt and number.", ref("Refunds"), Headers(shared.read)),
            **problems(shared.read_codes, shared.reading),
        },
    }
    one = {
        "operationId": "getRefund",
        "summary": "One refund, of the newest attempt by default.",
        "security": [{"bearer": []}],
        "parameters": [_ORDER, _NUMBER, _ATTEMPT, shared.min_block, shared.prefer],
        "responses": {
            "200": content(
                "The refund.", refund, Headers(shared.read, ("ETag", "Preference-Applied"))
            ),
            "304": bare("As If-None-Match named it.", Headers((*shared.read, "ETag"))),
            **problems((Code.REFUND_UNKNOWN, *shared.read_codes), shared.reading),
        },
    }
    return {
        "/v1/payments/{order_no}/refunds": {"post": post, "get": all_},
        "/v1/payments/{order_no}/refunds/{refund_no}": {"get": one},
    }


def schemas(members: Mapping[str, Json]) -> dict[str, Json]:
    """The shapes of these resources; `members` are those of a payment's answer."""
    known = {**members, **_OWN}
    return {
        "RefundIntent": refunds.REFUND.json_schema()
        | {"description": "the payload of a refund's JWS (typ clearline-intent+jws)"},
        "Refund": closed({item.name: known[item.name] for item in fields(RefundAnswer)}),
        "Refunds": closed(
            {
                "refunds": listed(ref("Refund")),
                "next_cursor": {"type": ["string", "null"]},
                "last_block": {"type": "integer", "minimum": -1},
            }
        ),
    }
