"""A chaincode that speaks protos.Chaincode by hand: keys, ranges, history, metadata, mischief.

Functions are coroutines of (stub, *arguments as text) that answer payload bytes. Raise `Answer` for
another status. It is a test's own server so that these tests judge the peer, not our shim.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    proposal_response_pb2,
)
from fabric_protos.peer import chaincode_shim_pb2 as shim

Type = shim.ChaincodeMessage.Type


class Answer(Exception):  # noqa: N818 - a result
    def __init__(self, status: int, message: str = "", payload: bytes = b"") -> None:
        super().__init__(message)
        self.response = proposal_response_pb2.Response(
            status=status, message=message, payload=payload
        )


class PeerSaid(Exception):  # noqa: N818 - a peer's ERROR
    pass


@dataclass
class Stub:
    """One running transaction."""

    stream: "Stream"
    message: Any
    event: Any = None

    async def ask(self, kind: int, request: Any) -> bytes:
        """Send a request and answer the RESPONSE payload. Raises PeerSaid for an ERROR."""
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.stream.waiting[self.message.txid] = waiting
        await self.stream.send(
            shim.ChaincodeMessage(
                type=kind,
                payload=request.SerializeToString(),
                txid=self.message.txid,
                channel_id=self.message.channel_id,
            )
        )
        answer = await waiting
        if answer.type == Type.ERROR:
            raise PeerSaid(answer.payload.decode())
        return bytes(answer.payload)

    async def results(self, kind: int, request: Any) -> tuple[list[bytes], Any]:
        """All results of a query, and its last response."""
        response = shim.QueryResponse.FromString(await self.ask(kind, request))
        found = [item.resultBytes for item in response.results]
        while response.has_more:
            following = shim.QueryStateNext(id=response.id)
            response = shim.QueryResponse.FromString(
                await self.ask(Type.QUERY_STATE_NEXT, following)
            )
            found += [item.resultBytes for item in response.results]
        return found, response


async def put(stub: Stub, key: str, value: str) -> bytes:
    await stub.ask(Type.PUT_STATE, shim.PutState(key=key, value=value.encode()))
    return b"done"


async def get(stub: Stub, key: str) -> bytes:
    return await stub.ask(Type.GET_STATE, shim.GetState(key=key))


async def delete(stub: Stub, key: str) -> bytes:
    return await stub.ask(Type.DEL_STATE, shim.DelState(key=key))


async def add(stub: Stub, key: str, amount: str) -> bytes:
    """Read, then write: the read makes concurrent ones conflict."""
    value = int(await get(stub, key) or b"0") + int(amount)
    await put(stub, key, str(value))
    stub.event = chaincode_event_pb2.ChaincodeEvent(
        chaincode_id="forged", tx_id="forged", event_name="added", payload=key.encode()
    )
    return str(value).encode()


async def batch(stub: Stub, *pairs: str) -> bytes:
    request = shim.WriteBatchState()
    for pair in pairs:
        key, _, value = pair.partition("=")
        kind = shim.WriteRecord.PUT_STATE if value else shim.WriteRecord.DEL_STATE
        request.rec.add(type=kind, key=key, value=value.encode())
    return await stub.ask(Type.WRITE_BATCH_STATE, request)


async def many(stub: Stub, *keys: str) -> bytes:
    raw = await stub.ask(Type.GET_STATE_MULTIPLE, shim.GetStateMultiple(keys=keys))
    values = shim.GetStateMultipleResult.FromString(raw).values
    return json.dumps([value.decode() for value in values]).encode()


async def span(stub: Stub, start: str, end: str, write_to: str = "") -> bytes:
    request = shim.GetStateByRange(startKey=start, endKey=end)
    found, _ = await stub.results(Type.GET_STATE_BY_RANGE, request)
    pairs = [kv_query_result_pb2.KV.FromString(item) for item in found]
    if write_to:
        await put(stub, write_to, str(len(pairs)))
    return json.dumps([[pair.key, pair.value.decode()] for pair in pairs]).encode()


async def page(stub: Stub, start: str, end: str, size: str, bookmark: str = "") -> bytes:
    metadata = shim.QueryMetadata(pageSize=int(size), bookmark=bookmark)
    request = shim.GetStateByRange(
        startKey=start, endKey=end, metadata=metadata.SerializeToString()
    )
    found, last = await stub.results(Type.GET_STATE_BY_RANGE, request)
    keys = [kv_query_result_pb2.KV.FromString(item).key for item in found]
    answer = shim.QueryResponseMetadata.FromString(last.metadata)
    return json.dumps([keys, answer.fetched_records_count, answer.bookmark]).encode()


async def page_then_put(stub: Stub, key: str) -> bytes:
    await page(stub, "", "", "2")
    return await put(stub, key, "late")


async def history(stub: Stub, key: str) -> bytes:
    found, _ = await stub.results(Type.GET_HISTORY_FOR_KEY, shim.GetHistoryForKey(key=key))
    entries = [kv_query_result_pb2.KeyModification.FromString(item) for item in found]
    return json.dumps(
        [[entry.tx_id, entry.value.decode(), entry.is_delete] for entry in entries]
    ).encode()


async def lock(stub: Stub, key: str, policy_hex: str) -> bytes:
    entry = shim.StateMetadata(metakey="VALIDATION_PARAMETER", value=bytes.fromhex(policy_hex))
    return await stub.ask(Type.PUT_STATE_METADATA, shim.PutStateMetadata(key=key, metadata=entry))


async def locked(stub: Stub, key: str) -> bytes:
    raw = await stub.ask(Type.GET_STATE_METADATA, shim.GetStateMetadata(key=key))
    entries = shim.StateMetadataResult.FromString(raw).entries
    return entries[0].value.hex().encode() if entries else b""


async def status(stub: Stub, code: str, message: str) -> bytes:
    await put(stub, "status", message)
    raise Answer(int(code), message, b"payload")


async def rich(stub: Stub) -> bytes:
    return await stub.ask(Type.GET_QUERY_RESULT, shim.GetQueryResult(query="{}"))


async def other(stub: Stub) -> bytes:
    return await stub.ask(Type.INVOKE_CHAINCODE, chaincode_pb2.ChaincodeSpec())


async def silent(stub: Stub) -> bytes:
    await asyncio.get_running_loop().create_future()
    return b""


async def drop(stub: Stub) -> bytes:
    stub.stream.stop.set()
    return await silent(stub)


async def twice(stub: Stub, key: str) -> bytes:
    """Answer before the answer, and write in between."""
    done = shim.ChaincodeMessage(
        type=Type.COMPLETED, txid=stub.message.txid, channel_id=stub.message.channel_id
    )
    response = proposal_response_pb2.Response(status=200, payload=b"first")
    done.payload = response.SerializeToString()
    await stub.stream.send(done)
    with contextlib.suppress(PeerSaid):
        await put(stub, key, "late")
    return b"second"


async def strange(stub: Stub) -> bytes:
    """A message that has no place in a transaction."""
    await stub.stream.send(
        shim.ChaincodeMessage(
            type=Type.REGISTER, txid=stub.message.txid, channel_id=stub.message.channel_id
        )
    )
    return await silent(stub)


async def garbage(stub: Stub) -> bytes:
    """Bytes that are no message."""
    await stub.stream.garbage()
    return await silent(stub)


async def raw(stub: Stub, kind: str, payload_hex: str) -> bytes:
    """Any message of the protocol with any payload; the peer's answer."""
    waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    stub.stream.waiting[stub.message.txid] = waiting
    message = shim.ChaincodeMessage(
        payload=bytes.fromhex(payload_hex),
        txid=stub.message.txid,
        channel_id=stub.message.channel_id,
    )
    # A number that the enumeration doesn't know goes out as well: field 1, a varint.
    await stub.stream.send_bytes(message.SerializeToString() + b"\x08" + bytes([int(kind)]))
    answer = await waiting
    if answer.type == Type.ERROR:
        raise PeerSaid(answer.payload.decode())
    return bytes(answer.payload)


async def flood(stub: Stub, count: str, size: str, seconds: str = "") -> bytes:
    """Requests without end whose answers nobody reads.

    With `seconds` there is no answer either, and the stream ends after so many.
    """
    stub.stream.deaf = True
    if seconds:
        asyncio.get_running_loop().call_later(float(seconds), stub.stream.stop.set)
    request = shim.PutState(key="k", value=bytes(int(size))).SerializeToString()
    message = shim.ChaincodeMessage(
        type=Type.PUT_STATE if int(size) else Type.GET_STATE,
        payload=request,
        txid=stub.message.txid,
        channel_id=stub.message.channel_id,
    ).SerializeToString()
    for _ in range(int(count)):
        await stub.stream.send_bytes(message)
    return await silent(stub) if seconds else b"flooded"


async def huge(stub: Stub, size: str) -> bytes:
    """A GET_STATE as a message of so many bytes, at least 2 MiB: padded with a field that no peer
    knows."""
    waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    stub.stream.waiting[stub.message.txid] = waiting
    good = shim.ChaincodeMessage(
        type=Type.GET_STATE,
        payload=shim.GetState(key="k").SerializeToString(),
        txid=stub.message.txid,
        channel_id=stub.message.channel_id,
    ).SerializeToString()
    # Field 15, length-delimited; its length takes four bytes from 2 MiB to 256 MiB.
    rest = int(size) - len(good) - 5
    length = bytes(rest >> shift & 0x7F | (0x80 if shift < 21 else 0) for shift in (0, 7, 14, 21))
    await stub.stream.send_bytes(good + b"\x7a" + length + bytes(rest))
    return bytes((await waiting).payload)


FUNCTIONS: dict[str, Callable[..., Awaitable[bytes]]] = {
    item.__name__: item
    for item in (
        put, get, delete, add, batch, many, span, page, page_then_put, history, lock, locked,
        status, rich, other, silent, drop, twice, strange, garbage, raw, flood, huge,
    )
}  # fmt: skip


class Stream:
    """One peer's stream."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._lock = asyncio.Lock()
        self.waiting: dict[str, asyncio.Future[Any]] = {}
        self.stop = asyncio.Event()
        self.deaf = False

    async def send(self, message: Any) -> None:
        async with self._lock:
            await self._context.write(message.SerializeToString())

    async def send_bytes(self, raw: bytes) -> None:
        async with self._lock:
            await self._context.write(raw)

    async def garbage(self) -> None:
        await self.send_bytes(b"\xff\xff\xff")

    async def run(self, stub: Stub) -> None:
        args = chaincode_pb2.ChaincodeInput.FromString(stub.message.payload).args
        done = shim.ChaincodeMessage(
            type=Type.COMPLETED, txid=stub.message.txid, channel_id=stub.message.channel_id
        )
        try:
            function = FUNCTIONS[args[0].decode()]
            payload = await function(stub, *(item.decode() for item in args[1:]))
            response = proposal_response_pb2.Response(status=200, payload=payload)
        except Answer as answer:
            response = answer.response
        except (PeerSaid, LookupError, TypeError, ValueError) as error:
            response = proposal_response_pb2.Response(status=500, message=str(error))
        done.payload = response.SerializeToString()
        if stub.event is not None:
            done.chaincode_event.CopyFrom(stub.event)
        await self.send(done)


class KvChaincode:
    """The server. `package_id` is set once it is known."""

    def __init__(self) -> None:
        self.package_id = ""
        self.port = 0
        self.ready: list[Any] = []
        self._server: Any = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        method = grpc.stream_stream_rpc_method_handler(self._connect)
        handler = grpc.method_handlers_generic_handler("protos.Chaincode", {"Connect": method})
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await self._server.stop(0)

    async def _connect(self, requests: AsyncIterator[bytes], context: Any) -> None:
        stream = Stream(context)
        name = chaincode_pb2.ChaincodeID(name=self.package_id)
        await stream.send(
            shim.ChaincodeMessage(type=Type.REGISTER, payload=name.SerializeToString())
        )
        reader = asyncio.create_task(self._read(requests, stream))
        stopped = asyncio.create_task(stream.stop.wait())
        try:
            await asyncio.wait((reader, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            stopped.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _read(self, requests: AsyncIterator[bytes], stream: Stream) -> None:
        async for raw in requests:
            if stream.deaf:
                await asyncio.get_running_loop().create_future()
            message = shim.ChaincodeMessage.FromString(raw)
            if message.type == Type.READY:
                self.ready.append(message)
            elif message.type in (Type.TRANSACTION, Type.INIT):
                task = asyncio.create_task(stream.run(Stub(stream, message)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif message.type in (Type.RESPONSE, Type.ERROR):
                stream.waiting.pop(message.txid).set_result(message)


def arguments(function: str, args: Sequence[str]) -> list[bytes]:
    return [function.encode(), *(item.encode() for item in args)]
