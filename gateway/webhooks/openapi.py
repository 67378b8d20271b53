"""OpenAPI 3.1 of the webhooks' resources."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from clearline import webhooks
from clearline.canonical import Json
from clearline.codes import Code
from clearline.webhooks import WEBHOOK_ID, EventType
from gateway.openapi_headers import Headers, Limited
from gateway.openapi_parts import COMPACT, bare, closed, content, problems, query, ref
from gateway.webhooks.registry import Shown

_SIGNED_CODES: Final = (
    Code.MALFORMED, Code.PARAMETER_INVALID, Code.NETWORK_MISMATCH, Code.MERCHANT_UNKNOWN,
    Code.KEY_UNKNOWN, Code.SIGNATURE_INVALID, Code.KEY_REVOKED, Code.KEY_NOT_YET_VALID,
    Code.RATE_LIMITED,
    Code.WEBHOOK_STALE, Code.CONFLICT, Code.PAYLOAD_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE,
    Code.NOT_ACCEPTABLE, Code.LEDGER_UNAVAILABLE, Code.WEBHOOKS_UNAVAILABLE,
)  # fmt: skip
_READ_CODES: Final = (
    Code.UNAUTHENTICATED, Code.TOKEN_EXPIRED, Code.KEY_UNKNOWN, Code.KEY_REVOKED,
    Code.KEY_NOT_YET_VALID,
    Code.SIGNATURE_INVALID, Code.PARAMETER_INVALID, Code.NOT_ACCEPTABLE, Code.RATE_LIMITED,
    Code.LEDGER_UNAVAILABLE, Code.WEBHOOKS_UNAVAILABLE,
)  # fmt: skip
_TYPES: Final = {"str": "string", "int": "integer"}
_ID: Final[Json] = {
    "name": "webhook_id", "in": "path", "required": True, "schema": WEBHOOK_ID.json_schema(),
}  # fmt: skip
_BODY: Final[Json] = {"required": True, "content": {"application/jose": {"schema": COMPACT}}}
# What is signed takes from the bucket of reads once its key is verified.
_SIGNING: Final = Limited(frozenset({404, 409, 429}), frozenset({404, 409, 429}))
_READING: Final = Limited(frozenset({404, 429}), frozenset({404, 429}))
_TAKEN: Final = Headers(("RateLimit-Policy", "RateLimit"))


def paths() -> dict[str, Json]:
    """The addresses of these resources."""
    shown = ref("Webhook")
    put = {
        "operationId": "putWebhook",
        "summary": "Register a webhook, or change it.",
        "parameters": [_ID],
        "requestBody": _BODY,
        "responses": {
            "200": content("Changed, or taken before: the webhook as it is now.", shown, _TAKEN),
            "201": content("Registered.", shown, _TAKEN),
            **problems((*_SIGNED_CODES, Code.WEBHOOK_TARGET_REFUSED, Code.WEBHOOK_LIMIT), _SIGNING),
        },
    }
    delete = {
        "operationId": "deleteWebhook",
        "summary": "Remove a webhook and what waits for it.",
        "parameters": [_ID],
        "requestBody": _BODY,
        "responses": {
            "204": bare("Removed.", _TAKEN),
            **problems((*_SIGNED_CODES, Code.WEBHOOK_UNKNOWN), _SIGNING),
        },
    }
    get = {
        "operationId": "getWebhook",
        "summary": "A webhook and how its deliveries go.",
        "parameters": [_ID],
        **_reading("The webhook.", shown, Code.WEBHOOK_UNKNOWN),
    }
    listed = {
        "operationId": "listWebhooks",
        "summary": "The merchant's webhooks at this gateway.",
        **_reading("All of them.", ref("WebhookList")),
    }
    events = {
        "operationId": "listEvents",
        "summary": "The merchant's events, oldest first, from a cursor on.",
        "parameters": [
            query("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}),
            query("cursor", {"type": "string"}),
        ],
        **_reading(
            "A page; next_cursor is good for the next look, now or later.",
            ref("Events"),
            block=("Clearline-Block",),
        ),
    }
    return {
        "/v1/webhooks": {"get": listed},
        "/v1/webhooks/{webhook_id}": {"put": put, "get": get, "delete": delete},
        "/v1/events": {"get": events},
    }


def schemas() -> dict[str, Json]:
    """The schemas these addresses name."""
    members: dict[str, Json] = {
        item.name: {"type": _TYPES.get(str(item.type), "string")} for item in fields(Shown)
    }
    del members["from_block"]
    kind = {"type": "string", "enum": [event.value for event in EventType]}
    members |= {
        "status": {"type": "string", "enum": ["active", "disabled"]},
        "events": {"type": "array", "items": kind},
        "cursor": {"type": "string", "description": "GET /v1/events has what came before it"},
        "keys": {
            "type": "array",
            "items": {"type": "string", "pattern": "^whpk_[A-Za-z0-9+/]{43}=$"},
            "description": "public keys that sign for it (Standard Webhooks, v1a)",
        },
    }
    event: dict[str, Json] = {
        "type": kind,
        "timestamp": {"type": "string", "format": "date-time"},
        "data": ref("Payment"),
    }
    named = {"id": {"type": "string"}, "cursor": {"type": "string"}}
    return {
        "WebhookRegistration": webhooks.REGISTER.json_schema()
        | {"description": "the payload of a PUT's JWS (typ clearline-webhook+jws)"},
        "WebhookRemoval": webhooks.REMOVE.json_schema()
        | {"description": "the payload of a DELETE's JWS (typ clearline-webhook+jws)"},
        "Webhook": closed(members),
        "WebhookList": closed({"webhooks": {"type": "array", "items": ref("Webhook")}}),
        "Event": closed(event) | {"description": "the body of a webhook"},
        "Events": closed(
            {
                "events": {"type": "array", "items": closed(named | event)},
                "next_cursor": {"type": "string"},
                "last_block": {"type": "integer"},
            }
        ),
    }


def _reading(description: str, schema: Json, *codes: Code, block: tuple[str, ...] = ()) -> Json:
    headers = Headers(("RateLimit-Policy", "RateLimit", *block))
    responses = {
        "200": content(description, schema, headers),
        **problems((*_READ_CODES, *codes), _READING),
    }
    return {"security": [{"bearer": []}], "responses": responses}
