"""What a client can cost: memory while it reads nothing, connections, other clients' calls."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from chaincode_tls import Authority
from http2_client import (
    DATA,
    EMPTY_SETTINGS,
    GOAWAY,
    PING,
    RST,
    SETTINGS,
    WINDOW,
    Echo,
    Raw,
    World,
    data,
    frame,
    head,
    message,
)
from shim_world import run

from chaincode.transport import frames
from chaincode.transport.calls import STREAM_WINDOW, Call
from chaincode.transport.connection import Connection
from chaincode.transport.frames import PREFACE, Status
from chaincode.transport.keepalive import Patience

CALM, FLOW = 11, 3
LARGEST = (1 << 31) - 1


@pytest.fixture
def world(authority: Authority, tmp_path: Path) -> World:
    return World(tmp_path, authority)


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def windows(size: int) -> bytes:
    """SETTINGS: the window that streams begin with."""
    return frame(SETTINGS, 0, 0, b"\0\4" + u32(size))


class OnlyDoor:
    """A listener's part for one connection: echoes nothing, refuses every call."""

    def enters(self, connection: Connection) -> bool:
        return True

    def leaves(self, connection: Connection) -> None:
        pass

    def take(self, call: Call) -> None:
        call.finish(Status.UNIMPLEMENTED, "nothing is here")


async def credit(client: Raw, stream: int) -> int:
    """What a stream was given back, all that was sent before taken into account."""
    client.send(frame(PING, 0, 0, b"creditof"))
    given = 0
    while True:
        kind, _, on, payload = await client.read()
        if (kind, on) == (WINDOW, stream):
            given += int.from_bytes(payload, "big")
        if kind == PING and payload == b"creditof":
            return given


def test_who_takes_no_answers_gets_no_credit(world: World) -> None:
    """A client whose windows are closed: it can send so much, then nothing until it takes."""

    async def test() -> None:
        async with world.served(), world.raw(greeting=PREFACE + windows(0)) as client:
            client.send(head(1))
            part = data(1, bytes(1_000))
            left, sent = STREAM_WINDOW, 0
            while left >= 1_005 and sent < 3_000:
                for _ in range(left // 1_005):
                    client.send(part)
                sent += left // 1_005
                left += await credit(client, 1) - left // 1_005 * 1_005
            assert 1_000 < sent < 3_000
            client.send(frame(WINDOW, 0, 0, u32(1 << 30)) + frame(WINDOW, 0, 1, u32(1 << 30)))
            got = given = 0
            while got < sent * 1_005 or not given:
                kind, _, stream, payload = await client.read()
                got += len(payload) if kind == DATA else 0
                given += int.from_bytes(payload, "big") if (kind, stream) == (WINDOW, 1) else 0
            assert got == sent * 1_005
            client.send(data(1, b"stop"))
            assert (await client.trailers())["grpc-status"] == "3"

    run(test())


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.mark.parametrize("loop", LOOPS)
def test_who_reads_nothing_fills_no_memory(world: World, loop: str) -> None:
    """Windows wide open, but nothing is read off the wire: the answers wait in their call, whose
    credit ends; who goes on without any is reset."""

    async def test() -> None:
        async with world.served(), world.raw(greeting=PREFACE + windows(LARGEST)) as client:
            plain = client.writer.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            client.send(frame(WINDOW, 0, 0, u32(LARGEST - 65_535)) + head(1))
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            part = data(1, bytes(16_000)) * 16
            for _ in range(64 * 1024 * 1024 // len(part)):
                client.send(part)
                await client.writer.drain()
                if world.calls and world.calls[0].ends:
                    break
            (echo,) = world.calls
            await asyncio.wait_for(echo.over.wait(), 10)
            assert sum(map(len, echo.got)) < 32 * 1024 * 1024
            assert client.writer.transport.is_closing() is False

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(test(), 20))


class Wire:
    """A call's connection that takes a number of bytes at once, and more when it is told."""

    def __init__(self) -> None:
        self.window = self.frame_bytes = 16_384
        self.window = LARGEST
        self.idle = 0
        self.put_bytes = 0
        self.flushes: list[int] = []

    def put(self, frame: bytes) -> None:
        self.put_bytes += len(frame)

    def flush(self) -> None:
        self.flushes.append(self.put_bytes)
        self.put_bytes = 0
        self.window = 0

    def forget(self, stream: int) -> None:
        pass


def test_a_large_message_goes_in_parts_that_nobody_waits_for() -> None:
    """In frames of 16 KiB; copying what is left for each of them would take ten seconds, and all at
    once would be in memory twice."""
    wire = Wire()
    call = Call(wire, 1, "/echo", frozenset(), LARGEST)
    began = time.process_time()
    call.send(bytes(64_000_000))
    while wire.window == 0:
        assert time.process_time() - began < 3
        wire.window = LARGEST
        call.pump()
    assert sum(wire.flushes) + wire.put_bytes > 64_000_000
    assert max(wire.flushes) < 300_000


class Failing(Echo):
    """Its end is a mistake of the program."""

    def ended(self) -> None:
        self.ends += 1
        raise ZeroDivisionError


def test_an_end_that_fails_is_nobody_elses(world: World) -> None:
    """Every call of a connection that is lost hears of it."""
    made = world.accept

    def accept(call: Call) -> None:
        if world.calls:
            made(call)
        else:
            call.serve(Failing(call, world.calls))

    world.accept = accept  # type: ignore[method-assign]

    async def test() -> None:
        async with world.served():
            async with world.raw() as client:
                client.send(head(1) + head(3) + data(3, b"there"))
                await client.next(DATA)
            await asyncio.wait_for(world.calls[1].over.wait(), 5)
            assert [echo.ends for echo in world.calls] == [1, 1]

    run(test())


def test_a_detail_that_is_no_text() -> None:
    """Half a surrogate pair is sent as a question mark."""
    assert b"grpc-message\x03a?b" in frames.trailers(1, Status.INTERNAL, "a\udcffb")


class Stuck:
    """A transport whose other side reads nothing."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def get_extra_info(self, name: str) -> Any:
        return self

    def selected_alpn_protocol(self) -> str:
        return "h2"

    def getpeercert(self) -> dict[str, Any]:
        return {}

    def is_closing(self) -> bool:
        return self.closed

    def write(self, raw: bytes) -> None:
        self.written.append(raw)

    def close(self) -> None:
        self.closed = True


UNREAD = {
    "questions": lambda number: frame(PING, 0, 0, bytes(8)),
    "calls": lambda number: head(2 * number + 1),
}


@pytest.mark.parametrize("what", UNREAD)
def test_who_asks_without_reading_is_left(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        transport = Stuck()
        connection = Connection(OnlyDoor(), Patience())
        # Streams are counted otherwise too; here it is the answers that nobody reads.
        monkeypatch.setattr("chaincode.transport.connection._MOST_OPENED", 10_000)

        def feed(raw: bytes) -> None:
            for at in range(0, len(raw), 1_000):
                part = raw[at : at + 1_000]
                connection.get_buffer(-1)[: len(part)] = part
                connection.buffer_updated(len(part))

        def asked(first: int, number: int) -> bytes:
            return b"".join(UNREAD[what](n) for n in range(first, first + number))

        connection.connection_made(transport)
        feed(PREFACE + EMPTY_SETTINGS + asked(0, 2_000))
        assert not transport.is_closing()
        connection.pause_writing()
        feed(asked(2_000, 1_000))
        assert not transport.is_closing()
        feed(asked(3_000, 1))
        assert transport.is_closing()
        assert u32(CALM) in transport.written[-1]
        connection.connection_lost(None)

    run(test())


class EchoDoor(OnlyDoor):
    """Echoes."""

    def take(self, call: Call) -> None:
        call.serve(Echo(call, []))


def test_what_waited_goes_on_when_the_wire_takes_it() -> None:
    """Nothing of a message is written meanwhile; credit that comes meanwhile counts after it."""

    async def test() -> None:
        transport = Stuck()
        connection = Connection(EchoDoor(), Patience())

        async def written(raw: bytes) -> int:
            """Bytes of DATA's payloads that were written upon this."""
            transport.written.clear()
            connection.get_buffer(-1)[: len(raw)] = raw
            connection.buffer_updated(len(raw))
            await asyncio.sleep(0)
            reader = frames.FrameReader()
            found = reader.read(b"".join(transport.written))
            return sum(len(one.payload) for one in found if one.kind == DATA)

        connection.connection_made(transport)
        part = b"".join(data(1, bytes(10_000)) for _ in range(5))
        assert await written(PREFACE + windows(LARGEST) + head(1) + part) == 50_025
        connection.pause_writing()
        assert await written(part + frame(WINDOW, 0, 0, u32(10_000))) == 0
        connection.resume_writing()
        assert await written(b"") == 65_535 + 10_000 - 50_025
        assert await written(frame(WINDOW, 0, 0, u32(65_535))) == 100_050 - 75_535
        connection.connection_lost(None)

    run(test())


def test_random_bytes_end_nobody_elses_call(world: World) -> None:
    """Frames that are whole with something in them turned, seeded."""
    source = random.Random(20261123)
    good = [head(1), data(1, b"x" * 50), frame(PING, 0, 0, bytes(8)), EMPTY_SETTINGS]
    good += [frame(WINDOW, 0, 1, u32(9)), frame(RST, 0, 1, u32(8)), head(3), data(3, b"stop")]

    async def attack() -> None:
        raw = bytearray(b"".join(source.choices(good, k=12)))
        for _ in range(source.randrange(1, 6)):
            raw[source.randrange(len(raw))] = source.randrange(256)
        # A frame whose length was turned gets its rest; then come frames of stream 0, an offence.
        zeros = bytes(16_384 + 2 * 9)
        async with world.raw(greeting=PREFACE + EMPTY_SETTINGS + raw + zeros) as client:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await client.next(GOAWAY)

    async def test() -> None:
        async with world.served(), world.raw() as other:
            other.send(head(1) + data(1, b"before"))
            assert (await other.next(DATA))[2] == message(b"before")
            own = world.calls[0]
            for _ in range(30):
                await attack()
            other.send(data(1, b"after"))
            assert (await other.next(DATA))[2] == message(b"after")
            assert own.ends == 0

    run(test())
