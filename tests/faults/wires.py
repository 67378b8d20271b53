"""Proxies between the house's processes, which cut, stall and meddle."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from acquirers.unionpay_iso8583 import codec
from acquirers.unionpay_iso8583.framing import FrameError, Frames, frame

_T = TypeVar("_T")
_CHUNK = 65536
_IDLE_SECONDS = 300.0
_SWAP_SECONDS = 0.3


class Wires:
    """The loop they live on, in a thread of its own; `call` from the test's thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires")
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run it over there, and its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def close(self) -> None:
        """Close what the proxies' own `stop` has left."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(eq=False)
class _Pair:
    """A connection and the one behind it; `left`: bytes from behind until it breaks."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    left: int | None = None

    def end(self) -> None:
        for writer in (self.near, self.far):
            writer.close()

    def reset(self) -> None:
        """RST, what is under way is lost: SO_LINGER 0 (socket(7))."""
        for writer in (self.near, self.far):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Passes bytes between whoever connects to `port` and one port of this machine."""

    def __init__(self, wires: Wires, target: int) -> None:
        self._wires = wires
        self._target = target
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._down = False
        self.cuts = 0
        self._flowing, self._server = wires.call(self._start())
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _start(self) -> tuple[asyncio.Event, asyncio.Server]:
        flowing = asyncio.Event()
        flowing.set()
        return flowing, await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def cut(self) -> None:
        """End every connection in order (FIN)."""
        self._wires.call(self._each(_Pair.end))

    def reset(self) -> None:
        """End every connection at once (RST)."""
        self._wires.call(self._each(_Pair.reset))

    def break_after(self, size: int) -> None:
        """Reset each connection after so many more bytes from behind: inside a message."""

        async def limit() -> None:
            for pair in self._pairs:
                pair.left = size

        self._wires.call(limit())

    def stall(self) -> None:
        """Pass nothing until `flow`; connections stay."""
        self._wires.call(self._set("stall"))

    def flow(self) -> None:
        """Pass everything again, and take connections again."""
        self._wires.call(self._set("flow"))

    def down(self) -> None:
        """Reset what is there and what comes, until `flow`."""
        self._wires.call(self._set("down"))

    def stop(self) -> None:
        """Close for good."""

        async def stop() -> None:
            self._server.close()
            await self._each(_Pair.reset)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._wires.call(stop())

    async def _set(self, what: str) -> None:
        self._down = what == "down"
        if what == "stall":
            self._flowing.clear()
        else:
            self._flowing.set()
        if self._down:
            await self._each(_Pair.reset)

    async def _each(self, act: Any) -> None:
        self.cuts += len(self._pairs)
        for pair in list(self._pairs):
            act(pair)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _kept(self._tasks):
            if self._down:
                writer.transport.abort()
                return
            try:
                behind, far = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:
                writer.transport.abort()
                return
            pair = _Pair(writer, far)
            self._pairs.add(pair)
            try:
                await _either(self._pass(reader, far, None), self._pass(behind, writer, pair))
            finally:
                pair.end()
                self._pairs.discard(pair)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, pair: _Pair | None
    ) -> None:
        while data := await source.read(_CHUNK):
            await self._flowing.wait()
            if pair is not None and pair.left is not None:
                if len(data) >= pair.left:
                    sink.write(data[: pair.left])
                    await sink.drain()
                    self.cuts += 1
                    pair.reset()
                    return
                pair.left -= len(data)
            sink.write(data)
            await sink.drain()


@dataclass
class Between:
    """What a meddler needs to stand between the bank and UnionPay: TLS on both sides, the MAC."""

    port: int
    certificate: str
    private_key: str
    authority: str
    server_name: str
    mac_key: bytes


class Meddler:
    """Between the connector and the acquirer, with the MAC key. The payer token's suffix says what
    becomes of the answer to a purchase:

    `.twice` comes twice; `.swapped` after the next answer; `.late` after the connector's time-out;
    `.more` says one minor unit more; `.another` names another merchant; `.forged` has a wrong MAC;
    `.lost` never comes; `.again` has an older answer before it.
    """

    def __init__(self, wires: Wires, between: Between, late_seconds: float) -> None:
        self._wires = wires
        self._between = between
        self._late_seconds = late_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = b""
        self.meddled: list[str] = []
        self._server = wires.call(self._start())
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _start(self) -> asyncio.Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._between.certificate, self._between.private_key)
        return await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)

    def stop(self) -> None:
        """Close for good."""

        async def stop() -> None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._wires.call(stop())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _kept(self._tasks):
            context = ssl.create_default_context(cafile=self._between.authority)
            try:
                behind, far = await asyncio.open_connection(
                    "127.0.0.1", self._between.port,
                    ssl=context, server_hostname=self._between.server_name,
                )  # fmt: skip
            except OSError:
                writer.transport.abort()
                return
            try:
                await _either(self._requests(reader, far), self._answers(behind, writer))
            finally:
                writer.transport.abort()
                far.transport.abort()

    async def _requests(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()

    async def _answers(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        held: list[bytes] = []
        frames = Frames(source)
        while (raw := await frames.next(_IDLE_SECONDS)) is not None:
            message = codec.decode(raw)
            how = message.get("60").partition(".")[2] if message.mti == "0210" else ""
            if how:
                self.meddled.append(how)
            if how == "swapped":
                held.append(raw)
                self._release(sink, held)
                continue
            if how == "late":
                self._later(sink, raw)
                continue
            for one in (*self._made(how, raw, message), *held):
                sink.write(frame(one))
            held.clear()
            # Not what was lost or altered: `again` would bring it after all.
            if message.mti == "0210" and how in ("", "twice", "again"):
                self._last = raw
            await sink.drain()

    def _made(self, how: str, raw: bytes, message: codec.Message) -> list[bytes]:
        if how == "twice":
            return [raw, raw]
        if how == "more":
            return [self._changed(message, "4", f"{int(message.get('4')) + 1:012d}")]
        if how == "another":
            return [self._changed(message, "42", "898310148999999")]
        if how == "forged":
            return [raw[:-1] + bytes([raw[-1] ^ 1])]
        if how == "lost":
            return []
        if how == "again":
            return [self._last, raw] if self._last else [raw]
        return [raw]

    def _changed(self, message: codec.Message, number: str, text: str) -> bytes:
        changed = replace(message, fields={**message.fields, number: text})
        return codec.encode(changed, self._between.mac_key)

    def _release(self, sink: asyncio.StreamWriter, held: list[bytes]) -> None:
        """What no other answer followed in time comes by itself."""

        async def send() -> None:
            async with _kept(self._tasks):
                await asyncio.sleep(_SWAP_SECONDS)  # it is held up on purpose
                if not sink.is_closing():
                    for raw in held:
                        sink.write(frame(raw))
                held.clear()

        self._tasks.add(asyncio.create_task(send()))

    def _later(self, sink: asyncio.StreamWriter, raw: bytes) -> None:
        async def send() -> None:
            async with _kept(self._tasks):
                await asyncio.sleep(self._late_seconds)  # it is late on purpose
                if not sink.is_closing():
                    sink.write(frame(raw))

        self._tasks.add(asyncio.create_task(send()))


async def _either(*works: Coroutine[Any, Any, None]) -> None:
    """Until one direction ends, however it does."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, OSError | FrameError):
                raise result


@asynccontextmanager
async def _kept(tasks: set[asyncio.Task[None]]) -> AsyncIterator[None]:
    """The running task is known, and its cancellation is nobody's business."""
    task = asyncio.current_task()
    assert task is not None
    tasks.add(task)
    try:
        yield
    except asyncio.CancelledError:
        pass
    finally:
        tasks.discard(task)
