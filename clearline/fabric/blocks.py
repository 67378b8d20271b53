"""A typed view of a full block, as a peer's Deliver service sends it.

Anybody can get garbage ordered: a transaction that can't be parsed is shown with what could be
read of it and `malformed` says the reason; only a block that is no block raises.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.message import DecodeError

from clearline.fabric.protoutil import block_data_hash, block_header_hash

VALID = 0
NOT_VALIDATED = 254
_METADATA_FLAGS = 2  # common.BlockMetadataIndex.TRANSACTIONS_FILTER
_ENDORSER_TRANSACTION = 3  # common.HeaderType
_CODE_NAMES: dict[int, str] = {
    value.number: value.name for value in transaction_pb2.TxValidationCode.DESCRIPTOR.values
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BlockError(ValueError):
    """Bytes that are not a block, or a block that doesn't continue its chain."""


@dataclass(frozen=True)
class Creator:
    """Who signed a transaction: MSP id and certificate in PEM."""

    msp_id: str
    cert_pem: bytes


class Write(NamedTuple):
    """One key written by a transaction; value is empty for a delete."""

    namespace: str
    key: str
    value: bytes
    is_delete: bool


@dataclass(frozen=True)
class ChaincodeEvent:
    """The one event a transaction may carry."""

    chaincode: str
    tx_id: str
    name: str
    payload: bytes


@dataclass(frozen=True)
class Action:
    """What a chaincode answered and wrote: the endorsed part of a transaction."""

    response_status: int = 0
    response_payload: bytes = b""
    writes: tuple[Write, ...] = ()
    event: ChaincodeEvent | None = None
    changes_ledger: bool = False  # also true for key metadata and private data


@dataclass(frozen=True)
class BlockTransaction:
    """One transaction of a block. Fields that couldn't be read keep their empty defaults."""

    index: int
    code: int
    tx_id: str = ""
    header_type: int = -1
    channel: str = ""
    timestamp: datetime | None = None  # the submitter's claim, UTC
    creator: Creator = field(default_factory=lambda: Creator("", b""))
    chaincode: str = ""
    args: tuple[bytes, ...] = ()
    response_status: int = 0
    response_payload: bytes = b""
    writes: tuple[Write, ...] = ()
    event: ChaincodeEvent | None = None
    malformed: str | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the peer flagged it VALID: only then have its writes happened."""
        return self.code == VALID

    @property
    def code_name(self) -> str:
        """The validation code's name, as in peer.TxValidationCode."""
        return code_name(self.code)


@dataclass(frozen=True)
class Block:
    """A block: header, the bytes it came in, and its transactions in order."""

    number: int
    previous_hash: bytes
    data_hash: bytes
    header_hash: bytes  # what the next block names as previous_hash
    raw: bytes
    transactions: tuple[BlockTransaction, ...]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """The view of a serialised common.Block. Raises BlockError when it is none.

        Checks that the header's data hash is that of the data; chain and signatures are the
        follower's and the auditor's work.
        """
        try:
            message = common_pb2.Block.FromString(raw)
        except DecodeError as error:
            raise BlockError("not a block") from error
        if not message.HasField("header"):
            raise BlockError("a block without a header")
        # Once: each look at an envelope in the message copies it.
        header, data = message.header, list(message.data.data)
        if header.data_hash != block_data_hash(data):
            raise BlockError(f"block {header.number}: the data hash is not that of its data")
        metadata = message.metadata.metadata
        flags = metadata[_METADATA_FLAGS] if len(metadata) > _METADATA_FLAGS else b""
        return cls(
            number=header.number,
            previous_hash=header.previous_hash,
            data_hash=header.data_hash,
            header_hash=block_header_hash(header),
            raw=raw,
            transactions=tuple(
                parse_transaction(
                    envelope, index, flags[index] if index < len(flags) else NOT_VALIDATED
                )
                for index, envelope in enumerate(data)
            ),
        )


def code_name(code: int) -> str:
    """The name of a peer.TxValidationCode number; the number as text when it has none."""
    return _CODE_NAMES.get(code, str(code))


def parse_transaction(envelope: bytes, index: int, code: int) -> BlockTransaction:
    """The view of one serialised common.Envelope of a block. Never raises for its content."""
    fields: dict[str, Any] = {}
    try:
        for part in _transaction_parts(envelope):
            fields.update(part)
    except (DecodeError, ValueError, IndexError, OverflowError) as error:
        fields["malformed"] = f"{type(error).__name__}: {error}"
    return BlockTransaction(index=index, code=code, **fields)


def parse_action(payload: bytes) -> Action:
    """What a proposal response payload (peer.ProposalResponsePayload bytes) endorses.

    Raises DecodeError or ValueError when it can't be parsed.
    """
    response = proposal_response_pb2.ProposalResponsePayload.FromString(payload)
    action = proposal_pb2.ChaincodeAction.FromString(response.extension)
    writes, changes_ledger = _parse_writes(action.results)
    return Action(
        response_status=action.response.status,
        response_payload=action.response.payload,
        writes=writes,
        event=_parse_event(action.events),
        changes_ledger=changes_ledger,
    )


def _transaction_parts(envelope: bytes) -> Iterator[dict[str, Any]]:
    """Yields groups of BlockTransaction fields from the outside in, until something is broken."""
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    yield {
        "tx_id": header.tx_id,
        "header_type": header.type,
        "channel": header.channel_id,
        "timestamp": _timestamp(header),
    }
    signature_header = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    identity = identities_pb2.SerializedIdentity.FromString(signature_header.creator)
    yield {"creator": Creator(identity.mspid, identity.id_bytes)}
    if header.type != _ENDORSER_TRANSACTION:
        return
    extension = proposal_pb2.ChaincodeHeaderExtension.FromString(header.extension)
    yield {"chaincode": extension.chaincode_id.name}
    transaction = transaction_pb2.Transaction.FromString(payload.data)
    if not transaction.actions:
        raise ValueError("a transaction without actions")
    call = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    yield {"args": _parse_args(call.chaincode_proposal_payload)}
    action = parse_action(call.action.proposal_response_payload)
    yield {
        "response_status": action.response_status,
        "response_payload": action.response_payload,
        "writes": action.writes,
        "event": action.event,
    }


def _parse_args(payload: bytes) -> tuple[bytes, ...]:
    proposal = proposal_pb2.ChaincodeProposalPayload.FromString(payload)
    invocation = chaincode_pb2.ChaincodeInvocationSpec.FromString(proposal.input)
    return tuple(invocation.chaincode_spec.input.args)


def _parse_writes(results: bytes) -> tuple[tuple[Write, ...], bool]:
    """The public writes of a read-write set and whether it changes anything at all."""
    writes: list[Write] = []
    other = False
    for namespace in rwset_pb2.TxReadWriteSet.FromString(results).ns_rwset:
        other = other or bool(namespace.collection_hashed_rwset)
        kv = kv_rwset_pb2.KVRWSet.FromString(namespace.rwset)
        other = other or bool(kv.metadata_writes)
        writes.extend(
            Write(namespace.namespace, write.key, write.value, write.is_delete)
            for write in kv.writes
        )
    return tuple(writes), other or bool(writes)


def _parse_event(data: bytes) -> ChaincodeEvent | None:
    if not data:
        return None
    event = chaincode_event_pb2.ChaincodeEvent.FromString(data)
    if not event.event_name:
        return None
    return ChaincodeEvent(event.chaincode_id, event.tx_id, event.event_name, event.payload)


def _timestamp(header: Any) -> datetime | None:
    if not header.HasField("timestamp"):
        return None
    stamp = header.timestamp
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    except OverflowError:
        return None
