"""The operations of the OpenAPI document; webhooks have theirs in gateway.webhooks.openapi."""

from __future__ import annotations

from typing import Final

from clearline.canonical import MAX_INTEGER, Json
from clearline.codes import Code
from clearline.schema import ATTEMPT, ORDER_NO
from gateway import receipt_reads, refund_openapi, selection, settlement_openapi
from gateway.openapi_headers import Headers, Limited
from gateway.openapi_parts import COMPACT, bare, content, listed, problems, query, ref
from gateway.reads import DEFAULT_PAGE, LARGEST_PAGE
from gateway.selection import STATUSES
from gateway.webhooks import openapi as webhooks

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
# What is refused before the application has read what it is, or where: no policy is known.
_POSTING: Final = Limited(frozenset({401, 403, 404, 409, 413, 415, 422, 429}), frozenset({429}))
# Reads take from the bucket once the token is verified.
_READING: Final = Limited(frozenset({404, 429}), frozenset({404, 429}))
_READ: Final = ("Clearline-Block", "RateLimit-Policy", "RateLimit")
_POSTED: Final = ("Location", "RateLimit-Policy")
_MIN_BLOCK: Final = query("min_block", {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER})
_PREFER: Final[Json] = {
    "name": "Prefer",
    "in": "header",
    "description": "RFC 7240: `wait=N` seconds for the final status, `respond-async`",
    "schema": {"type": "string"},
}


_LIMIT: Final = query(
    "limit", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": DEFAULT_PAGE}
)
_SHARED: Final = refund_openapi.Shared(
    _PREFER, _LIMIT, _MIN_BLOCK, _READ_CODES, _READ, _POSTED, _READING, _POSTING
)


def paths(intent_codes: tuple[Code, ...]) -> dict[str, Json]:
    """The addresses; `intent_codes` are what an intent can be refused with."""
    page = _page("A code, with what to do.", "ProblemPage")
    page["parameters"] = [
        {"name": "code", "in": "path", "required": True, "schema": ref("Code")},
    ]
    return {
        "/v1/payments": {"post": _post(intent_codes), "get": _list()},
        "/v1/payments/batch": {"post": _batch()},
        "/v1/payments/{order_no}": {"get": _get()},
        "/v1/payments/{order_no}/receipts": receipt_reads.path(
            _MIN_BLOCK, _READ_CODES, Headers(_READ), _READING
        ),
        **settlement_openapi.paths(_MIN_BLOCK, _READ_CODES, Headers(_READ), _READING),
        **refund_openapi.paths(_SHARED),
        **webhooks.paths(),
        "/v1/gateway": {"get": _about()},
        "/healthz": {"get": _plain("The process is alive.", ref("Alive"))},
        "/readyz": {"get": _ready()},
        "/openapi.json": {"get": _plain("This document.", {"type": "object"})},
        "/docs": {"get": _page("This interface as a page.")},
        "/problems": {"get": _page("Every code, with what to do.", "ProblemPages")},
        "/problems/{code}": {"get": page},
        "/metrics": {"get": _metrics()},
    }


def _post(intent_codes: tuple[Code, ...]) -> Json:
    payment = ref("Payment")
    on_ledger = Headers((*_POSTED, "Clearline-Block"), ("RateLimit", "Preference-Applied"))
    # A close that waits here shows the payment as it is, which may be on the ledger.
    held = Headers(_POSTED, ("RateLimit", "Preference-Applied", "Clearline-Block"))
    return {
        "operationId": "postPayment",
        "summary": "Request a payment, or close one that is open.",
        "description": (
            "The payload's `kind` says which. Sending the same intent again is always safe, to any"
            " gateway."
        ),
        "parameters": [_PREFER],
        "requestBody": {"required": True, "content": {"application/jose": {"schema": COMPACT}}},
        "responses": {
            "200": content(
                "The same intent is on the ledger: the payment as it is now.", payment, on_ledger
            ),
            "201": content(
                "The payment, or the close on it, is on the ledger.", payment, on_ledger
            ),
            "202": content(
                "Stored durably, with a signed receipt; not on the ledger yet.", payment, held
            ),
            **problems((*intent_codes, *_REQUEST_CODES), _POSTING),
        },
    }


def _batch() -> Json:
    sometimes = ("RateLimit", "Preference-Applied", "Clearline-Block", "Retry-After")
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
            "200": content(
                "What became of each.", ref("Outcomes"), Headers(("RateLimit-Policy",), sometimes)
            ),
            **problems((*_BATCH_CODES, *_REQUEST_CODES), _POSTING),
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
            "200": content(
                "The payment.", ref("Payment"), Headers(_READ, ("ETag", "Preference-Applied"))
            ),
            "304": bare("As If-None-Match named it.", Headers((*_READ, "ETag"))),
            **problems((Code.PAYMENT_UNKNOWN, *_READ_CODES), _READING),
        },
    }


def _list() -> Json:
    created = selection.CREATED.json_schema()
    return {
        "operationId": "listPayments",
        "summary": "The merchant's payments on the ledger, newest first.",
        "description": (
            "Filters hold together. With filters a page may have fewer than `limit`, even none:"
            " the last is the one without a next_cursor."
        ),
        "security": [{"bearer": []}],
        "parameters": [
            _LIMIT,
            query("cursor", {"type": "string"}),
            query(
                "status",
                listed({"type": "string", "enum": list(STATUSES)}),
                "given more than once: one of them",
            ),
            query("acquirer", selection.ACQUIRER.json_schema(), "the route's"),
            query("created_from", created, "the intent was signed then or later"),
            query("created_to", created, "the intent was signed before"),
            _MIN_BLOCK,
        ],
        "responses": {
            "200": content("A page.", ref("PaymentPage"), Headers(_READ)),
            **problems(_READ_CODES, _READING),
        },
    }


def _plain(summary: str, schema: Json) -> Json:
    return {"summary": summary, "responses": {"200": content(summary, schema)}}


def _ready() -> Json:
    summary = "Whether payments can be taken now."
    return {
        "summary": summary,
        "responses": {
            "200": content(summary, ref("Ready")),
            "503": content("Not ready.", ref("NotReady"), Headers(("Retry-After",))),
        },
    }


def _about() -> Json:
    return {
        "operationId": "getGateway",
        "summary": "Who this gateway is, its receipt keys, and its acquirers' availability.",
        "responses": {
            "200": content("This gateway.", ref("Gateway")),
            **problems((Code.PARAMETER_INVALID, Code.NOT_ACCEPTABLE, Code.LEDGER_UNAVAILABLE)),
        },
    }


def _page(summary: str, schema: str = "") -> dict[str, Json]:
    as_json = {"application/json": {"schema": ref(schema)}} if schema else {}
    answer = bare(summary, Headers(("Vary",))) | {"content": {"text/html": {}, **as_json}}
    return {
        "summary": summary,
        "responses": {"200": answer, **problems((Code.NOT_FOUND,))},
    }


def _metrics() -> Json:
    formats: Json = {"text/plain": {}, "application/openmetrics-text": {}}
    return {
        "summary": "For Prometheus, from the addresses in the settings only.",
        "responses": {
            "200": bare("Text format, or OpenMetrics.") | {"content": formats},
            **problems((Code.NOT_FOUND,)),
        },
    }
