"""The stream to a chaincode server: one a package, many transactions at once.

After core/chaincode (handler.go, chaincode_support.go) and core/container/externalbuilder for
chaincode as a service: the peer dials `protos.Chaincode/Connect`, the chaincode registers. A lost
stream fails what runs on it; the next call dials anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fabric_protos.peer import chaincode_pb2
from fabric_protos.peer import chaincode_shim_pb2 as shim
from google.protobuf.message import DecodeError

from clearline.logs import get_logger
from network.embedded import wire
from network.embedded.peer.chaincode_state import TxContext, Type, handle, is_request
from network.embedded.peer.packages import Connection, PackageError
from network.embedded.peer.simulator import SimulationError, Simulator

_log = get_logger(__name__)
_EOF: Any = getattr(grpc.aio, "EOF")  # noqa: B009 - missing in the stubs
_CONNECT = "/protos.Chaincode/Connect"
_DIAL_SECONDS = 3.0
_MOST_UNREAD_BYTES = 4 * 1024 * 1024
"""Of answers that wait for a chaincode to read them; its requests are left unread above that."""
_READY = shim.ChaincodeMessage(
    type=Type.READY,
    payload=chaincode_pb2.ChaincodeAdditionalParams(
        use_write_batch=True,
        max_size_write_batch=1000,
        use_get_multiple_keys=True,
        max_size_get_multiple_keys=1000,
    ).SerializeToString(),
).SerializeToString()
_REGISTERED = shim.ChaincodeMessage(type=Type.REGISTERED).SerializeToString()
# Read once: protobuf looks an enumeration's name up anew each time.
_KEEPALIVE, _RESPONSE, _ERROR = Type.KEEPALIVE, Type.RESPONSE, Type.ERROR
_LAST = frozenset((Type.COMPLETED, Type.ERROR))


class ChaincodeError(Exception):
    """The chaincode can't be reached or didn't answer; the text is Fabric's."""


@dataclass(frozen=True)
class Invocation:
    """One call: the ledger view it runs on and what the chaincode gets.

    `payload` is a serialised ChaincodeInput, `signed_proposal` the peer.SignedProposal message,
    `message_type` TRANSACTION or INIT.
    """

    channel_id: str
    tx_id: str
    namespace: str
    simulator: Simulator
    payload: bytes
    signed_proposal: Any
    message_type: int = Type.TRANSACTION


class _Stream:
    """An established stream that the chaincode has registered on."""

    def __init__(self, channel: Any, call: Any, package_id: str) -> None:
        self._channel = channel
        self._call = call
        self._package_id = package_id
        self._contexts: dict[tuple[str, str], TxContext] = {}
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._unread_bytes = 0
        self._room = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self._writer = asyncio.create_task(self._write())
        self.alive = True

    async def execute(self, invocation: Invocation, timeout_seconds: float) -> Any:
        """The COMPLETED or ERROR ChaincodeMessage. Raises ChaincodeError."""
        key = (invocation.channel_id, invocation.tx_id)
        if key in self._contexts:
            raise ChaincodeError(f"txid: {invocation.tx_id}({invocation.channel_id}) exists")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._contexts[key] = TxContext(invocation.namespace, invocation.simulator, done)
        try:
            message = shim.ChaincodeMessage(
                type=invocation.message_type,
                payload=invocation.payload,
                txid=invocation.tx_id,
                channel_id=invocation.channel_id,
                proposal=invocation.signed_proposal,
            )
            self._send(message)
            async with asyncio.timeout(timeout_seconds):
                return await done
        except TimeoutError as error:
            text = "error sending: timeout expired while executing transaction"
            raise ChaincodeError(text) from error
        finally:
            del self._contexts[key]

    async def _read(self) -> None:
        reason = "chaincode stream terminated"
        try:
            while (raw := await self._call.read()) is not _EOF:
                self._take(shim.ChaincodeMessage.FromString(raw))
                while self._unread_bytes > _MOST_UNREAD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except (grpc.aio.AioRpcError, DecodeError, ChaincodeError) as error:
            reason = str(error) if isinstance(error, ChaincodeError) else type(error).__name__
        except Exception as error:
            _log.exception("chaincode stream failed", extra={"package": self._package_id})
            reason = repr(error)
        finally:
            self._end(reason)

    def _take(self, message: Any) -> None:
        kind = message.type
        if kind == _KEEPALIVE:
            return
        context = self._contexts.get((message.channel_id, message.txid))
        if kind in _LAST:
            if context is not None and not context.done.done():
                context.done.set_result(message)
                context.queries.clear()
            return
        if not is_request(kind):
            raise ChaincodeError(
                f"[{message.txid[:8]}] Fabric side handler cannot handle message "
                f"({_name(message.type)}) while in ready state"
            )
        answer = shim.ChaincodeMessage(txid=message.txid, channel_id=message.channel_id)
        try:
            if context is None or context.done.done():
                raise SimulationError("no ledger context")
            answer.payload = handle(message, context)
            answer.type = _RESPONSE
        except SimulationError as error:
            answer.type = _ERROR
            text = f"{_name(message.type)} failed: transaction ID: {message.txid}: {error}"
            answer.payload = text.encode()
        self._send(answer)

    def _send(self, message: Any) -> None:
        data: bytes = message.SerializeToString()
        self._unread_bytes += len(data)
        self._outgoing.put_nowait(data)

    async def _write(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                data = await self._outgoing.get()
                await self._call.write(data)
                self._unread_bytes -= len(data)
                self._room.set()
        self._call.cancel()
        # A reader that waits for room would not see the end of the stream.
        self._reader.cancel()

    def _end(self, reason: str) -> None:
        if not self.alive:
            return
        self.alive = False
        self._writer.cancel()
        self._call.cancel()
        for context in self._contexts.values():
            if not context.done.done():
                context.done.set_exception(
                    ChaincodeError("error sending: chaincode stream terminated")
                )
        _log.info("chaincode stream ended", extra={"package": self._package_id, "why": reason})

    async def close(self) -> None:
        """End the stream and the connection."""
        self._end("closed")
        self._reader.cancel()
        await asyncio.gather(self._reader, self._writer, return_exceptions=True)
        await self._channel.close()


class ChaincodeClient:
    """Calls of one chaincode package; dials its server when there is no stream."""

    def __init__(self, package_id: str, connection: Callable[[], Connection]) -> None:
        """`connection` answers where the server is, at each dial; it may raise PackageError."""
        self._package_id = package_id
        self._connection = connection
        self._stream: _Stream | None = None
        self._dialling: asyncio.Task[_Stream] | None = None

    async def execute(self, invocation: Invocation, timeout_seconds: float) -> Any:
        """The chaincode's last message for a call. Raises ChaincodeError."""
        stream = self._stream
        if stream is None or not stream.alive:
            stream = await self._launch()
        return await stream.execute(invocation, timeout_seconds)

    async def _launch(self) -> _Stream:
        if self._dialling is None:
            self._dialling = asyncio.create_task(self._dial())
            self._dialling.add_done_callback(self._dialled)
        return await asyncio.shield(self._dialling)

    def _dialled(self, task: asyncio.Task[_Stream]) -> None:
        self._dialling = None
        if not task.cancelled() and task.exception() is None:
            self._stream = task.result()

    async def _dial(self) -> _Stream:
        prefix = f"could not launch chaincode {self._package_id}: "
        if self._stream is not None:
            await self._stream.close()
            self._stream = None
        try:
            channel = _open(self._connection())
        except PackageError as error:
            raise ChaincodeError(prefix + str(error)) from error
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                return await self._register(channel)
        except (grpc.aio.AioRpcError, TimeoutError, DecodeError, ChaincodeError) as error:
            await channel.close()
            detail = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
            text = detail or "connection to the chaincode timed out"
            raise ChaincodeError(
                f"{prefix}connection to {self._package_id} failed: {text}"
            ) from error

    async def _register(self, channel: Any) -> _Stream:
        call = channel.stream_stream(_CONNECT)()
        first = await call.read()
        if first is _EOF:
            raise ChaincodeError("the chaincode ended the stream before it registered")
        message = shim.ChaincodeMessage.FromString(first)
        name = chaincode_pb2.ChaincodeID.FromString(message.payload).name
        if message.type != Type.REGISTER or name != self._package_id:
            call.cancel()
            raise ChaincodeError(f"the chaincode at this address registered as {name!r}")
        await call.write(_REGISTERED)
        await call.write(_READY)
        _log.info("chaincode is ready", extra={"package": self._package_id})
        return _Stream(channel, call, self._package_id)

    async def close(self) -> None:
        """End the stream."""
        if self._dialling is not None:
            self._dialling.cancel()
        if self._stream is not None:
            await self._stream.close()
            self._stream = None


def _name(message_type: int) -> str:
    try:
        return str(Type.Name(message_type))
    except ValueError:
        return str(message_type)


def _open(connection: Connection) -> Any:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", wire.MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", wire.MAX_MESSAGE_BYTES),
    ]
    if not connection.tls_required:
        return grpc.aio.insecure_channel(connection.address, options=options)
    if not connection.client_certificate:
        if connection.domain:
            options.append(("grpc.ssl_target_name_override", connection.domain))
        credentials = grpc.ssl_channel_credentials(connection.root_certificate)
        return grpc.aio.secure_channel(connection.address, credentials, options=options)
    tls = wire.TlsIdentity(connection.client_certificate, connection.client_key)
    server_name = connection.domain or None
    return wire.channel(connection.address, connection.root_certificate, tls, server_name)
