"""OpenAPI 3.1 of this interface, made from the shapes and codes the code itself uses."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Final

from clearline import intents
from clearline.answers import EXCEPTION_MEMBERS, RECEIPT, PaymentAnswer
from clearline.canonical import MAX_INTEGER, Json
from clearline.codes import Code
from clearline.jws import MAX_COMPACT
from clearline.refusals import REFUSAL
from clearline.schema import AMOUNT, ATTEMPT, IDENTIFIER, ORDER_NO, SHA256_HEX
from clearline.statuses import Reason, Status
from gateway import receipt_reads
from gateway.availability import Availability
from gateway.openapi_parts import content, problems, query, ref
from gateway.reads import DEFAULT_PAGE, LARGEST_PAGE
from gateway.selection import STATUSES
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
_REQUEST_CODES: Final = (
    Code.UNSUPPORTED_MEDIA_TYPE, Code.PARAMETER_INVALID, Code.NOT_ACCEPTABLE,
)  # fmt: skip
_BATCH_CODES: Final = (
    Code.MALFORMED, Code.BATCH_TOO_LARGE, Code.PAYLOAD_TOO_LARGE, Code.LEDGER_UNAVAILABLE,
)  # fmt: skip
_READ_CODES: Final = (
    Code.UNAUTHENTICATED, Code.TOKEN_EXPIRED, Code.KEY_UNKNOWN, Code.KEY_REVOKED,
    Code.KEY_NOT_YET_VALID,
    Code.SIGNATURE_INVALID, Code.PARAMETER_INVALID, Code.NOT_ACCEPTABLE, Code.RATE_LIMITED,
    Code.LEDGER_UNAVAILABLE, Code.BLOCK_NOT_REACHED,
)  # fmt: skip
_CODE_SCHEMA: Final[Json] = {"type": "string", "enum": [code.value for code in Code]}
_COMPACT: Final[Json] = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
    "maxLength": MAX_COMPACT,
}
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
        "items": {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "enum": ["late_success"]},
                "sequence": {"type": "integer", "description": "the number of its report"},
                "amount": AMOUNT.json_schema() | {"description": "what was paid"},
                "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                "status": {"type": "string", "enum": ["open", "resolved"]},
                "tx_id": {"type": "string"},
            },
            "required": list(EXCEPTION_MEMBERS),
        },
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
        "paths": {
            "/v1/payments": {"post": _post(), "get": _list()},
            "/v1/payments/batch": {"post": _batch()},
            "/v1/payments/{order_no}": {"get": _get()},
            "/v1/payments/{order_no}/receipts": receipt_reads.path(_MIN_BLOCK, _READ_CODES),
            **webhooks.paths(),
            "/v1/gateway": {"get": _about()},
            "/healthz": {"get": _health("The process is alive.", {})},
            "/readyz": {
                "get": _health(
                    "Whether payments can be taken now.", {"503": content("Not ready.", {})}
                )
            },
            "/openapi.json": {"get": _health("This document.", {})},
            "/docs": {"get": _page("This interface as a page.")},
            "/problems": {"get": _page("Every code, with what to do.")},
            "/problems/{code}": {"get": _page("A code, with what to do.") | _CODE_PARAMETER},
            "/metrics": {"get": _metrics()},
        },
        "components": {
            "schemas": _schemas(settings),
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
        **webhooks.schemas(),
        "PayIntent": intents.PAY.json_schema()
        | {"description": "the payload of an intent's JWS (typ clearline-intent+jws)"},
        "CloseIntent": intents.CLOSE.json_schema()
        | {"description": "the payload of a close's JWS (the same typ): it ends an open payment"},
        "Receipt": RECEIPT.json_schema()
        | {"description": "the payload of a receipt's JWS (typ clearline-receipt+jws)"},
        "RefusalPayload": REFUSAL.json_schema()
        | {"description": "the payload of a refusal's JWS (typ clearline-refusal+jws)"},
        "Receipts": receipt_reads.SCHEMA,
        "Payment": {
            "type": "object",
            "properties": {item.name: _ANSWER_MEMBERS[item.name] for item in fields(PaymentAnswer)},
            "required": [item.name for item in fields(PaymentAnswer) if item.default is MISSING],
        },
        "PaymentPage": {
            "type": "object",
            "properties": {
                "payments": {"type": "array", "items": ref("Payment")},
                "next_cursor": {"type": ["string", "null"]},
                "last_block": {"type": "integer"},
            },
            "required": ["payments", "next_cursor", "last_block"],
        },
        "Batch": {
            "type": "object",
            "properties": {
                "intents": {
                    "type": "array",
                    "items": _COMPACT,
                    "minItems": 1,
                    "maxItems": settings.limits.batch_items,
                }
            },
            "required": ["intents"],
            "additionalProperties": False,
        },
        "Outcome": {
            "type": "object",
            "properties": {
                "status": {"type": "integer", "description": "as a single post's would be"},
                "code": {"anyOf": [ref("Code"), {"type": "null"}]},
                "detail": {"type": "string"},
                "payment": {"anyOf": [ref("Payment"), {"type": "null"}]},
            },
            "required": ["status", "code", "detail", "payment"],
        },
        "Outcomes": {
            "type": "object",
            "properties": {"outcomes": {"type": "array", "items": ref("Outcome")}},
            "required": ["outcomes"],
        },
        "Gateway": {
            "type": "object",
            "description": "who this gateway is, and which acquirers it finds available",
            "properties": {
                "name": IDENTIFIER.json_schema(),
                "network": {"type": "string"},
                "audience": {"type": "string"},
                "msp_id": {"type": "string", "description": "the member that runs it"},
                "certificate": {"type": "string", "description": "PEM; its identity on the ledger"},
                "receipt_keys": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "kid": {"type": "string"},
                            "alg": {"type": "string"},
                            "jwk": {"type": "object"},
                        },
                        "required": ["kid", "alg", "jwk"],
                    },
                },
                "limits": {"type": "object"},
                "last_block": {"type": "integer"},
                "acquirers": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "acquirer_id": IDENTIFIER.json_schema(),
                            "availability": {
                                "type": "string",
                                "enum": [item.label for item in Availability],
                            },
                            "reason": {"type": "string"},
                        },
                        "required": ["acquirer_id", "availability", "reason"],
                    },
                },
            },
            "required": [
                "name",
                "network",
                "audience",
                "msp_id",
                "certificate",
                "receipt_keys",
                "limits",
                "last_block",
                "acquirers",
            ],
        },
        "Code": _CODE_SCHEMA,
        "Problem": {
            "type": "object",
            "description": "RFC 9457",
            "properties": {
                "type": {"type": "string", "format": "uri"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "instance": {"type": "string", "format": "uri"},
                "code": {"anyOf": [ref("Code"), {"type": "null"}]},
                "receipt_refusal": _COMPACT
                | {"description": "why an intent with a receipt won't be there: a RefusalPayload"},
            },
            "required": ["type", "title", "status", "detail", "code"],
        },
    }


def _post() -> Json:
    payment = ref("Payment")
    return {
        "operationId": "postPayment",
        "summary": "Request a payment, or close one that is open.",
        "description": (
            "The payload's `kind` says which. Sending the same intent again is always safe, to any"
            " gateway."
        ),
        "parameters": [_PREFER],
        "requestBody": {"required": True, "content": {"application/jose": {"schema": _COMPACT}}},
        "responses": {
            "200": content("The same intent is on the ledger: the payment as it is now.", payment),
            "201": content("The payment, or the close on it, is on the ledger.", payment),
            "202": content(
                "Stored durably, with a signed receipt; not on the ledger yet.", payment
            ),
            **problems((*INTENT_CODES, *_REQUEST_CODES)),
        },
    }


def _batch() -> Json:
    return {
        "operationId": "postPaymentBatch",
        "summary": "Request many payments.",
        "description": "One outcome an intent, in order; a bad one spoils no other.",
        "parameters": [_PREFER],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("Batch")}},
        },
        "responses": {
            "200": content("What became of each.", ref("Outcomes")),
            **problems((*_BATCH_CODES, *_REQUEST_CODES)),
        },
    }


def _get() -> Json:
    return {
        "operationId": "getPayment",
        "summary": "One attempt at an order, the newest by default.",
        "security": [{"bearer": []}],
        "parameters": [
            {"name": "order_no", "in": "path", "required": True, "schema": ORDER_NO.json_schema()},
            query("attempt", ATTEMPT.json_schema()),
            _MIN_BLOCK,
            _PREFER,
        ],
        "responses": {
            "200": content("The payment.", ref("Payment")),
            "304": {"description": "As If-None-Match named it."},
            **problems((Code.PAYMENT_UNKNOWN, *_READ_CODES)),
        },
    }


def _list() -> Json:
    return {
        "operationId": "listPayments",
        "summary": "The merchant's payments on the ledger, newest first.",
        "security": [{"bearer": []}],
        "parameters": [
            query(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": DEFAULT_PAGE},
            ),
            query("cursor", {"type": "string"}),
            query("status", {"type": "string", "enum": list(STATUSES)}),
            _MIN_BLOCK,
        ],
        "responses": {
            "200": content("A page.", ref("PaymentPage")),
            **problems(_READ_CODES),
        },
    }


def _health(summary: str, more: dict[str, Json]) -> Json:
    return {"summary": summary, "responses": {"200": content(summary, {}), **more}}


def _about() -> Json:
    return {
        "operationId": "getGateway",
        "summary": "Who this gateway is, its receipt keys, and its acquirers' availability.",
        "responses": {
            "200": content("This gateway.", ref("Gateway")),
            **problems((Code.PARAMETER_INVALID, Code.NOT_ACCEPTABLE, Code.LEDGER_UNAVAILABLE)),
        },
    }


def _page(summary: str) -> Json:
    return {
        "summary": summary,
        "responses": {
            "200": {
                "description": summary,
                "content": {"text/html": {}, "application/json": {"schema": {}}},
            },
            **problems((Code.NOT_FOUND,)),
        },
    }


def _metrics() -> Json:
    return {
        "summary": "For Prometheus, from the addresses in the settings only.",
        "responses": {
            "200": {
                "description": "Text format, or OpenMetrics.",
                "content": {"text/plain": {}, "application/openmetrics-text": {}},
            },
            **problems((Code.NOT_FOUND,)),
        },
    }


_CODE_PARAMETER: Final[dict[str, Json]] = {
    "parameters": [
        {"name": "code", "in": "path", "required": True, "schema": _CODE_SCHEMA},
    ]
}


_MIN_BLOCK: Final = query("min_block", {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER})
_PREFER: Final[Json] = {
    "name": "Prefer",
    "in": "header",
    "description": "RFC 7240: `wait=N` seconds for the final status, `respond-async`",
    "schema": {"type": "string"},
}
