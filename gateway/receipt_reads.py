"""GET /v1/payments/{order_no}/receipts: what there is to hold a receipt against.

For the payment, or a refund of it, at any gateway: whether it is on the ledger, since when, by
whose transaction. At the gateway that gave the receipt: its signed refusals too.
"""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response

from clearline.canonical import Json
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.refunds import RefundKey
from clearline.schema import ATTEMPT, ORDER_NO, REFUND_NO, SHA256_HEX
from gateway import http
from gateway.http import services
from gateway.openapi_headers import Headers, Limited
from gateway.openapi_parts import COMPACT, closed, content, problems, query, ref
from gateway.reads import authenticated, check_order_no, reach

blueprint = Blueprint("receipt_reads", __name__)


@blueprint.get("/v1/payments/<order_no>/receipts")
def get_receipts(order_no: str) -> Response:
    """One attempt at an order, and a refund of it when `refund_no` names one: on the ledger or
    not."""
    found = http.parameters("attempt", "refund_no", "min_block")
    attempt = http.number(found, "attempt", 1, 9999)
    refund_no = http.number(found, "refund_no", 1, 9999)
    min_block = http.number(found, "min_block", 0)
    check_order_no(order_no)
    merchant_id = authenticated()
    if attempt is None:
        raise Refusal(Code.PARAMETER_INVALID, "attempt: is missing")
    key = PaymentKey(merchant_id, order_no, attempt)
    reach(min_block)
    with services().reader.snapshot() as snapshot:
        last_block = snapshot.last_block
        payment, refusals = snapshot.origin(key), snapshot.refusals(key)
        named = None if refund_no is None else RefundKey(*key, refund_no)
        refund = None if named is None else snapshot.refunds.origin(named)
    body = {
        "order_no": order_no,
        "attempt": attempt,
        "last_block": last_block,
        "payment": payment,
        "refund": refund,
        "refusals": refusals,
    }
    http.note(payment=str(named or key))
    return http.json_response(body, 200, {http.BLOCK: str(last_block)})


_ORIGIN: Final[dict[str, Json]] = {
    "intent_digest": SHA256_HEX.json_schema(),
    "requested_at": {
        "type": "string",
        "format": "date-time",
        "description": "of the transaction that put it on the ledger, by its submitter's clock",
    },
    "submitter": {
        "type": "string",
        "description": "whose transaction that was: the RFC 7638 thumbprint of the certificate's"
        " key, which is the `kid` of a gateway's receipts; empty when not known",
    },
    "block_number": {"type": "integer", "minimum": 0, "description": "of its newest change"},
}
_CLOSING: Final[dict[str, Json]] = {
    "closing": {
        "type": "boolean",
        "description": "whether a close stands on it, or it has ended and takes none",
    },
}
SCHEMA: Final[Json] = closed(
    {
        "order_no": ORDER_NO.json_schema(),
        "attempt": ATTEMPT.json_schema(),
        "last_block": {"type": "integer", "minimum": -1},
        "payment": {
            "anyOf": [closed(_ORIGIN | _CLOSING), {"type": "null"}],
            "description": "null: not on the ledger at `last_block`",
        },
        "refund": {
            "anyOf": [closed(_ORIGIN), {"type": "null"}],
            "description": "the one that `refund_no` named; null: not on the ledger at"
            " `last_block`, or none was named",
        },
        "refusals": {
            "type": "array",
            "items": COMPACT,
            "description": "JWS of RefusalPayload, of receipts that this gateway gave; oldest"
            " first",
        },
    }
)


def path(min_block: Json, codes: tuple[Code, ...], headers: Headers, limited: Limited) -> Json:
    """The address in the OpenAPI document; `codes` are those of every read, `headers` of its
    answer, `limited` of its problems."""
    order_no = {
        "name": "order_no", "in": "path", "required": True, "schema": ORDER_NO.json_schema(),
    }  # fmt: skip
    return {
        "get": {
            "operationId": "getReceipts",
            "summary": "What a receipt for one attempt at an order can be held against.",
            "security": [{"bearer": []}],
            "parameters": [
                order_no,
                query("attempt", ATTEMPT.json_schema()) | {"required": True},
                query("refund_no", REFUND_NO.json_schema(), "of the receipt's refund"),
                min_block,
            ],
            "responses": {
                "200": content(
                    "On the ledger or not, and refused or not.", ref("Receipts"), headers
                ),
                **problems(codes, limited),
            },
        }
    }
