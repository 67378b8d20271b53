"""A client of HTTP/2 that can break every rule: frames by hand over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import hpack
from chaincode_tls import Authority

from chaincode.transport.calls import Call, Handler
from chaincode.transport.frames import PREFACE, Status
from chaincode.transport.keepalive import Patience
from chaincode.transport.listener import Listener, server_tls

SETTINGS, DATA, HEADERS, RST, PING, GOAWAY, WINDOW, CONTINUATION = 4, 0, 1, 3, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 0x20
EMPTY_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
REQUEST = [
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/echo"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def head(stream: int, fields: list[tuple[str, str]] | None = None, flags: int = 4) -> bytes:
    """HEADERS of a request; every block by an encoder of its own, so that order means nothing."""
    return frame(HEADERS, flags, stream, hpack.Encoder().encode(fields or REQUEST))


def message(content: bytes) -> bytes:
    return b"\0" + len(content).to_bytes(4, "big") + content


def data(stream: int, content: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, message(content))


class Raw:
    """One connection, after the handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.headers = hpack.Decoder()

    def send(self, raw: bytes) -> None:
        self.writer.write(raw)

    async def read(self) -> tuple[int, int, int, bytes]:
        """The next frame: kind, flags, stream, payload; IncompleteReadError at the end."""
        start = await asyncio.wait_for(self.reader.readexactly(9), 5)
        size = int.from_bytes(start[:3], "big")
        payload = await asyncio.wait_for(self.reader.readexactly(size), 5)
        return start[3], start[4], int.from_bytes(start[5:], "big"), payload

    async def next(self, kind: int) -> tuple[int, int, bytes]:
        """The next frame of a kind: flags, stream, payload. Others are passed over."""
        while True:
            found, flags, stream, payload = await self.read()
            if found == kind:
                return flags, stream, payload

    async def trailers(self) -> dict[str, str]:
        """The fields of the next HEADERS that end a stream."""
        while True:
            flags, _, payload = await self.next(HEADERS)
            fields = {str(name): str(value) for name, value in self.headers.decode(payload)}
            if flags & END_STREAM:
                return fields

    async def answers(self) -> bool:
        """Whether the connection still lives."""
        self.send(frame(PING, 0, 0, b"isitlive"))
        while True:
            flags, _, payload = await self.next(PING)
            if flags & ACK and payload == b"isitlive":
                return True


class Echo:
    """Sends back what it gets; `stop` ends the call, `boom` is a mistake of the program."""

    def __init__(self, call: Call, calls: list[Echo]) -> None:
        self.call = call
        self.ends = 0
        self.over = asyncio.Event()
        self.got: list[bytes] = []
        calls.append(self)

    def received(self, message: bytes) -> None:
        self.got.append(message)
        if message == b"boom":
            raise ZeroDivisionError
        self.call.send(message)
        if message == b"stop":
            self.call.finish(Status.INVALID_ARGUMENT, "50% of it is ünlikely")

    def ended(self) -> None:
        self.ends += 1
        self.over.set()
        self.call.finish(Status.OK)


class World:
    """A listener that echoes, and clients of it."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.calls: list[Echo] = []
        self.port = 0
        self._folder = folder
        authority.write(folder, authority.leaf("chaincode.bankone"))
        leaf = authority.leaf("peer0.bankone")
        (folder / "peer.pem").write_bytes(leaf.certificate + leaf.key)

    def accept(self, call: Call) -> None:
        if call.path == "/echo":
            handler: Handler = Echo(call, self.calls)
            call.serve(handler)
        else:
            call.finish(Status.UNIMPLEMENTED, f"no {call.path}")

    def context(self, protocols: tuple[str, ...] = ("h2",)) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self._folder / "client_ca.pem")
        context.load_cert_chain(self._folder / "peer.pem")
        if protocols:
            context.set_alpn_protocols(protocols)
        return context

    @asynccontextmanager
    async def served(self, patience: Patience | None = None) -> AsyncIterator[Listener]:
        listener = Listener(self.accept, patience or Patience())
        folder = self._folder
        tls = server_tls(folder / "cert.pem", folder / "key.pem", folder / "client_ca.pem")
        self.port = await listener.start("127.0.0.1", 0, tls)
        try:
            yield listener
        finally:
            await listener.stop()

    @asynccontextmanager
    async def raw(
        self, context: ssl.SSLContext | None = None, greeting: bytes = PREFACE + EMPTY_SETTINGS
    ) -> AsyncIterator[Raw]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context or self.context()
        )
        writer.write(greeting)
        try:
            yield Raw(reader, writer)
        finally:
            writer.transport.abort()
