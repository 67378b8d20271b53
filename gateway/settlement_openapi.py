"""OpenAPI 3.1 of the settlements."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from clearline.canonical import Json
from clearline.clearing_records import Standing
from clearline.clearing_schema import MAX_RUNS, SETTLEMENT_ID
from clearline.codes import Code
from clearline.schema import IDENTIFIER, MERCHANT_CODE, SHA256_HEX, Date
from clearline.settlement_answers import SettlementAnswer
from gateway.openapi_headers import Headers, Limited
from gateway.openapi_parts import closed, content, listed, problems, query, ref
from gateway.reads import DEFAULT_PAGE, LARGEST_PAGE
from gateway.settlements import ADDRESS

_CURRENCY: Final[Json] = {"type": "string", "pattern": "^[A-Z]{3}$"}
_TOTAL: Final[Json] = {"type": "integer", "minimum": 0}
_PLACE: Final[dict[str, Json]] = {
    "acquirer_id": IDENTIFIER.json_schema(),
    "merchant_code": MERCHANT_CODE.json_schema(),
    "currency": _CURRENCY,
    "clearing_date": Date().json_schema(),
    "run": {"type": "integer", "minimum": 1, "maximum": MAX_RUNS},
}
_MEMBERS: Final[dict[str, Json]] = _PLACE | {
    "id": SETTLEMENT_ID.json_schema(),
    "merchant_id": IDENTIFIER.json_schema(),
    "status": {"type": "string", "enum": [one.value for one in Standing]},
    "account_id": SHA256_HEX.json_schema() | {"description": "the payee: a keyed hash"},
    "file_digest": SHA256_HEX.json_schema() | {"description": "of the acquirer's file"},
    "lines": _TOTAL,
    "payments": _TOTAL | {"description": "in the currency's minor unit, as all amounts"},
    "refunds": _TOTAL,
    "fees": _TOTAL,
    "adjustments": {"type": "integer", "description": "what the merchant gets by them"},
    "carried": {"type": "integer", "description": "carried forward from the one before"},
    "net": {"type": "integer", "description": "payments - refunds - fees + adjustments + carried"},
    "block_number": _TOTAL | {"description": "of its newest change"},
    "parts": {
        "type": "array",
        "items": {"type": "string"},
        "description": "header and lines as the bank signed them, JWS texts; empty in a list",
    },
    "file": {"type": ["string", "null"], "description": "the file's control totals, a JWS"},
    "payout": {"type": ["string", "null"], "description": "what became of the money, a JWS"},
}


def schemas() -> dict[str, Json]:
    """The shapes of these resources."""
    members = {item.name: _MEMBERS[item.name] for item in fields(SettlementAnswer)}
    page = {
        "settlements": listed(ref("Settlement")),
        "next_cursor": {"type": ["string", "null"]},
        "last_block": {"type": "integer"},
    }
    return {"Settlement": closed(members), "SettlementPage": closed(page)}


def paths(
    min_block: Json, codes: tuple[Code, ...], headers: Headers, limited: Limited
) -> dict[str, Json]:
    """The addresses of these resources; `codes` are those of every read, `headers` of its answer,
    `limited` of its problems."""
    page = {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": DEFAULT_PAGE}
    return {
        "/v1/settlements": {
            "get": {
                "operationId": "listSettlements",
                "summary": "The merchant's settlements, the newest clearing date first.",
                "security": [{"bearer": []}],
                "parameters": [
                    query("limit", page),
                    query("cursor", {"type": "string"}),
                    query("clearing_date", Date().json_schema()),
                    min_block,
                ],
                "responses": {
                    "200": content(
                        "A page, without what was signed.", ref("SettlementPage"), headers
                    ),
                    **problems(codes, limited),
                },
            }
        },
        ADDRESS.replace("<", "{").replace(">", "}"): {
            "get": {
                "operationId": "getSettlement",
                "summary": "One settlement, with everything the bank signed of it.",
                "security": [{"bearer": []}],
                "parameters": [
                    *(
                        {"name": name, "in": "path", "required": True, "schema": schema}
                        for name, schema in _PLACE.items()
                    ),
                    min_block,
                ],
                "responses": {
                    "200": content("The settlement.", ref("Settlement"), headers),
                    **problems((Code.SETTLEMENT_UNKNOWN, *codes), limited),
                },
            }
        },
    }
