"""A chaincode's requests while it runs: reads, writes, ranges, history, metadata.

After core/chaincode/handler.go and query_response_generator.go. One `TxContext` a running
transaction; each request is answered with payload bytes or a SimulationError, whose text goes
back to the chaincode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.peer import chaincode_shim_pb2 as shim

from network.embedded import goproto
from network.embedded.peer.ledger import Snapshot
from network.embedded.peer.rwset import is_delete
from network.embedded.peer.simulator import RangeIterator, SimulationError, Simulator
from network.embedded.peer.transactions import (
    InvalidTransactionError,
    parse_action,
    parse_parts,
)

Type = shim.ChaincodeMessage.Type
BATCH_RESULTS = 100
"""Results of a range in one message (chaincode_support.go MaxResultLimit)."""
TOTAL_RESULTS = 100_000
"""Most results of one range (core.yaml ledger.state.totalQueryLimit)."""

_ids = count(1)


@dataclass
class _Query:
    """An open iterator: encoded results, those prefetched, and how many were taken."""

    next: Callable[[], bytes | None]
    pages: RangeIterator | None
    pending: list[bytes] = field(default_factory=list)
    total: int = 0


@dataclass
class TxContext:
    """A transaction that runs in a chaincode."""

    namespace: str
    simulator: Simulator
    done: asyncio.Future[Any]
    """Set with the COMPLETED or ERROR message."""
    queries: dict[str, _Query] = field(default_factory=dict)


def handle(message: Any, context: TxContext) -> bytes:
    """The RESPONSE payload to a chaincode's request. Raises SimulationError."""
    handler = _HANDLERS.get(message.type)
    if handler is None:
        raise SimulationError(_LEFT_OUT.get(message.type, "not supported by the embedded engine"))
    try:
        return handler(message.payload, context)
    except goproto.GoDecodeError as error:
        raise SimulationError(f"unmarshal failed: {error}") from error


def is_request(message_type: int) -> bool:
    """Whether a chaincode may send this type while a transaction runs."""
    return message_type in _HANDLERS or message_type in _LEFT_OUT


def _no_collection(name: str) -> None:
    if name:
        raise SimulationError("private data collections are not supported by the embedded engine")


def _get_state(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.GetState, payload)
    _no_collection(request.collection)
    return context.simulator.get_state(context.namespace, request.key)


def _get_states(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.GetStateMultiple, payload)
    _no_collection(request.collection)
    values = context.simulator.get_states(context.namespace, request.keys)
    return bytes(shim.GetStateMultipleResult(values=values).SerializeToString())


def _put_state(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.PutState, payload)
    _no_collection(request.collection)
    context.simulator.set_state(context.namespace, request.key, request.value)
    return b""


def _del_state(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.DelState, payload)
    _no_collection(request.collection)
    context.simulator.set_state(context.namespace, request.key, b"")
    return b""


def _write_batch(payload: bytes, context: TxContext) -> bytes:
    kinds = shim.WriteRecord
    simulator, namespace = context.simulator, context.namespace
    for record in goproto.parse(shim.WriteBatchState, payload).rec:
        _no_collection(record.collection)
        if record.type == kinds.PUT_STATE:
            simulator.set_state(namespace, record.key, record.value)
        elif record.type == kinds.DEL_STATE:
            simulator.set_state(namespace, record.key, b"")
        elif record.type == kinds.PUT_STATE_METADATA:
            simulator.set_metadata(namespace, record.key, _entry(record))
        elif record.type == kinds.PURGE_PRIVATE_DATA:
            raise SimulationError("only applicable for private data")
        else:
            raise SimulationError("unknown operation type")
    return b""


def _get_metadata(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.GetStateMetadata, payload)
    _no_collection(request.collection)
    found = context.simulator.get_metadata(context.namespace, request.key)
    result = shim.StateMetadataResult()
    for name in sorted(found):
        result.entries.add(metakey=name, value=found[name])
    return bytes(result.SerializeToString())


def _put_metadata(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.PutStateMetadata, payload)
    _no_collection(request.collection)
    context.simulator.set_metadata(context.namespace, request.key, _entry(request))
    return b""


def _entry(request: Any) -> dict[str, bytes]:
    """The metadata to write. Without it Fabric's handler panics, and says no more than that
    (handler.go putStateMetadata, HandleTransaction). Raises SimulationError."""
    if not request.HasField("metadata"):
        raise SimulationError("panic during execution")
    return {request.metadata.metakey: request.metadata.value}


def _get_range(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.GetStateByRange, payload)
    _no_collection(request.collection)
    metadata = goproto.parse(shim.QueryMetadata, request.metadata)
    simulator, namespace = context.simulator, context.namespace
    limit = TOTAL_RESULTS
    if not metadata.pageSize and not metadata.bookmark:
        items = simulator.range(namespace, request.startKey, request.endKey)
        query = _Query(_range_results(namespace, items), None)
    else:
        start = metadata.bookmark or request.startKey
        items = simulator.range_page(namespace, start, request.endKey, metadata.pageSize)
        query = _Query(_range_results(namespace, items), items)
        if 0 < metadata.pageSize < limit:
            limit = metadata.pageSize
    return _open(query, context, limit)


def _range_results(namespace: str, items: RangeIterator) -> Callable[[], bytes | None]:
    def following() -> bytes | None:
        item = items.next()
        if item is None:
            return None
        key, value = item
        result = kv_query_result_pb2.KV(namespace=namespace, key=key, value=value)
        return bytes(result.SerializeToString())

    return following


def _get_history(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.GetHistoryForKey, payload)
    entries = _modifications(context.simulator.snapshot, context.namespace, request.key)
    return _open(_Query(lambda: next(entries, None), None), context, TOTAL_RESULTS)


def _modifications(snapshot: Snapshot, namespace: str, key: str) -> Iterator[bytes]:
    """Serialised KeyModifications, newest first (kvledger/history/query_executer.go)."""
    for number, index in snapshot.history(namespace, key.encode()):
        raw = snapshot.block(number)
        if raw is None:
            continue
        envelope = common_pb2.Block.FromString(raw).data.data[index]
        found = _modification(envelope, namespace, key)
        if found is not None:
            yield found


def _modification(envelope: bytes, namespace: str, key: str) -> bytes | None:
    try:
        header, parts = parse_parts(envelope)
        action = parse_action(header, parts)
    except InvalidTransactionError:
        return None
    for entry in action.rwsets:
        if entry.namespace != namespace:
            continue
        for write in entry.public.writes:
            if write.key == key:
                deleted = is_delete(write)
                result = kv_query_result_pb2.KeyModification(
                    tx_id=header.tx_id, value=write.value, is_delete=deleted
                )
                result.timestamp.CopyFrom(header.timestamp)
                return bytes(result.SerializeToString())
    return None


def _open(query: _Query, context: TxContext, limit: int) -> bytes:
    query_id = str(next(_ids))
    context.queries[query_id] = query
    return _respond(query_id, query, context, limit)


def _respond(query_id: str, query: _Query, context: TxContext, limit: int) -> bytes:
    """query_response_generator.go BuildQueryResponse: one result is read ahead of each batch."""
    while query.total < limit:
        result = query.next()
        if result is None:
            break
        full = query.pages is None and len(query.pending) == BATCH_RESULTS
        query.total += 1
        if full:
            batch, query.pending = query.pending, [result]
            return _response(query_id, batch, b"", more=True)
        query.pending.append(result)
    context.queries.pop(query_id, None)
    metadata = b""
    if query.pages is not None:
        metadata = shim.QueryResponseMetadata(
            fetched_records_count=query.total, bookmark=query.pages.bookmark()
        ).SerializeToString()
    return _response(query_id, query.pending, metadata, more=False)


def _response(query_id: str, results: list[bytes], metadata: bytes, *, more: bool) -> bytes:
    message = shim.QueryResponse(has_more=more, id=query_id, metadata=metadata)
    for result in results:
        message.results.add(resultBytes=result)
    return bytes(message.SerializeToString())


def _query_next(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.QueryStateNext, payload)
    query = context.queries.get(request.id)
    if query is None:
        raise SimulationError("query iterator not found")
    return _respond(request.id, query, context, TOTAL_RESULTS)


def _query_close(payload: bytes, context: TxContext) -> bytes:
    request = goproto.parse(shim.QueryStateClose, payload)
    context.queries.pop(request.id, None)
    return _response(request.id, [], b"", more=False)


_HANDLERS: dict[int, Callable[[bytes, TxContext], bytes]] = {
    Type.GET_STATE: _get_state,
    Type.GET_STATE_MULTIPLE: _get_states,
    Type.PUT_STATE: _put_state,
    Type.DEL_STATE: _del_state,
    Type.WRITE_BATCH_STATE: _write_batch,
    Type.GET_STATE_METADATA: _get_metadata,
    Type.PUT_STATE_METADATA: _put_metadata,
    Type.GET_STATE_BY_RANGE: _get_range,
    Type.GET_HISTORY_FOR_KEY: _get_history,
    Type.QUERY_STATE_NEXT: _query_next,
    Type.QUERY_STATE_CLOSE: _query_close,
}

_LEFT_OUT: dict[int, str] = {
    Type.GET_QUERY_RESULT: "ExecuteQuery not supported for leveldb",
    Type.INVOKE_CHAINCODE: "chaincode-to-chaincode calls are not supported by the embedded engine",
    Type.GET_PRIVATE_DATA_HASH: "private data is not supported by the embedded engine",
    Type.PURGE_PRIVATE_DATA: "private data is not supported by the embedded engine",
}
