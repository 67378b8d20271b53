"""Reads: what is on the ledger, as records. They write nothing and are evaluated, not submitted.

    GetPayments   [[merchant_id, order_no, attempt], ...]          -> [payment or null, ...]
    GetRecords    [[kind, id], ...]                                -> [record or null, ...]
    ListPayments  {"merchant_id", "start_after": [order_no, attempt] or null, "limit": 1..200}
                                                                   -> [payment, ...] by key
    ListProposals {"status": proposed|attested|approved|rejected|refused or null,
                   "start_after": id or null, "limit": 1..200}     -> [proposal, ...] by id
    ListSettlements {"acquirer_id", "start_after": id or null, "limit": 1..200}
                                                                   -> [settlement, ...] by id
    ListRelations {"entity_id": id or null, "start_after": id or null, "limit": 1..200}
              those in which the entity is either side             -> [relation, ...] by id

A list shorter than its limit is the end; else the last entry is the next `start_after`. What looks
like a card number is refused here too (docs/adr/0007): a read can be submitted, and its arguments
would stand in a block.
A merchant code's id is "<acquirer_id>/<code>", a registration's "<country>/<number>", a payment's
"<merchant_id>/<order_no>/<attempt>", a report's and an equivocation's that and "/<number>";
attempts and numbers have four digits there. A relation's is "<account_id>/<entity_id>". Those of
clearing: clearline/clearing_records.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clearline import canonical
from clearline.canonical import Json
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.proposals import STATUSES
from clearline.records import Kind, payment_key, payments_of, record_key
from clearline.schema import (
    ATTEMPT,
    IDENTIFIER,
    ORDER_NO,
    SHA256_HEX,
    Integer,
    Members,
    Nullable,
    OneOf,
    SchemaError,
    Shape,
    Text,
)

MAX_LIMIT = 200
_PAYMENT: tuple[Shape, ...] = (IDENTIFIER, ORDER_NO, ATTEMPT)
_LIMIT = Integer(1, MAX_LIMIT)
_KIND = OneOf(tuple(kind.value for kind in Kind))
_RECORD_ID = Text("[A-Za-z0-9._/-]{1,128}", "must be a record's id")
_STATUS = Nullable(OneOf(STATUSES))


class _After:
    """[order_no, attempt]."""

    def check(self, value: Json, pointer: str) -> None:
        if not isinstance(value, list) or len(value) != 2:
            raise SchemaError(pointer, "must be [order_no, attempt]")
        ORDER_NO.check(value[0], f"{pointer}/0")
        ATTEMPT.check(value[1], f"{pointer}/1")

    def json_schema(self) -> dict[str, Json]:
        return {"type": "array", "prefixItems": [ORDER_NO.json_schema(), ATTEMPT.json_schema()]}


_LIST_PAYMENTS = Members(
    {"merchant_id": IDENTIFIER, "start_after": Nullable(_After()), "limit": _LIMIT}
)
_LIST_SETTLEMENTS = Members(
    {"acquirer_id": IDENTIFIER, "start_after": Nullable(_RECORD_ID), "limit": _LIMIT}
)
_LIST_PROPOSALS = Members({"status": _STATUS, "start_after": Nullable(IDENTIFIER), "limit": _LIMIT})


_RELATION_ID = Text("[0-9a-f]{64}/[A-Za-z0-9._-]{1,32}", "must be a relation's id")
_LIST_RELATIONS = Members(
    {
        "entity_id": Nullable(IDENTIFIER),
        "start_after": Nullable(_RELATION_ID),
        "limit": _LIMIT,
    }
)


@dataclass(frozen=True, slots=True)
class Range:
    """Records from `start` to before `end`, at most `limit` of those in which one of the members
    `of` is `wanted` (empty: any)."""

    start: str
    end: str
    limit: int
    of: tuple[str, ...] = ()
    wanted: str = ""

    def takes(self, record: bytes) -> bool:
        """Whether the record is one of those asked for."""
        if not self.wanted:
            return True
        members = canonical.loads(record)
        return any(members[name] == self.wanted for name in self.of)


def payment_keys(items: Sequence[Json]) -> list[str]:
    """The ledger keys GetPayments asks for; raises Refusal."""
    keys = []
    for index, item in enumerate(items):
        if not isinstance(item, list) or len(item) != 3:
            raise Refusal(Code.MALFORMED, f"/{index}: must be [merchant_id, order_no, attempt]")
        for shape, value in zip(_PAYMENT, item, strict=True):
            _check(shape, value, f"/{index}")
        _keep_out(f"/{index}", *item[:2])
        keys.append(payment_key(PaymentKey(*item)))
    return keys


def record_keys(items: Sequence[Json]) -> list[str]:
    """The ledger keys GetRecords asks for; raises Refusal."""
    keys = []
    for index, item in enumerate(items):
        if not isinstance(item, list) or len(item) != 2:
            raise Refusal(Code.MALFORMED, f"/{index}: must be [kind, id]")
        _check(_KIND, item[0], f"/{index}/0")
        _check(_RECORD_ID, item[1], f"/{index}/1")
        _keep_out(f"/{index}/1", _scanned(Kind(item[0]), item[1]))
        keys.append(record_key(Kind(item[0]), item[1]))
    return keys


def payments_range(query: Json) -> Range:
    """The range ListPayments asks for; raises Refusal."""
    _check(_LIST_PAYMENTS, query, "")
    merchant_id, after = query["merchant_id"], query["start_after"]
    _keep_out("", merchant_id, *(after or ())[:1])
    start, end = payments_of(merchant_id)
    if after is not None:
        # An attempt has four digits, so no payment stands between its key and that key with a 0.
        start = payment_key(PaymentKey(merchant_id, *after)) + "0"
    return Range(start, end, query["limit"])


def proposals_range(query: Json) -> Range:
    """The range ListProposals asks for; raises Refusal."""
    _check(_LIST_PROPOSALS, query, "")
    prefix = record_key(Kind.PROPOSAL, "")
    after = query["start_after"]
    _keep_out("/start_after", after or "")
    # "-" is the lowest character of an id, so the first id after `after` is `after` and a "-".
    start = prefix if after is None else f"{prefix}{after}-"
    return Range(start, f"{prefix[:-1]}0", query["limit"], ("status",), query["status"] or "")


def settlements_range(query: Json) -> Range:
    """The range ListSettlements asks for; raises Refusal."""
    _check(_LIST_SETTLEMENTS, query, "")
    prefix = record_key(Kind.SETTLEMENT, f"{query['acquirer_id']}/")
    after = query["start_after"]
    _keep_out("", query["acquirer_id"], after or "")
    if after is not None and not after.startswith(f"{query['acquirer_id']}/"):
        raise Refusal(Code.MALFORMED, "/start_after: is not an id of this acquirer's")
    # A run has two digits, so no settlement stands between its key and that key with a 0.
    start = prefix if after is None else f"{record_key(Kind.SETTLEMENT, after)}0"
    return Range(start, f"{prefix[:-1]}0", query["limit"])


def relations_range(query: Json) -> Range:
    """The range ListRelations asks for; raises Refusal."""
    _check(_LIST_RELATIONS, query, "")
    prefix = record_key(Kind.RELATION, "")
    after, entity_id = query["start_after"], query["entity_id"] or ""
    _keep_out("", entity_id, _scanned(Kind.RELATION, after or ""))
    # "-" is the lowest character of an id, so the first id after `after` is `after` and a "-".
    start = prefix if after is None else f"{prefix}{after}-"
    sides = ("owner_id", "entity_id")
    return Range(start, f"{prefix[:-1]}0", query["limit"], sides, entity_id)


def answer(values: Sequence[bytes | None]) -> bytes:
    """Records, already canonical, as one canonical JSON list."""
    return b"[" + b",".join(b"null" if value is None else value for value in values) + b"]"


def _check(shape: Shape, value: Json, pointer: str) -> None:
    try:
        shape.check(value, pointer)
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None


def _scanned(kind: Kind, record_id: str) -> str:
    """What of an id is scanned for card numbers: not the digest that names an account."""
    account, _, entity = record_id.partition("/")
    if kind in (Kind.ACCOUNT, Kind.RELATION) and SHA256_HEX.fits(account):
        return entity
    return record_id


def _keep_out(pointer: str, *texts: str) -> None:
    if any(map(holds_card_number, texts)):
        raise Refusal(Code.CARD_DATA_REFUSED, f"{pointer or '/'}: looks like a card number")
