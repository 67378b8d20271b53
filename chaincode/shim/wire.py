"""Typed messages of the chaincode stream (fabric-protos peer/chaincode_shim.proto).

Protobuf stops here: what is beyond has types. Encoding and decoding happen in our own code, not
in gRPC's serializers, so that bytes that can't be read end one stream with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, NamedTuple

from fabric_protos.ledger.queryresult import kv_query_result_pb2 as query_pb2
from fabric_protos.peer import chaincode_pb2
from fabric_protos.peer import chaincode_shim_pb2 as shim_pb2
from fabric_protos.peer import proposal_response_pb2 as response_pb2
from google.protobuf.message import DecodeError

from chaincode.shim.errors import ProtocolError

# Fabric's default batch sizes when a peer announces less (fabric-chaincode-go shim/handler.go).
_LEAST_BATCH = 100


class Kind(IntEnum):
    """ChaincodeMessage.Type."""

    UNDEFINED = 0
    REGISTER = 1
    REGISTERED = 2
    INIT = 3
    READY = 4
    TRANSACTION = 5
    COMPLETED = 6
    ERROR = 7
    GET_STATE = 8
    PUT_STATE = 9
    DEL_STATE = 10
    INVOKE_CHAINCODE = 11
    RESPONSE = 13
    GET_STATE_BY_RANGE = 14
    GET_QUERY_RESULT = 15
    QUERY_STATE_NEXT = 16
    QUERY_STATE_CLOSE = 17
    KEEPALIVE = 18
    GET_HISTORY_FOR_KEY = 19
    GET_STATE_METADATA = 20
    PUT_STATE_METADATA = 21
    GET_PRIVATE_DATA_HASH = 22
    PURGE_PRIVATE_DATA = 23
    WRITE_BATCH_STATE = 24
    GET_STATE_MULTIPLE = 25


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Event:
    """A chaincode event; the peer fills in chaincode and transaction ids."""

    name: str
    payload: bytes


class Message(NamedTuple):
    """One ChaincodeMessage. `proposal` is the proposal's bytes, empty when there is none."""

    kind: Kind
    channel_id: str = ""
    tx_id: str = ""
    payload: bytes = b""
    proposal: bytes = b""
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A transaction's answer; below 400 it is endorsed (Fabric core/endorser/endorser.go)."""

    status: int
    payload: bytes = b""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Keys and writes the peer takes in one message; 0 where it takes one at a time."""

    multi_get: int = 0
    write_batch: int = 0


@dataclass(frozen=True, slots=True)
class Input:
    """ChaincodeInput of a transaction."""

    args: tuple[bytes, ...]
    decorations: dict[str, bytes]


class WriteKind(IntEnum):
    """WriteRecord.Type."""

    PUT = 9
    DELETE = 10
    VALIDATION = 21


class Write(NamedTuple):
    """One write of a transaction: a value, a delete, or a key's endorsement policy.

    A tuple, for there are as many as payments: a frozen dataclass costs twice as much to make.
    """

    kind: WriteKind
    key: str
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class QueryPage:
    """One QueryResponse: result bytes, and the iterator's id when the peer has more."""

    results: tuple[bytes, ...]
    has_more: bool
    iterator_id: str
    bookmark: str = ""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key and its value in a range."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class KeyModification:
    """One committed change of a key, by the transaction that made it."""

    tx_id: str
    value: bytes
    timestamp: datetime
    is_delete: bool


# The metadata key of a key-level endorsement policy
# (fabric-protos peer/transaction.proto, MetaDataKeys).
VALIDATION_PARAMETER = "VALIDATION_PARAMETER"


def decode(raw: bytes) -> Message:
    """Read a ChaincodeMessage; raises ProtocolError."""
    message = _parse(shim_pb2.ChaincodeMessage, raw)
    return Message(
        kind=_KINDS.get(message.type, Kind.UNDEFINED),
        channel_id=message.channel_id,
        tx_id=message.txid,
        payload=message.payload,
        proposal=message.proposal.proposal_bytes,
    )


def encode(message: Message) -> bytes:
    """The bytes of a ChaincodeMessage."""
    shown = shim_pb2.ChaincodeMessage(
        type=message.kind,
        channel_id=message.channel_id,
        txid=message.tx_id,
        payload=message.payload,
    )
    if message.event is not None:
        shown.chaincode_event.event_name = message.event.name
        shown.chaincode_event.payload = message.event.payload
    raw: bytes = shown.SerializeToString()
    return raw


def registration(chaincode_id: str) -> Message:
    """REGISTER with the package id (label:hash), the first message of a stream."""
    name = chaincode_pb2.ChaincodeID(name=chaincode_id)
    return Message(Kind.REGISTER, payload=name.SerializeToString())


def capabilities(ready: bytes) -> Capabilities:
    """READY's payload: ChaincodeAdditionalParams, empty from a peer before Fabric 3.1."""
    announced = _parse(chaincode_pb2.ChaincodeAdditionalParams, ready)
    multi_get = max(announced.max_size_get_multiple_keys, _LEAST_BATCH)
    write_batch = max(announced.max_size_write_batch, _LEAST_BATCH)
    return Capabilities(
        multi_get if announced.use_get_multiple_keys else 0,
        write_batch if announced.use_write_batch else 0,
    )


def chaincode_input(payload: bytes) -> Input:
    """ChaincodeInput of INIT and TRANSACTION."""
    message = _parse(chaincode_pb2.ChaincodeInput, payload)
    return Input(tuple(message.args), dict(message.decorations))


def response_bytes(response: Response) -> bytes:
    """protos.Response, the payload of COMPLETED."""
    raw: bytes = response_pb2.Response(
        status=response.status, message=response.message, payload=response.payload
    ).SerializeToString()
    return raw


def get_state(key: str) -> bytes:
    """Payload of GET_STATE."""
    raw: bytes = shim_pb2.GetState(key=key).SerializeToString()
    return raw


def get_states(keys: Sequence[str]) -> bytes:
    """Payload of GET_STATE_MULTIPLE."""
    raw: bytes = shim_pb2.GetStateMultiple(keys=keys).SerializeToString()
    return raw


def states(payload: bytes, expected: int) -> list[bytes | None]:
    """GetStateMultipleResult: values in the order asked, None where there is no such key."""
    values = _parse(shim_pb2.GetStateMultipleResult, payload).values
    if len(values) != expected:
        raise ProtocolError(f"asked for {expected} keys, the peer answered {len(values)}")
    return [value or None for value in values]


def get_metadata(key: str) -> bytes:
    """Payload of GET_STATE_METADATA."""
    raw: bytes = shim_pb2.GetStateMetadata(key=key).SerializeToString()
    return raw


def metadata(payload: bytes) -> dict[str, bytes]:
    """StateMetadataResult as a mapping of metadata keys."""
    entries = _parse(shim_pb2.StateMetadataResult, payload).entries
    return {entry.metakey: entry.value for entry in entries}


def write_batch(writes: Sequence[Write]) -> bytes:
    """Payload of WRITE_BATCH_STATE."""
    batch = shim_pb2.WriteBatchState()
    add = batch.rec.add  # fills each record where it lies: a list of them would be copied
    for write in writes:
        if write.kind is WriteKind.VALIDATION:
            add(key=write.key, metadata=_validation(write.value), type=write.kind)
        else:
            add(key=write.key, value=write.value, type=write.kind)
    raw: bytes = batch.SerializeToString()
    return raw


def single_write(write: Write) -> tuple[Kind, bytes]:
    """The message of one write, for peers that take no batches."""
    raw: bytes
    if write.kind is WriteKind.PUT:
        raw = shim_pb2.PutState(key=write.key, value=write.value).SerializeToString()
        return Kind.PUT_STATE, raw
    if write.kind is WriteKind.DELETE:
        raw = shim_pb2.DelState(key=write.key).SerializeToString()
        return Kind.DEL_STATE, raw
    raw = shim_pb2.PutStateMetadata(
        key=write.key, metadata=_validation(write.value)
    ).SerializeToString()
    return Kind.PUT_STATE_METADATA, raw


def get_range(start: str, end: str, page_size: int, bookmark: str) -> bytes:
    """Payload of GET_STATE_BY_RANGE; a page size of 0 asks for the range without pages."""
    page = b""
    if page_size:
        page = shim_pb2.QueryMetadata(pageSize=page_size, bookmark=bookmark).SerializeToString()
    raw: bytes = shim_pb2.GetStateByRange(
        startKey=start, endKey=end, metadata=page
    ).SerializeToString()
    return raw


def get_history(key: str) -> bytes:
    """Payload of GET_HISTORY_FOR_KEY."""
    raw: bytes = shim_pb2.GetHistoryForKey(key=key).SerializeToString()
    return raw


def query_next(iterator_id: str) -> bytes:
    """Payload of QUERY_STATE_NEXT."""
    raw: bytes = shim_pb2.QueryStateNext(id=iterator_id).SerializeToString()
    return raw


def query_close(iterator_id: str) -> bytes:
    """Payload of QUERY_STATE_CLOSE."""
    raw: bytes = shim_pb2.QueryStateClose(id=iterator_id).SerializeToString()
    return raw


def query_page(payload: bytes) -> QueryPage:
    """QueryResponse of a range, its next part, or a history."""
    page = _parse(shim_pb2.QueryResponse, payload)
    described = _parse(shim_pb2.QueryResponseMetadata, page.metadata)
    return QueryPage(
        results=tuple(result.resultBytes for result in page.results),
        has_more=page.has_more,
        iterator_id=page.id,
        bookmark=described.bookmark,
    )


def key_value(raw: bytes) -> KeyValue:
    """queryresult.KV."""
    found = _parse(query_pb2.KV, raw)
    return KeyValue(found.key, found.value)


def key_modification(raw: bytes) -> KeyModification:
    """queryresult.KeyModification."""
    found = _parse(query_pb2.KeyModification, raw)
    return KeyModification(
        found.tx_id,
        found.value,
        moment(found.timestamp.seconds, found.timestamp.nanos),
        found.is_delete,
    )


def moment(seconds: int, nanos: int) -> datetime:
    """A protobuf Timestamp as an aware datetime; raises ProtocolError outside years 1..9999."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            seconds=seconds, microseconds=nanos // 1000
        )
    except OverflowError as error:
        raise ProtocolError(f"timestamp of {seconds} seconds is no date") from error


def _validation(policy: bytes) -> shim_pb2.StateMetadata:
    return shim_pb2.StateMetadata(metakey=VALIDATION_PARAMETER, value=policy)


def _parse(kind: Any, raw: bytes) -> Any:
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise ProtocolError(f"{kind.__name__} can't be read: {error}") from error
