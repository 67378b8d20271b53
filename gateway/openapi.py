"""OpenAPI 3.1 of this interface, made from the shapes and codes the code itself uses."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import Final

from clearline import intents
from clearline.answers import RECEIPT, PaymentAnswer
from clearline.canonical import Json
from clearline.codes import Code
from clearline.refusals import REFUSAL
from clearline.schema import AMOUNT, ATTEMPT, IDENTIFIER, ORDER_NO, SHA256_HEX
from clearline.statuses import Reason, Status
from gateway import (
    about,
    openapi_headers,
    openapi_paths,
    receipt_reads,
    refund_openapi,
    refund_rows,
    settlement_openapi,
)
from gateway.availability import Availability
from gateway.openapi_parts import COMPACT, closed, listed, ref
from gateway.settings import Settings
from gateway.webhooks import openapi as webhooks

# What the door, the contract and the gateway's own limits can answer to an intent.
INTENT_CODES: Final = (
    Code.MALFORMED, Code.CARD_DATA_REFUSED, Code.NETWORK_MISMATCH, Code.MERCHANT_UNKNOWN,
    Code.KEY_UNKNOWN, Code.SIGNATURE_INVALID, Code.KEY_REVOKED, Code.KEY_NOT_YET_VALID,
    Code.CONFLICT,
    Code.MERCHANT_INACTIVE, Code.ACQUIRER_NOT_ACCEPTABLE, Code.ACQUIRER_UNKNOWN,
    Code.ACQUIRER_INACTIVE, Code.MERCHANT_CODE_MISMATCH, Code.CURRENCY_NOT_ACCEPTED, Code.EXPIRED,
    Code.NOT_YET_VALID, Code.ALREADY_SUCCEEDED, Code.ATTEMPT_OUT_OF_ORDER, Code.ROLE_FORBIDDEN,
    Code.PAYLOAD_TOO_LARGE, Code.RATE_LIMITED, Code.OVERLOADED, Code.LEDGER_UNAVAILABLE,
    Code.ACQUIRER_UNAVAILABLE, Code.PAYMENT_UNKNOWN, Code.ALREADY_FINAL,
)  # fmt: skip
_CODE_SCHEMA: Final[Json] = {"type": "string", "enum": [code.value for code in Code]}
_ANSWER_MEMBERS: Final[dict[str, Json]] = {
    "merchant_id": IDENTIFIER.json_schema(),
    "order_no": ORDER_NO.json_schema(),
    "attempt": ATTEMPT.json_schema(),
    "status": {"type": "string", "enum": [status.value for status in Status]},
    "final": {"type": "boolean"},
    "amount": AMOUNT.json_schema() | {"description": "in the currency's minor unit"},
    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    "acquirer_id": IDENTIFIER.json_schema(),
    "intent_digest": SHA256_HEX.json_schema(),
    "reason": {"type": "string", "enum": ["", *(reason.value for reason in Reason)]},
    "response": {"type": ["string", "null"], "description": "the acquirer's response, a JWS"},
    "result": {"type": ["string", "null"], "description": "the acquirer's result, a JWS"},
    "receipt": {"type": ["string", "null"], "description": "this gateway's receipt, a JWS"},
    "close": {"type": ["string", "null"], "description": "the merchant's close, a JWS"},
    "exceptions": {
        "type": "array",
        "description": "what came after the end: a success that is to be given back",
        "items": closed(
            {
                "kind": {"type": "string", "enum": ["late_success"]},
                "sequence": {"type": "integer", "description": "the number of its report"},
                "amount": AMOUNT.json_schema() | {"description": "what was paid"},
                "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                "status": {"type": "string", "enum": ["open", "resolved"]},
                "tx_id": {"type": "string"},
            }
        ),
    },
    "refunded_amount": {
        "type": "integer",
        "minimum": 0,
        "description": "what refunds have given back of it, in the currency's minor unit",
    },
    "tx_id": {"type": ["string", "null"], "description": "of its newest change"},
    "block_number": {"type": ["integer", "null"], "minimum": 0},
}


@lru_cache(maxsize=4)
def document(settings: Settings) -> Json:
    """The description a gateway with these settings serves."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clearline gateway",
            "version": "1",
            "description": (
                "Signed payment intents in, committed and bank-signed outcomes out."
                " Every error is application/problem+json with a stable `code`."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": settings.audience}],
        "paths": openapi_paths.paths(INTENT_CODES),
        "components": {
            "schemas": _schemas(settings),
            "headers": openapi_headers.components(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "short-lived, signed by the merchant for this gateway (aud)",
                }
            },
        },
    }


def _schemas(settings: Settings) -> Json:
    return {
        **settlement_openapi.schemas(),
        **webhooks.schemas(),
        **refund_openapi.schemas(_ANSWER_MEMBERS),
        "PayIntent": intents.PAY.json_schema()
        | {"description": "the payload of an intent's JWS (typ clearline-intent+jws)"},
        "CloseIntent": intents.CLOSE.json_schema()
        | {"description": "the payload of a close's JWS (the same typ): it ends an open payment"},
        "Receipt": RECEIPT.json_schema()
        | {"description": "the payload of a receipt's JWS (typ clearline-receipt+jws)"},
        "RefusalPayload": REFUSAL.json_schema()
        | {"description": "the payload of a refusal's JWS (typ clearline-refusal+jws)"},
        "Receipts": receipt_reads.SCHEMA,
        "Payment": closed(
            {item.name: _ANSWER_MEMBERS[item.name] for item in fields(PaymentAnswer)}
            | {
                "refunds": listed(ref("Refund"))
                | {
                    "maxItems": refund_rows.SHOWN,
                    "description": "with one payment that has any: the newest of those on the"
                    " ledger, in order; its list of refunds has all",
                }
            },
            optional=("refunds",),
        ),
        "PaymentPage": closed(
            {
                "payments": listed(ref("Payment")),
                "next_cursor": {"type": ["string", "null"]},
                "last_block": {"type": "integer"},
            }
        ),
        "Batch": closed(
            {
                "intents": {
                    "type": "array",
                    "items": COMPACT,
                    "minItems": 1,
                    "maxItems": settings.limits.batch_items,
                }
            }
        ),
        "Outcome": closed(
            {
                "status": {"type": "integer", "description": "as a single post's would be"},
                "code": {"anyOf": [ref("Code"), {"type": "null"}]},
                "detail": {"type": "string"},
                "payment": {"anyOf": [ref("Payment"), {"type": "null"}]},
            }
        ),
        "Outcomes": closed({"outcomes": listed(ref("Outcome"))}),
        "Gateway": _gateway(),
        "Code": _CODE_SCHEMA,
        "Problem": closed(
            {
                "type": {"type": "string", "format": "uri"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "instance": {"type": "string", "format": "uri"},
                "code": {"anyOf": [ref("Code"), {"type": "null"}]},
                "receipt_refusal": COMPACT
                | {"description": "why an intent with a receipt won't be there: a RefusalPayload"},
            },
            optional=("receipt_refusal",),
        )
        | {"description": "RFC 9457"},
        **_of_pages(),
    }


def _gateway() -> Json:
    text: Json = {"type": "string"}
    okp = {"kty": {"const": "OKP"}, "crv": text, "x": text}
    ec = {"kty": {"const": "EC"}, "crv": text, "x": text, "y": text}
    jwk = {"anyOf": [closed(okp), closed(ec)]}
    key = {"kid": {"type": "string"}, "alg": {"type": "string"}, "jwk": jwk}
    labels = [item.label for item in Availability]
    acquirer = {
        "acquirer_id": IDENTIFIER.json_schema(),
        "availability": {"type": "string", "enum": labels},
        "reason": {"type": "string"},
    }
    members = {
        "name": IDENTIFIER.json_schema(),
        "network": {"type": "string"},
        "audience": {"type": "string"},
        "msp_id": {"type": "string", "description": "the member that runs it"},
        "certificate": {"type": "string", "description": "PEM; its identity on the ledger"},
        "receipt_keys": listed(closed(key)),
        "limits": closed({name: {"type": "integer", "minimum": 1} for name in about.SHOWN}),
        "last_block": {"type": "integer"},
        "acquirers": listed(closed(acquirer)),
    }
    description = "who this gateway is, and which acquirers it finds available"
    return closed(members) | {"description": description}


def _of_pages() -> dict[str, Json]:
    """Of what people and their machines look at."""
    text, number, flag = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
    standing = {
        "gateway": IDENTIFIER.json_schema(),
        "last_block": number,
        "committer": flag,
        "following": flag,
        "level": flag,
        "waiting": number,
    }
    page = {"code": ref("Code"), "type": text, "title": text, "status": number, "advice": text}
    return {
        "Alive": closed({"status": {"const": "alive"}}),
        "Ready": closed(standing | {"status": {"const": "ready"}}),
        "NotReady": closed(
            standing | {"status": {"const": "not_ready"}, "reason": text},
            optional=("last_block", "following", "level", "waiting"),
        ),
        "ProblemPage": closed(page),
        "ProblemPages": closed({"problems": listed(ref("ProblemPage"))}),
    }
