"""The closed forms of what a bank signs after the payments, written a second time."""

from __future__ import annotations

from typing import Any, Final

from audit.shapes import Closed, Shape, constant, currency, day, integer, nullable, one_of, text

_MOST_ENTRIES, _MOST_PARTS, _MOST_RUNS = 100, 9999, 99
_LARGEST: Final = 2**53 - 1
_ID: Final = text("[A-Za-z0-9._-]{1,32}")
_ORDER: Final = text(r"(?!\.\.?$)[A-Za-z0-9._-]{1,64}")
_REFERENCE: Final = text("[A-Za-z0-9._-]{1,64}")
_HASH: Final = text("[0-9a-f]{64}")
_SUM: Final = integer(0, _LARGEST)
_BALANCE: Final = integer(-_LARGEST, _LARGEST)
_AMOUNT: Final = integer(1, 10**12 - 1)
_MOVED: Final = integer(-(10**12 - 1), 10**12 - 1)
_NONE: Final = integer(0, 0)
_NUMBER: Final = integer(1, 9999)
# kind, name, attempt, number, amount
_ENTRIES: Final[dict[str, tuple[Shape, ...]]] = {
    "payment": (_ORDER, _NUMBER, _NONE, _AMOUNT),
    "refund": (_ORDER, _NUMBER, _NUMBER, _AMOUNT),
    "fee": (_ORDER, _NUMBER, integer(0, 9999), _AMOUNT),
    "adjustment": (_REFERENCE, _NONE, _NONE, _MOVED),
}


def _entry(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 5 or not isinstance(value[0], str):
        return False
    shapes = _ENTRIES.get(value[0])
    if shapes is None or value[4] == 0:
        return False
    return all(shape(one) for shape, one in zip(shapes, value[1:], strict=True))


def _entries(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_ENTRIES and all(map(_entry, value))


_COMMON: Final[dict[str, Shape]] = {
    "version": constant(1),
    "network": text("[a-z0-9.-]{1,64}"),
    "acquirer_id": _ID,
    "merchant_id": _ID,
    "merchant_code": text("[A-Za-z0-9]{1,15}"),
    "currency": currency,
    "clearing_date": day,
}
_TOTALS: Final[dict[str, Shape]] = {
    "lines": integer(0, _MOST_ENTRIES * _MOST_PARTS),
    "payments": _SUM,
    "refunds": _SUM,
    "fees": _SUM,
    "adjustments": _BALANCE,
}
FORMS: Final[dict[str, Closed]] = {
    "acquirer_file": Closed(
        {**_COMMON, "kind": one_of("acquirer_file"), "file_digest": _HASH, **_TOTALS}
    ),
    "adjustment": Closed(
        {
            **_COMMON,
            "kind": one_of("adjustment"),
            "reference": _REFERENCE,
            "cause": one_of("chargeback", "correction"),
            "amount": _MOVED,
            "order_no": nullable(_ORDER),
            "attempt": nullable(_NUMBER),
        }
    ),
    "settlement": Closed(
        {
            **_COMMON,
            "kind": one_of("settlement"),
            "run": integer(1, _MOST_RUNS),
            "file_digest": _HASH,
            "account_id": _HASH,
            **_TOTALS,
            "carried": _BALANCE,
            "net": _BALANCE,
            "parts": integer(1, _MOST_PARTS),
            "part": integer(1, _MOST_PARTS),
            "entries": _entries,
        }
    ),
    "payout": Closed(
        {
            **_COMMON,
            "kind": one_of("payout"),
            "run": integer(1, _MOST_RUNS),
            "account_id": _HASH,
            "amount": integer(1, _LARGEST),
            "status": one_of("paid", "returned"),
            "reference": _REFERENCE,
            "value_date": day,
        }
    ),
}
SCANNED: Final = (
    *("network", "acquirer_id", "merchant_id", "merchant_code", "reference", "order_no"),
)
VERDICT: Final = Closed(
    {
        "settlement": text(
            "[A-Za-z0-9._-]{1,32}/[A-Za-z0-9]{1,15}/[A-Z]{3}/[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9]{2}"
        ),
        "decision": one_of("approve", "reject"),
    }
)


def odd(kind: str, said: dict[str, Any]) -> str | None:
    """What else is wrong with something of its form, None for nothing."""
    if kind == "adjustment":
        if said["amount"] == 0:
            return "an adjustment of nothing"
        if (said["order_no"] is None) != (said["attempt"] is None):
            return "an order and its attempt go together"
    if kind != "settlement":
        return None
    if said["part"] > said["parts"]:
        return f"part {said['part']} of {said['parts']}"
    before: list[Any] = ["fee"]
    for entry in said["entries"]:
        if entry[0] == "fee" and (before[0] == "fee" or before[1:4] != entry[1:4]):
            return "a fee follows nothing that it is taken for"
        before = entry
    return None
