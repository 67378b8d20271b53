"""Closed schemas of what the acquiring bank signs after the payments (clearline/clearing.py)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from clearline.canonical import Json
from clearline.money import MAX_AMOUNT
from clearline.reports import REFERENCE
from clearline.schema import (
    ATTEMPT,
    IDENTIFIER,
    MERCHANT_CODE,
    NETWORK,
    ORDER_NO,
    SHA256_HEX,
    Constant,
    Currency,
    Date,
    Integer,
    Listed,
    Members,
    Nullable,
    OneOf,
    SchemaError,
    Shape,
    Text,
)

VERSION: Final = 1
# A part's text stays under what a JWS may have, whatever its orders are called.
MAX_ENTRIES: Final = 100
MAX_PARTS: Final = 9999
MAX_RUNS: Final = 99
MAX_TOTAL: Final = 2**53 - 1  # what canonical JSON carries exactly
SETTLEMENT_ID: Final = Text(
    "[A-Za-z0-9._-]{1,32}/[A-Za-z0-9]{1,15}/[A-Z]{3}/[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9]{2}",
    "must be a settlement's id",
)
_TOTAL: Final = Integer(0, MAX_TOTAL)
_BALANCE: Final = Integer(-MAX_TOTAL, MAX_TOTAL)
_COUNT: Final = Integer(0, MAX_ENTRIES * MAX_PARTS)


class What(StrEnum):
    """Kinds of what is signed here."""

    ACQUIRER_FILE = "acquirer_file"
    ADJUSTMENT = "adjustment"
    SETTLEMENT = "settlement"
    PAYOUT = "payout"


class LineKind(StrEnum):
    """Kinds of line, of a file and of a settlement."""

    PAYMENT = "payment"
    REFUND = "refund"
    FEE = "fee"
    ADJUSTMENT = "adjustment"


class Cause(StrEnum):
    """Why an adjustment was made."""

    CHARGEBACK = "chargeback"
    CORRECTION = "correction"


class Paid(StrEnum):
    """How a payout ended."""

    PAID = "paid"
    RETURNED = "returned"


class _Entry:
    """[kind, name, attempt, number, amount]."""

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not list or len(value) != 5:
            raise SchemaError(pointer, "must be [kind, name, attempt, number, amount]")
        kind, name, attempt, number, amount = value
        OneOf(tuple(LineKind)).check(kind, f"{pointer}/0")
        of_order = kind != LineKind.ADJUSTMENT
        (ORDER_NO if of_order else REFERENCE).check(name, f"{pointer}/1")
        (ATTEMPT if of_order else Integer(0, 0)).check(attempt, f"{pointer}/2")
        _NUMBERS[kind].check(number, f"{pointer}/3")
        _AMOUNTS[kind].check(amount, f"{pointer}/4")
        if amount == 0:
            raise SchemaError(f"{pointer}/4", "must not be 0")

    def json_schema(self) -> dict[str, Json]:
        return {"type": "array", "minItems": 5, "maxItems": 5}


_NUMBERS: Final[dict[str, Shape]] = {
    LineKind.PAYMENT: Integer(0, 0),
    LineKind.REFUND: Integer(1, 9999),
    LineKind.FEE: Integer(0, 9999),
    LineKind.ADJUSTMENT: Integer(0, 0),
}
_SIGNED_AMOUNT: Final = Integer(-MAX_AMOUNT, MAX_AMOUNT)
_AMOUNT: Final = Integer(1, MAX_AMOUNT)
_AMOUNTS: Final[dict[str, Shape]] = {
    LineKind.PAYMENT: _AMOUNT,
    LineKind.REFUND: _AMOUNT,
    LineKind.FEE: _AMOUNT,
    LineKind.ADJUSTMENT: _SIGNED_AMOUNT,
}
_COMMON: Final[dict[str, Shape]] = {
    "version": Constant(VERSION),
    "network": NETWORK,
    "acquirer_id": IDENTIFIER,
    "merchant_id": IDENTIFIER,
    "merchant_code": MERCHANT_CODE,
    "currency": Currency(),
    "clearing_date": Date(),
}
_TOTALS: Final[dict[str, Shape]] = {
    "payments": _TOTAL,
    "refunds": _TOTAL,
    "fees": _TOTAL,
    "adjustments": _BALANCE,
}
SCHEMAS: Final[dict[str, Members]] = {
    What.ACQUIRER_FILE: Members(
        {
            "kind": Constant(What.ACQUIRER_FILE.value),
            **_COMMON,
            "file_digest": SHA256_HEX,
            "lines": _COUNT,
            **_TOTALS,
        }
    ),
    What.ADJUSTMENT: Members(
        {
            "kind": Constant(What.ADJUSTMENT.value),
            **_COMMON,
            "reference": REFERENCE,
            "cause": OneOf(tuple(Cause)),
            "amount": _SIGNED_AMOUNT,
            "order_no": Nullable(ORDER_NO),
            "attempt": Nullable(ATTEMPT),
        }
    ),
    What.SETTLEMENT: Members(
        {
            "kind": Constant(What.SETTLEMENT.value),
            **_COMMON,
            "run": Integer(1, MAX_RUNS),
            "file_digest": SHA256_HEX,
            "account_id": SHA256_HEX,
            "lines": _COUNT,
            **_TOTALS,
            "carried": _BALANCE,
            "net": _BALANCE,
            "parts": Integer(1, MAX_PARTS),
            "part": Integer(1, MAX_PARTS),
            "entries": Listed(_Entry(), 0, MAX_ENTRIES),
        }
    ),
    What.PAYOUT: Members(
        {
            "kind": Constant(What.PAYOUT.value),
            **_COMMON,
            "run": Integer(1, MAX_RUNS),
            "account_id": SHA256_HEX,
            "amount": Integer(1, MAX_TOTAL),
            "status": OneOf(tuple(Paid)),
            "reference": REFERENCE,
            "value_date": Date(),
        }
    ),
}
