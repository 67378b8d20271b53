"""What a block makes of the projection: its payments' and refunds' rows and changes, its registry
records.

Only writes of VALID transactions in the contract's namespace count.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import lru_cache, partial
from typing import Final, NamedTuple

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from clearline import jws, records
from clearline.canonical import Json
from clearline.clearing_records import AcquirerFile, Settlement, SettlementPart
from clearline.fabric.blocks import Block, BlockTransaction, Write
from clearline.intents import PaymentKey
from clearline.logs import get_logger
from clearline.records import Acquirer, Kind, Merchant
from clearline.statuses import Status
from gateway import refund_rows
from gateway.messages import Named

_REGISTRY: Final[dict[str, Callable[[Json], object]]] = {
    Kind.MERCHANT: partial(records.from_json, Merchant),
    Kind.ACQUIRER: partial(records.from_json, Acquirer),
    Kind.ACQUIRER_FILE: partial(records.from_json, AcquirerFile),
    Kind.SETTLEMENT: partial(records.from_json, Settlement),
    Kind.SETTLEMENT_PART: partial(records.from_json, SettlementPart),
}
_PAYMENT_MEMBERS: Final = {"type", *(one.name for one in fields(records.Payment))}
_CREATED: Final = re.compile(rb'"created":"([0-9TZ:.-]{24})"')
_log = get_logger("clearline.gateway.projection")


class PaymentChange(NamedTuple):
    """What a block made of a payment, or of a refund; `closing`: the merchant's close stands on
    the payment."""

    key: Named
    intent_digest: str
    status: Status
    tx_id: str
    block_number: int
    acquirer_id: str
    closing: bool = False


Rows = dict[str, tuple[tuple[object, ...], PaymentChange]]


def effects(
    block: Block, namespace: str
) -> tuple[Rows, Rows, dict[str, tuple[str, str, int, bytes]]]:
    """A block's last write of each payment and refund (row and change) and of each registry
    record."""
    payments: Rows = {}
    refunds: Rows = {}
    registered: dict[str, tuple[str, str, int, bytes]] = {}
    for transaction in block.transactions:
        if not transaction.is_valid:
            continue
        for write in transaction.writes:
            if write.namespace != namespace or write.is_delete:
                continue
            kind, _, name = write.key.partition("/")
            if kind == Kind.PAYMENT:
                _payment(payments, write, transaction, block.number)
            elif kind == Kind.REFUND:
                _refund(refunds, write, transaction, block.number)
            elif kind in _REGISTRY and _is_record(kind, write, transaction.tx_id):
                registered[write.key] = (kind, name, block.number, write.value)
    return payments, refunds, registered


def _refund(refunds: Rows, write: Write, transaction: BlockTransaction, block_number: int) -> None:
    tx_id = transaction.tx_id
    try:
        refund = refund_rows.read(write.value)
        change = PaymentChange(
            refund.key,
            refund.intent_digest,
            Status(refund.status),
            tx_id,
            block_number,
            refund.acquirer_id,
        )
    except ValueError as error:
        _log.error(
            "not a refund record",
            extra={"key": write.key, "tx_id": tx_id, "block": block_number, "reason": str(error)},
        )
        return
    submitter = key_id_of(transaction.creator.cert_pem)
    row = refund_rows.row(refund, tx_id, block_number, write.value, submitter)
    refunds[write.key] = (row, change)


def _payment(
    payments: Rows,
    write: Write,
    transaction: BlockTransaction,
    block_number: int,
) -> None:
    tx_id = transaction.tx_id
    try:
        document: Json = orjson.loads(write.value)
        if document.keys() != _PAYMENT_MEMBERS or document["type"] != Kind.PAYMENT:
            # Of a version with other members, or none at all; the first costs more and is rare.
            document = asdict(records.from_json(records.Payment, document))
        change = PaymentChange(
            PaymentKey(document["merchant_id"], document["order_no"], document["attempt"]),
            document["intent_digest"],
            Status(document["status"]),
            tx_id,
            block_number,
            document["acquirer_id"],
            bool(document["close"]),
        )
    except (ValueError, TypeError, AttributeError) as error:
        # Endorsed by a majority and still no payment: nothing to show, and no reason to stop.
        _log.error(
            "not a payment record",
            extra={"key": write.key, "tx_id": tx_id, "block": block_number, "reason": str(error)},
        )
        return
    row = (
        *change.key,
        document["status"],
        change.acquirer_id,
        created(document["intent"]),
        change.intent_digest,
        tx_id,
        block_number,
        write.value,
        key_id_of(transaction.creator.cert_pem),
    )
    payments[write.key] = (row, change)


@lru_cache(maxsize=1024)  # its request is written, and soon its result
def created(compact: str) -> str:
    """When a payment's intent was signed, as it says; empty for what is none."""
    try:
        text = compact.split(".", 2)[1].replace("-", "+").replace("_", "/")
        payload = binascii.a2b_base64(text + "==")
        # Nearly all are canonical JSON, and no other text in an intent has quotes.
        found = _CREATED.search(payload)
        return found[1].decode() if found else str(orjson.loads(payload)["created"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return ""


@lru_cache(maxsize=256)
def key_id_of(certificate: bytes) -> str:
    """The id of an identity's key, as in the receipts it signs: the RFC 7638 thumbprint; empty for
    a certificate (PEM) whose key signs none."""
    try:
        key = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        return ""
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return ""
    return jws.thumbprint(jws.public_jwk(key))


def _is_record(kind: str, write: Write, tx_id: str) -> bool:
    try:
        _REGISTRY[kind](orjson.loads(write.value))
    except (ValueError, TypeError) as error:
        _log.error(
            "not a registry record",
            extra={"key": write.key, "tx_id": tx_id, "reason": str(error)},
        )
        return False
    return True
