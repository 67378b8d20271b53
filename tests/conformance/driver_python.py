"""Our client behind JSON lines: conformance_clients.py describes the operations.

Bytes are Base64. Started as `python driver_python.py`; answers come in whatever order they are
done.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearline.fabric.checkpointers import FileCheckpointer, InMemoryCheckpointer
from clearline.fabric.errors import CommitError, FabricError, GatewayError
from clearline.fabric.events import (
    BlockEventsRequest,
    ChaincodeEventsRequest,
    CommittedEvent,
    Start,
)
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import X509Signer
from clearline.fabric.profile import PeerEndpoint, Profile
from clearline.fabric.proposal import Proposal, ProposalOptions
from clearline.fabric.protoutil import serialized_identity

Json = dict[str, Any]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Unsigned:
    """An identity whose key is elsewhere."""

    def __init__(self, msp_id: str, certificate: bytes) -> None:
        self.msp_id = msp_id
        self.identity = serialized_identity(msp_id, certificate)

    def sign(self, message: bytes) -> bytes:
        raise RuntimeError("no private key here")


@dataclass
class Stream:
    """Open events: what arrived, the last one taken, and where to checkpoint."""

    kind: str
    events: AsyncGenerator[Any, None]
    checkpoint: Any
    pending: asyncio.Task[Any] | None = None
    last: Any = None


class Driver:
    """Sessions, prepared requests and streams by name."""

    def __init__(self) -> None:
        self.sessions: dict[str, Gateway] = {}
        self.requests: dict[str, bytes] = {}
        self.streams: dict[str, Stream] = {}

    async def connect(self, request: Json) -> Json:
        identity, peer, tls = request["identity"], request["peer"], request["tls"]
        key = identity["key"]
        profile = Profile(
            network="",
            channel="",
            chaincode="",
            msp_id=identity["msp_id"],
            certificate=Path(identity["certificate"]),
            private_key=Path(key or ""),
            tls_certificate=Path(tls["certificate"]),
            tls_private_key=Path(tls["key"]),
            peer=PeerEndpoint(peer["endpoint"], peer["server_name"], Path(peer["tls_ca"])),
        )
        signer: Any = X509Signer.from_profile(profile) if key else None
        if signer is None:
            signer = Unsigned(profile.msp_id, profile.certificate.read_bytes())
        self.sessions[request["session"]] = Gateway(
            profile.open_channel(), signer, tls_cert_hash=profile.tls_cert_hash()
        )
        return {}

    def _proposal(self, request: Json) -> Proposal:
        gateway = self.sessions[request["session"]]
        if "signature" in request:
            data, signature = request["bytes"], request["signature"]
            return gateway.new_signed_proposal(b(data), b(signature))
        if "bytes" in request:
            return gateway.new_proposal(b(request["bytes"]))
        options = ProposalOptions(
            transient={name: b(value) for name, value in request.get("transient", {}).items()},
            organizations=request.get("organizations", ()),
        )
        contract = gateway.network(request["channel"]).contract(request["chaincode"])
        function, *args = request["args"]
        return contract.new_proposal(function, args, options)

    async def propose(self, request: Json) -> Json:
        return _prepared(self._proposal(request))

    async def evaluate(self, request: Json) -> Json:
        found = await self._proposal(request).evaluate(request.get("deadline"))
        return {"result": text(found)}

    async def transact(self, request: Json) -> Json:
        transaction = await self._proposal(request).endorse()
        status = await (await transaction.submit()).status()
        if not status.successful:
            raise CommitError(transaction.transaction_id, status.code, status.block_number)
        return {"result": text(transaction.result)}

    async def endorse(self, request: Json) -> Json:
        transaction = await self._proposal(request).endorse(request.get("deadline"))
        return _prepared(transaction) | {"result": text(transaction.result)}

    async def submit(self, request: Json) -> Json:
        transaction = self.sessions[request["session"]].new_transaction(b(request["bytes"]))
        if "signature" in request:
            transaction.set_signature(b(request["signature"]))
        return _prepared(await transaction.submit(request.get("deadline")))

    async def status(self, request: Json) -> Json:
        commit = self.sessions[request["session"]].new_commit(b(request["bytes"]))
        if "signature" in request:
            commit.set_signature(b(request["signature"]))
        status = await commit.status(request.get("deadline"))
        return {"code": status.code, "block": status.block_number, "tx_id": status.transaction_id}

    async def request_events(self, request: Json) -> Json:
        network = self.sessions[request["session"]].network(request["channel"])
        start = Start(block=request.get("start"))
        made: ChaincodeEventsRequest | BlockEventsRequest = network.block_events_request(start)
        if request["kind"] == "chaincode":
            made = network.chaincode_events_request(request["chaincode"], start)
        name = f"request{len(self.requests)}"
        self.requests[name] = made.to_bytes()
        return {"request": name, "digest": text(made.digest)}

    async def open_events(self, request: Json) -> Json:
        checkpoint: Any = InMemoryCheckpointer()
        if "file" in request:
            checkpoint = FileCheckpointer(Path(request["file"]))
        elif "after" in request:
            after = request["after"]
            checkpoint.checkpoint_transaction(after["block"], after["tx_id"])
        events = self._events(request, Start(request.get("start"), checkpoint))
        name = f"stream{len(self.streams)}"
        stream = self.streams[name] = Stream(request["kind"], events, checkpoint)
        # As in the official clients the request is on its way when this answers.
        stream.pending = asyncio.create_task(anext(events))
        return {"stream": name}

    def _events(self, request: Json, start: Start) -> AsyncGenerator[Any, None]:
        gateway = self.sessions[request["session"]]
        network = gateway.network(request.get("channel", ""))
        made = self.requests.get(request.get("request", ""))
        signature = b(request.get("signature", ""))
        if request["kind"] == "chaincode":
            if made is not None:
                return gateway.new_signed_chaincode_events_request(made, signature).events()
            return network.chaincode_events(request["chaincode"], start)
        blocks = network.block_events_request(start)
        if made is not None:
            blocks = gateway.new_signed_block_events_request(made, signature)
        return blocks.blocks() if request["kind"] == "block" else blocks.filtered_blocks()

    async def next_event(self, request: Json) -> Json:
        stream = self.streams[request["stream"]]
        if stream.pending is None:
            stream.pending = asyncio.create_task(anext(stream.events))
        done, _ = await asyncio.wait({stream.pending}, timeout=request["timeout"])
        if not done:
            return {"timeout": True}
        task, stream.pending = stream.pending, None
        try:
            stream.last = task.result()
        except StopAsyncIteration:
            return {"end": True}
        except FabricError as error:
            return {"end": True, "error": _failure(error)}
        return {"event": _READERS[stream.kind](stream.last)}

    async def checkpoint(self, request: Json) -> Json:
        stream = self.streams[request["stream"]]
        if isinstance(stream.last, CommittedEvent):
            stream.checkpoint.checkpoint_chaincode_event(stream.last)
        else:
            stream.checkpoint.checkpoint_block(stream.last.number)
        return {}

    async def close_events(self, request: Json) -> Json:
        stream = self.streams[request["stream"]]
        if stream.pending is not None:
            stream.pending.cancel()
            await asyncio.gather(stream.pending, return_exceptions=True)
        await stream.events.aclose()
        return {}


def b(data: str) -> bytes:
    return base64.b64decode(data)


def _prepared(made: Any) -> Json:
    return {
        "bytes": text(made.to_bytes()),
        "digest": text(made.digest),
        "tx_id": made.transaction_id,
    }


def _chaincode_event(event: Any) -> Json:
    return {
        "block": event.block_number,
        "tx_id": event.transaction_id,
        "chaincode": event.chaincode,
        "name": event.name,
        "payload": text(event.payload),
    }


def _filtered(block: Any) -> Json:
    transactions = [[tx.tx_id, tx.code, list(tx.event_names)] for tx in block.transactions]
    return {"block": block.number, "channel": block.channel, "transactions": transactions}


_READERS: dict[str, Callable[[Any], Json]] = {
    "chaincode": _chaincode_event,
    "block": lambda block: {"block": block.number, "raw": text(block.raw)},
    "filtered": _filtered,
}


def _failure(error: Exception) -> Json:
    details = []
    grpc_code = -1
    if isinstance(error, GatewayError):
        grpc_code = error.code.value[0]
        details = [
            {"address": item.address, "msp_id": item.msp_id, "message": item.message}
            for item in error.details
        ]
    return {
        "type": type(error).__name__,
        "message": str(error),
        "grpc": grpc_code,
        "code": error.code if isinstance(error, CommitError) else -1,
        "tx_id": error.transaction_id if isinstance(error, FabricError) else "",
        "details": details,
    }


async def _answer(driver: Driver, line: bytes) -> None:
    request = json.loads(line)
    operation: Callable[[Json], Awaitable[Json]] = getattr(driver, request["op"])
    said: Json = {"id": request["id"]}
    try:
        said["answer"] = await operation(request)
    except Exception as error:  # whatever goes wrong is an answer
        said["error"] = _failure(error)
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def main() -> None:
    driver, running = Driver(), set[asyncio.Task[None]]()
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        task = asyncio.create_task(_answer(driver, line))
        running.add(task)
        task.add_done_callback(running.discard)
    for gateway in driver.sessions.values():
        await gateway.close()


asyncio.run(main())
