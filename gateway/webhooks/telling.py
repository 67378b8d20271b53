"""What of a block is told: its payments' and refunds' events, and the body each is sent with.

A record is stored as the ledger has it and made a body when it is sent or read back: most events
are sent once, by one of the network's gateways, and all gateways store all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final

import orjson

from clearline import records, times
from clearline.answers import PaymentAnswer, RefundAnswer
from clearline.canonical import MAX_INTEGER, Json
from clearline.fabric.blocks import Block, BlockTransaction, Write
from clearline.intents import PaymentKey
from clearline.logs import get_logger
from clearline.records import Kind, Payment
from clearline.statuses import Status
from clearline.webhooks import Event, EventType, event_id
from gateway import refund_rows
from gateway.reader import payment_answer
from gateway.webhooks.store import block_of, place

_NO_TIME: Final = "1970-01-01T00:00:00.000Z"  # of a transaction that claims none
_CLEARING: Final = b"SubmitClearing"
# Of a payment without exceptions: with these nothing can fail when the body is made.
_TYPES: Final = {"str": str, "int": int}
_PLAIN: Final = {
    "type": str,
    **{one.name: _TYPES.get(str(one.type), list) for one in fields(Payment)},
}

_log = get_logger("clearline.gateway.webhooks")


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a block: `seq` is its place on the ledger, `payment` whose turn it waits for,
    `record` the payment or the refund as `tx_id` wrote it."""

    seq: int
    event_id: str
    payment: PaymentKey
    type: EventType
    timestamp: str
    tx_id: str
    record: bytes


def told(block: Block, network: str, namespace: str) -> Iterator[Told]:
    """A block's events, in their order."""
    make = {Kind.PAYMENT.value: _payment, Kind.REFUND.value: _refund}
    for transaction in block.transactions:
        # To be in a settlement is no news of a payment: merchants read their settlements.
        if not transaction.is_valid or transaction.args[:1] == (_CLEARING,):
            continue
        for item, write in enumerate(transaction.writes):
            of_kind = make.get(kind_of(write, namespace))
            if of_kind is None:
                continue
            seq = place(block.number, transaction.index, item)
            try:
                yield of_kind(seq, network, transaction, write)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                # Endorsed by a majority and still no payment: nothing to tell, no reason to stop.
                shown = {"key": write.key, "tx_id": transaction.tx_id, "reason": str(error)}
                _log.error("not a payment or refund record", extra=shown)


def kind_of(write: Write, namespace: str) -> str:
    """Of the record that is written, empty for a delete and for what is not the contract's."""
    if write.namespace != namespace or write.is_delete:
        return ""
    kind, named, _ = write.key.partition("/")
    return kind if named else ""


def body(kind: EventType, timestamp: str, tx_id: str, seq: int, record: bytes) -> bytes:
    """The body of an event, the same bytes at every gateway. Raises ValueError, TypeError,
    LookupError or AttributeError for what is no record."""
    block = block_of(seq)
    answer: PaymentAnswer | RefundAnswer
    if kind.of_a_refund:
        answer = refund_rows.answer_of(refund_rows.read(record), tx_id, block)
    else:
        payment = records.from_json(Payment, orjson.loads(record))
        answer = payment_answer(payment, tx_id, block)
    return Event(kind, timestamp, answer).to_bytes()


def stored(seq: int, kind: str, timestamp: str, tx_id: str, record: bytes) -> bytes:
    """The body of an event as the store has it."""
    return body(EventType(kind), timestamp, tx_id, seq, record) if tx_id else record


def _payment(seq: int, network: str, transaction: BlockTransaction, write: Write) -> Told:
    document: Json = orjson.loads(write.value)
    if type(document) is not dict:
        raise ValueError("not an object")
    kind = EventType.of(Status(document.get("status", "")))
    timestamp, tx_id = _said(transaction), transaction.tx_id
    if not _is_plain(document):
        body(kind, timestamp, tx_id, seq, write.value)
    key = PaymentKey(document["merchant_id"], document["order_no"], document["attempt"])
    named = event_id(network, tx_id, key)
    return Told(seq, named, key, kind, timestamp, tx_id, write.value)


def _is_plain(document: dict[str, Json]) -> bool:
    """Whether it is a payment as nearly all are, told without a look at its body."""
    return (
        {name: type(value) for name, value in document.items()} == _PLAIN
        and document["type"] == Kind.PAYMENT
        and not document["exceptions"]
        and all(abs(document[name]) <= MAX_INTEGER for name in ("amount", "refunded_amount"))
    )


def _refund(seq: int, network: str, transaction: BlockTransaction, write: Write) -> Told:
    """Told in turn with its payment's events."""
    refund = refund_rows.read(write.value)
    kind = EventType.of_refund(Status(refund.status))
    timestamp, tx_id = _said(transaction), transaction.tx_id
    body(kind, timestamp, tx_id, seq, write.value)
    named = event_id(network, tx_id, refund.key)
    return Told(seq, named, refund.key.payment, kind, timestamp, tx_id, write.value)


def _said(transaction: BlockTransaction) -> str:
    return _NO_TIME if transaction.timestamp is None else _rendered(transaction.timestamp)


_rendered = lru_cache(maxsize=64)(times.render)  # a transaction's events say the same
