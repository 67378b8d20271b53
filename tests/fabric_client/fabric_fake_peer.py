"""A peer with a small ledger of its own, speaking Fabric's protos on a real loopback socket.

Its chaincode puts values: `Put` takes a JSON list of {"key", "value"} and answers a list of
{"code"}: ok, duplicate (same value there) or conflict. {"bad": true} fails the call as chaincode
does, {"mismatch": n} makes endorsers disagree for the first n endorsements. Faults are scripted.
"""

import asyncio
import gc
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import fake_envelopes as made
import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    events_pb2,
    proposal_pb2,
    proposal_response_pb2,
)
from google.rpc import status_pb2

from clearline.fabric.protoutil import block_data_hash, block_header_hash

VALID, DUPLICATE_TXID, MVCC_READ_CONFLICT = 0, 9, 11
CHAINCODE = made.CHAINCODE


@dataclass(frozen=True)
class Refusal:
    """A scripted gRPC error; details: messages of failing endorsers."""

    code: grpc.StatusCode
    message: str = "scripted"
    details: tuple[str, ...] = ()

    async def raise_in(self, context: Any) -> None:
        packed = status_pb2.Status(code=self.code.value[0], message=self.message)
        for message in self.details:
            detail = gateway_pb2.ErrorDetail(address="p:1", msp_id="BankTwo", message=message)
            packed.details.add().Pack(detail)
        metadata = (("grpc-status-details-bin", packed.SerializeToString()),)
        await context.abort(self.code, self.message, metadata if self.details else ())


@dataclass
class Script:
    """Faults to come, first in first out; None lets a call through.

    submit: "lost_after" orders and fails, "lost_before" fails, "swallow" acknowledges without
    ordering, "twice" orders two copies. status: "hang" never answers.
    """

    endorse: list[Refusal | None] = field(default_factory=list)
    evaluate: list[Refusal | None] = field(default_factory=list)
    submit: list[Refusal | str | None] = field(default_factory=list)
    status: list[Refusal | str | int | None] = field(default_factory=list)
    deliver: list[int | str] = field(default_factory=list)
    before_commit: list[Callable[[], None]] = field(default_factory=list)
    endorse_wait: Callable[[], Awaitable[object]] | None = None
    down: bool = False


class FakePeer:
    """State, chain and services. Use `async with FakePeer() as peer`."""

    def __init__(self, *, block_s: float = 0.002) -> None:
        self.script = Script()
        self.state: dict[str, tuple[made.Version, str]] = {}
        self.blocks: list[Any] = []
        self.codes: dict[str, tuple[int, int]] = {}
        self.submitted: list[bytes] = []
        self.endorsed: list[list[str]] = []
        self.applied: Counter[str] = Counter()
        self.requests: list[Any] = []
        self.in_flight_keys: dict[str, str] = {}
        self.shared_keys: list[str] = []
        self._mismatches: Counter[str] = Counter()
        self._pending: list[bytes] = []
        self._block_s = block_s
        self._news = asyncio.Condition()
        self._wake = asyncio.Event()
        self._server: Any = None
        self._cutter: asyncio.Task[None] | None = None
        self.port = 0
        self._credentials: Any = None
        self._add_block([], b"")

    def use_tls(self, credentials: Any) -> None:
        self._credentials = credentials

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> "FakePeer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before when there was one."""
        # As clearline.fabric.client does.
        grpc.aio.init_grpc_aio()  # type: ignore[attr-defined]
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self._handlers(),))
        address = f"127.0.0.1:{self.port}"
        if self._credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self._credentials)
        await self._server.start()
        self._cutter = asyncio.create_task(self._cut_blocks())

    async def stop(self) -> None:
        """Die; chain and state stay, what was not in a block is gone."""
        assert self._cutter is not None
        self._cutter.cancel()
        self._pending.clear()
        self.in_flight_keys.clear()
        await self._server.stop(None)
        # Its finaliser needs the loop that is still running here.
        self._server = None
        gc.collect()
        await asyncio.sleep(0)

    def _reaches(self, number: int) -> bool:
        return number < len(self.blocks)

    async def until(self, true: Callable[..., bool]) -> None:
        """Wait for a condition on what was asked or committed."""
        async with self._news:
            await self._news.wait_for(true)

    async def _note(self, request: Any) -> None:
        self.requests.append(request)
        async with self._news:
            self._news.notify_all()

    def _handlers(self) -> Any:
        unary, g, dump = grpc.unary_unary_rpc_method_handler, gateway_pb2, made.dump
        methods = {
            "/gateway.Gateway/Evaluate": unary(self._evaluate, g.EvaluateRequest.FromString, dump),
            "/gateway.Gateway/Endorse": unary(self._endorse, g.EndorseRequest.FromString, dump),
            "/gateway.Gateway/Submit": unary(self._submit, g.SubmitRequest.FromString, dump),
            "/gateway.Gateway/CommitStatus": unary(
                self._commit_status, g.SignedCommitStatusRequest.FromString, dump
            ),
            "/gateway.Gateway/ChaincodeEvents": grpc.unary_stream_rpc_method_handler(
                self._chaincode_events, g.SignedChaincodeEventsRequest.FromString, dump
            ),
            "/protos.Deliver/Deliver": grpc.stream_stream_rpc_method_handler(
                self._deliver_full, common_pb2.Envelope.FromString, dump
            ),
            "/protos.Deliver/DeliverFiltered": grpc.stream_stream_rpc_method_handler(
                self._deliver_filtered, common_pb2.Envelope.FromString, dump
            ),
        }

        class Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]
            def service(self, details: Any) -> Any:
                return methods.get(details.method)

        return Handlers()

    # Gateway service

    async def _evaluate(self, request: Any, context: Any) -> Any:
        await self._note(request)
        await _play(self.script.evaluate, context)
        args = made.args(request.proposed_transaction.proposal_bytes)
        if args[0] == b"Height":
            payload = str(len(self.blocks)).encode()
        else:
            held = [self.state.get(key.decode(), (None, None))[1] for key in args[1:]]
            payload = json.dumps(held).encode()
        return gateway_pb2.EvaluateResponse(
            result=proposal_response_pb2.Response(status=200, payload=payload)
        )

    async def _endorse(self, request: Any, context: Any) -> Any:
        await self._note(request)
        if self.script.endorse_wait is not None:
            await self.script.endorse_wait()
        if self.script.down:
            await Refusal(grpc.StatusCode.UNAVAILABLE).raise_in(context)
        await _play(self.script.endorse, context)
        proposal = proposal_pb2.Proposal.FromString(request.proposed_transaction.proposal_bytes)
        items = json.loads(made.args(request.proposed_transaction.proposal_bytes)[1])
        self.endorsed.append([item["key"] for item in items])
        if any(item.get("bad") for item in items):
            said = ("chaincode response 500, bad item",)
            await Refusal(grpc.StatusCode.ABORTED, "failed to endorse", said).raise_in(context)
        cards = [place for place, item in enumerate(items) if item.get("card")]
        if cards:
            said = (f"chaincode response 400, card_data_refused: item {cards[0]}: /value",)
            await Refusal(grpc.StatusCode.ABORTED, "failed to endorse", said).raise_in(context)
        for item in items:
            if item.get("mismatch", 0) > self._mismatches[item["key"]]:
                self._mismatches[item["key"]] += 1
                said = ("ProposalResponsePayloads do not match",)
                await Refusal(grpc.StatusCode.ABORTED, "not enough", said).raise_in(context)
        action = self._simulate(items, request.transaction_id)
        return gateway_pb2.EndorseResponse(prepared_transaction=made.prepare(proposal, action))

    def _simulate(self, items: list[Any], tx_id: str) -> Any:
        overlay: dict[str, str] = {}
        kv, outcomes = kv_rwset_pb2.KVRWSet(), []
        for item in items:
            key, value = item["key"], item["value"]
            held = self.state.get(key)
            read = kv.reads.add(key=key)
            if held is not None:
                read.version.block_num, read.version.tx_num = held[0]
            current = overlay.get(key, held[1] if held else None)
            if current is None:
                overlay[key] = value
                kv.writes.add(key=key, value=value.encode())
                outcomes.append({"code": "ok", "key": key})
            else:
                code = "duplicate" if current == value else "conflict"
                outcomes.append({"code": code, "key": key})
        results = rwset_pb2.TxReadWriteSet(
            ns_rwset=[rwset_pb2.NsReadWriteSet(namespace=CHAINCODE, rwset=kv.SerializeToString())]
        )
        event = chaincode_event_pb2.ChaincodeEvent(
            chaincode_id=CHAINCODE, tx_id=tx_id, event_name="put.v1", payload=b"[]"
        )
        return proposal_pb2.ChaincodeAction(
            results=results.SerializeToString(),
            events=event.SerializeToString() if overlay else b"",
            response=proposal_response_pb2.Response(
                status=200, payload=json.dumps(outcomes).encode()
            ),
            chaincode_id=chaincode_pb2.ChaincodeID(name=CHAINCODE),
        )

    async def _submit(self, request: Any, context: Any) -> Any:
        envelope = request.prepared_transaction.SerializeToString()
        self.submitted.append(envelope)
        await self._note(request)
        if self.script.down:
            await Refusal(grpc.StatusCode.UNAVAILABLE).raise_in(context)
        fault = self.script.submit.pop(0) if self.script.submit else None
        if isinstance(fault, Refusal):
            await fault.raise_in(context)
        if fault == "lost_before":
            await Refusal(grpc.StatusCode.UNAVAILABLE).raise_in(context)
        if fault != "swallow":
            self._pending += [envelope] * (2 if fault == "twice" else 1)
            self._note_in_flight(envelope)
            self._wake.set()
        if fault == "lost_after":
            await Refusal(grpc.StatusCode.UNAVAILABLE).raise_in(context)
        return gateway_pb2.SubmitResponse()

    def _note_in_flight(self, envelope: bytes) -> None:
        for write in made.writes(envelope):
            holder = self.in_flight_keys.setdefault(write.key, made.tx_id(envelope))
            if holder != made.tx_id(envelope):
                self.shared_keys.append(write.key)

    async def _commit_status(self, signed: Any, context: Any) -> Any:
        await self._note(signed)
        request = gateway_pb2.CommitStatusRequest.FromString(signed.request)
        if self.script.down:
            await Refusal(grpc.StatusCode.UNAVAILABLE).raise_in(context)
        fault = self.script.status.pop(0) if self.script.status else None
        if isinstance(fault, Refusal):
            await fault.raise_in(context)
        if fault == "hang":
            await asyncio.Event().wait()
        async with self._news:
            await self._news.wait_for(lambda: request.transaction_id in self.codes)
        code, block = self.codes[request.transaction_id]
        return gateway_pb2.CommitStatusResponse(
            result=fault if isinstance(fault, int) else code, block_number=block
        )

    async def _chaincode_events(self, signed: Any, _context: Any) -> AsyncIterator[Any]:
        request = gateway_pb2.ChaincodeEventsRequest.FromString(signed.request)
        await self._note(signed)
        number = len(self.blocks)
        if request.start_position.HasField("specified"):
            number = request.start_position.specified.number
        passed = not request.after_transaction_id
        while True:
            async with self._news:
                await self._news.wait_for(partial(self._reaches, number))
            block = self.blocks[number]
            response = gateway_pb2.ChaincodeEventsResponse(block_number=number)
            for envelope, flag in zip(block.data.data, block.metadata.metadata[2], strict=True):
                event = made.event(envelope) if flag == VALID and number else None
                if event is None:
                    continue
                if passed and event.chaincode_id == request.chaincode_id:
                    response.events.append(event)
                passed = passed or event.tx_id == request.after_transaction_id
            if response.events:
                yield response
            number += 1

    # Deliver

    async def _deliver_full(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for number in self._seek(requests, context):
            if isinstance(number, str):
                yield events_pb2.DeliverResponse(status=common_pb2.Status.Value(number))
                return
            yield events_pb2.DeliverResponse(block=self.blocks[number])

    async def _deliver_filtered(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for number in self._seek(requests, context):
            if isinstance(number, str):
                yield events_pb2.DeliverResponse(status=common_pb2.Status.Value(number))
                return
            yield events_pb2.DeliverResponse(filtered_block=made.filtered(self.blocks[number]))

    async def _seek(self, requests: Any, context: Any) -> AsyncIterator[int | str]:
        """Block numbers, then a status name."""
        envelope = await anext(aiter(requests))
        await self._note(envelope)
        limit = self.script.deliver.pop(0) if self.script.deliver else 10**9
        if isinstance(limit, str):
            yield limit
            return
        payload = common_pb2.Payload.FromString(envelope.payload)
        seek = ab_pb2.SeekInfo.FromString(payload.data)
        number = len(self.blocks)
        if seek.start.HasField("specified"):
            number = seek.start.specified.number
        elif seek.start.HasField("newest"):
            number -= 1
        while number <= seek.stop.specified.number:
            if number >= len(self.blocks) and seek.behavior == seek.FAIL_IF_NOT_READY:
                yield "NOT_FOUND"
                return
            async with self._news:
                await self._news.wait_for(partial(self._reaches, number))
            if limit == 0:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            limit -= 1
            yield number
            number += 1
        yield "SUCCESS"

    # Ordering and validation

    async def _cut_blocks(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._block_s)
            self._wake.clear()
            envelopes, self._pending = self._pending, []
            if not envelopes:
                continue
            while self.script.before_commit:
                self.script.before_commit.pop(0)()
            self._add_block(envelopes, bytes(self._validate(envelopes)))
            async with self._news:
                self._news.notify_all()

    def _validate(self, envelopes: list[bytes]) -> list[int]:
        number, flags = len(self.blocks), []
        for index, envelope in enumerate(envelopes):
            tx_id = made.tx_id(envelope)
            reads, writes = made.reads(envelope), made.writes(envelope)
            for write in writes:
                self.in_flight_keys.pop(write.key, None)
            if self.codes.get(tx_id) is not None:
                flags.append(DUPLICATE_TXID)
                continue
            fresh = all(
                made.version(read) == self.state.get(read.key, (None,))[0] for read in reads
            )
            flags.append(VALID if fresh else MVCC_READ_CONFLICT)
            self.codes[tx_id] = (flags[-1], number)
            for write in writes if fresh else ():
                self.state[write.key] = ((number, index), write.value.decode())
                self.applied[write.key] += 1
        return flags

    def put(self, key: str, value: str) -> None:
        """Somebody else's write, committed at once."""
        self.state[key] = ((len(self.blocks), 99), value)

    async def add_block(self, envelopes: list[bytes], flags: bytes = b"") -> None:
        """Append a block as it is."""
        self._add_block(envelopes, flags)
        async with self._news:
            self._news.notify_all()

    def _add_block(self, envelopes: list[bytes], flags: bytes) -> None:
        block = common_pb2.Block()
        block.header.number = len(self.blocks)
        if self.blocks:
            block.header.previous_hash = block_header_hash(self.blocks[-1].header)
        block.data.data.extend(envelopes)
        block.header.data_hash = block_data_hash(envelopes)
        block.metadata.metadata.extend([b"", b"", flags, b"", b""])
        self.blocks.append(block)


async def _play(script: list[Refusal | None], context: Any) -> None:
    fault = script.pop(0) if script else None
    if fault is not None:
        await fault.raise_in(context)
