"""A peer's side of the chaincode stream over a real socket, with a state in memory.

Speaks what Fabric core/chaincode/handler.go speaks. Like it, it takes one request of a
transaction at a time; unlike it, a second one is not dropped but fails the test.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
from chaincode_tls import Authority, Leaf
from fabric_protos.common import common_pb2
from fabric_protos.ledger.queryresult import kv_query_result_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2, proposal_response_pb2
from fabric_protos.peer import chaincode_shim_pb2 as shim_pb2

CHANNEL = "payments"
TYPE = shim_pb2.ChaincodeMessage
_NONCES = itertools.count(1)


@dataclass
class Tx:
    """One transaction as the peer sees it."""

    tx_id: str
    done: asyncio.Future[Any]
    writes: list[tuple[str, str, bytes]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    pending: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Answer:
    """How a transaction ended: the response, the event, what it wrote, what it asked."""

    status: int
    message: str
    payload: bytes
    event: tuple[str, bytes] | None
    writes: list[tuple[str, str, bytes]]
    requests: list[str]


@dataclass
class FakePeer:
    """One stream to a chaincode server."""

    channel: Any
    call: Any
    state: dict[str, bytes]
    policies: dict[str, bytes]
    history: dict[str, list[tuple[str, bytes]]]
    params: Any
    registered_as: str = ""
    page: int = 2
    errors: dict[str, str] = field(default_factory=dict)
    hold: set[str] = field(default_factory=set)
    overlaps: list[str] = field(default_factory=list)
    stray: list[Any] = field(default_factory=list)
    most_running: int = 0
    _txs: dict[str, Tx] = field(default_factory=dict)
    _iterators: dict[str, list[bytes]] = field(default_factory=dict)
    _reader: asyncio.Task[None] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    async def connect(
        cls,
        port: int,
        authority: Authority,
        leaf: Leaf,
        *,
        multi_get: int = 1000,
        write_batch: int = 1000,
        server_name: str = "chaincode.bankone",
    ) -> FakePeer:
        """Connect and bring the stream to ready; 0 keys or writes: the peer announces nothing."""
        credentials = grpc.ssl_channel_credentials(authority.pem, leaf.key, leaf.certificate)
        channel: Any = grpc.aio.secure_channel(
            f"127.0.0.1:{port}",
            credentials,
            options=(
                ("grpc.ssl_target_name_override", server_name),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ),
        )
        call = channel.stream_stream("/protos.Chaincode/Connect")()
        params = chaincode_pb2.ChaincodeAdditionalParams(
            use_write_batch=write_batch > 0,
            max_size_write_batch=write_batch,
            use_get_multiple_keys=multi_get > 0,
            max_size_get_multiple_keys=multi_get,
        )
        peer = cls(channel, call, {}, {}, {}, params)
        try:
            register = TYPE.FromString(await peer.read())
            assert register.type == TYPE.REGISTER
            peer.registered_as = chaincode_pb2.ChaincodeID.FromString(register.payload).name
            await peer.send(TYPE(type=TYPE.REGISTERED))
            payload = params.SerializeToString()
            await peer.send(TYPE(type=TYPE.READY, payload=payload))
        except BaseException:
            await channel.close()
            raise
        peer._reader = asyncio.create_task(peer._serve())
        return peer

    async def read(self) -> bytes:
        raw: bytes = await asyncio.wait_for(self.call.read(), 10)
        if raw is grpc.aio.EOF:  # type: ignore[attr-defined]
            code = await self.call.code()
            raise ConnectionError(f"{code}: {await self.call.details()}")
        return raw

    async def send(self, message: Any) -> None:
        async with self._turn:  # gRPC takes one write at a time
            await self.call.write(message.SerializeToString())

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self.call.cancel()
        await self.channel.close()
        assert self.overlaps == [], "one pending request a transaction"

    async def ended(self) -> grpc.StatusCode:
        """The stream's status once the server has ended it."""
        return await asyncio.wait_for(self.call.code(), 10)

    async def invoke(
        self,
        args: Sequence[bytes],
        creator: bytes,
        *,
        timestamp: datetime | None = None,
        transient: dict[str, bytes] | None = None,
    ) -> Answer:
        """One transaction to its end."""
        tx_id, message = transaction(args, creator, timestamp, transient)
        return await self.run(tx_id, message)

    async def run(self, tx_id: str, message: Any) -> Answer:
        tx = self.start(tx_id)
        await self.send(message)
        return await self.finish(tx)

    def start(self, tx_id: str) -> Tx:
        tx = Tx(tx_id, asyncio.get_running_loop().create_future())
        self._txs[tx_id] = tx
        self.most_running = max(self.most_running, len(self._txs))
        return tx

    async def finish(self, tx: Tx) -> Answer:
        message = await asyncio.wait_for(tx.done, 10)
        if message.type == TYPE.ERROR:
            return Answer(-1, message.payload.decode(), b"", None, tx.writes, tx.requests)
        response = proposal_response_pb2.Response.FromString(message.payload)
        event = message.chaincode_event
        shown = (event.event_name, event.payload) if event.event_name else None
        return Answer(
            response.status, response.message, response.payload, shown, tx.writes, tx.requests
        )

    def release(self, tx: Tx) -> Any:
        """The answer to a held request."""
        tx.pending = False
        return TYPE(type=TYPE.RESPONSE, txid=tx.tx_id, channel_id=CHANNEL)

    async def _serve(self) -> None:
        while True:
            raw = await self.call.read()
            if raw is grpc.aio.EOF:  # type: ignore[attr-defined]
                return
            message = TYPE.FromString(raw)
            tx = self._txs.get(message.txid)
            if tx is None or message.type == TYPE.KEEPALIVE:
                self.stray.append(message)
            elif message.type in (TYPE.COMPLETED, TYPE.ERROR):
                del self._txs[message.txid]
                tx.done.set_result(message)
            else:
                await self._answer(tx, message)

    async def _answer(self, tx: Tx, message: Any) -> None:
        name = TYPE.Type.Name(message.type)
        if tx.pending:
            self.overlaps.append(f"{tx.tx_id}: {name}")
        tx.pending = True
        tx.requests.append(name)
        tx.asked.set()
        if name in self.hold:
            return
        # Give other transactions' requests a turn, so that they do mix on the stream.
        await asyncio.sleep(0)
        if name in self.errors:
            answer = TYPE(type=TYPE.ERROR, payload=self.errors[name].encode())
        else:
            answer = TYPE(type=TYPE.RESPONSE, payload=self._payload(tx, name, message.payload))
        answer.txid, answer.channel_id = message.txid, message.channel_id
        tx.pending = False
        await self.send(answer)

    def _payload(self, tx: Tx, name: str, payload: bytes) -> bytes:
        result: bytes = getattr(self, f"_{name.lower()}")(tx, payload)
        return result

    def _get_state(self, tx: Tx, payload: bytes) -> bytes:
        return self.state.get(shim_pb2.GetState.FromString(payload).key, b"")

    def _get_state_multiple(self, tx: Tx, payload: bytes) -> bytes:
        keys = shim_pb2.GetStateMultiple.FromString(payload).keys
        assert len(keys) <= max(self.params.max_size_get_multiple_keys, 100)
        values = [self.state.get(key, b"") for key in keys]
        raw: bytes = shim_pb2.GetStateMultipleResult(values=values).SerializeToString()
        return raw

    def _get_state_metadata(self, tx: Tx, payload: bytes) -> bytes:
        key = shim_pb2.GetStateMetadata.FromString(payload).key
        entries = []
        if key in self.policies:
            entries.append(
                shim_pb2.StateMetadata(metakey="VALIDATION_PARAMETER", value=self.policies[key])
            )
        raw: bytes = shim_pb2.StateMetadataResult(entries=entries).SerializeToString()
        return raw

    def _put_state(self, tx: Tx, payload: bytes) -> bytes:
        put = shim_pb2.PutState.FromString(payload)
        tx.writes.append(("PUT_STATE", put.key, put.value))
        return b""

    def _del_state(self, tx: Tx, payload: bytes) -> bytes:
        tx.writes.append(("DEL_STATE", shim_pb2.DelState.FromString(payload).key, b""))
        return b""

    def _put_state_metadata(self, tx: Tx, payload: bytes) -> bytes:
        put = shim_pb2.PutStateMetadata.FromString(payload)
        assert put.metadata.metakey == "VALIDATION_PARAMETER"
        tx.writes.append(("PUT_STATE_METADATA", put.key, put.metadata.value))
        return b""

    def _write_batch_state(self, tx: Tx, payload: bytes) -> bytes:
        records = shim_pb2.WriteBatchState.FromString(payload).rec
        assert len(records) <= max(self.params.max_size_write_batch, 100)
        for record in records:
            kind = shim_pb2.WriteRecord.Type.Name(record.type)
            value = record.metadata.value if kind == "PUT_STATE_METADATA" else record.value
            tx.writes.append((kind, record.key, value))
        return b""

    def _get_state_by_range(self, tx: Tx, payload: bytes) -> bytes:
        asked = shim_pb2.GetStateByRange.FromString(payload)
        paging = shim_pb2.QueryMetadata.FromString(asked.metadata)
        start = paging.bookmark or asked.startKey
        found = [
            (key, value)
            for key, value in sorted(self.state.items())
            if key >= start and (not asked.endKey or key < asked.endKey)
        ]
        results = [
            kv_query_result_pb2.KV(namespace="cc", key=key, value=value).SerializeToString()
            for key, value in found
        ]
        if not asked.metadata:
            return self._cut(str(next(self._ids)), results)
        size = paging.pageSize
        bookmark = found[size][0] if len(found) > size else ""
        described = shim_pb2.QueryResponseMetadata(
            fetched_records_count=len(results[:size]), bookmark=bookmark
        )
        return _query_response(results[:size], False, "page", described.SerializeToString())

    def _get_history_for_key(self, tx: Tx, payload: bytes) -> bytes:
        key = shim_pb2.GetHistoryForKey.FromString(payload).key
        results = []
        for tx_id, value in self.history.get(key, []):
            change = kv_query_result_pb2.KeyModification(
                tx_id=tx_id, value=value, is_delete=not value
            )
            change.timestamp.FromSeconds(1_700_000_000)
            results.append(change.SerializeToString())
        return self._cut(str(next(self._ids)), results)

    def _query_state_next(self, tx: Tx, payload: bytes) -> bytes:
        iterator = shim_pb2.QueryStateNext.FromString(payload).id
        return self._cut(iterator, self._iterators.pop(iterator))

    def _query_state_close(self, tx: Tx, payload: bytes) -> bytes:
        iterator = shim_pb2.QueryStateClose.FromString(payload).id
        self._iterators.pop(iterator)
        return _query_response([], False, iterator)

    def _cut(self, iterator: str, results: list[bytes]) -> bytes:
        more = len(results) > self.page
        if more:
            self._iterators[iterator] = results[self.page :]
        return _query_response(results[: self.page], more, iterator)


def _query_response(
    results: list[bytes], has_more: bool, iterator: str, metadata: bytes = b""
) -> bytes:
    raw: bytes = shim_pb2.QueryResponse(
        results=[shim_pb2.QueryResultBytes(resultBytes=result) for result in results],
        has_more=has_more,
        id=iterator,
        metadata=metadata,
    ).SerializeToString()
    return raw


def serialized_identity(msp_id: str, certificate: bytes) -> bytes:
    """A creator's bytes."""
    raw: bytes = identities_pb2.SerializedIdentity(
        mspid=msp_id, id_bytes=certificate
    ).SerializeToString()
    return raw


def transaction(
    args: Sequence[bytes],
    creator: bytes,
    timestamp: datetime | None = None,
    transient: dict[str, bytes] | None = None,
) -> tuple[str, Any]:
    """A TRANSACTION message and its transaction id."""
    nonce = next(_NONCES).to_bytes(24, "big")
    tx_id = hashlib.sha256(nonce + creator).hexdigest()
    channel = common_pb2.ChannelHeader(
        type=common_pb2.ENDORSER_TRANSACTION, channel_id=CHANNEL, tx_id=tx_id
    )
    channel.timestamp.FromDatetime(timestamp or datetime.now(UTC))
    signature = common_pb2.SignatureHeader(creator=creator, nonce=nonce)
    header = common_pb2.Header(
        channel_header=channel.SerializeToString(),
        signature_header=signature.SerializeToString(),
    )
    content = chaincode_pb2.ChaincodeInput(args=list(args))
    payload = proposal_pb2.ChaincodeProposalPayload(
        input=content.SerializeToString(), TransientMap=transient or {}
    )
    proposal = proposal_pb2.Proposal(
        header=header.SerializeToString(), payload=payload.SerializeToString()
    )
    signed = proposal_pb2.SignedProposal(proposal_bytes=proposal.SerializeToString())
    message = TYPE(
        type=TYPE.TRANSACTION,
        txid=tx_id,
        channel_id=CHANNEL,
        payload=content.SerializeToString(),
        proposal=signed,
    )
    return tx_id, message
