"""gRPC over HTTP/2: what real clients need, and every rule that a hostile one can break."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
import pytest
from chaincode_tls import Authority
from http2_client import (
    CONTINUATION,
    DATA,
    EMPTY_SETTINGS,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    REQUEST,
    RST,
    SETTINGS,
    WINDOW,
    World,
    data,
    frame,
    head,
    message,
)
from shim_world import run

from chaincode.transport.calls import MAX_MESSAGE_BYTES
from chaincode.transport.frames import PREFACE, ErrorCode

PROTOCOL, FLOW, CLOSED, SIZE, REFUSED, COMPRESSION, CALM = 1, 3, 5, 6, 7, 9, 11


@pytest.fixture
def world(authority: Authority, tmp_path: Path) -> World:
    return World(tmp_path, authority)


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def setting(name: int, value: int) -> bytes:
    return name.to_bytes(2, "big") + u32(value)


OPEN = head(1)
BLOCK = head(1)[9:]
CONNECTION_FAULTS: dict[str, tuple[bytes, int]] = {
    "no preface": (b"GET / HTTP/1.1\r\n\r\n", PROTOCOL),
    "no settings": (PREFACE + head(1), PROTOCOL),
    "settings acknowledged first": (PREFACE + frame(SETTINGS, 1, 0), PROTOCOL),
    "huge frame": (frame(DATA, 0, 0)[:0] + b"\x00\x40\x01\0\0\0\0\0\1", SIZE),
    "data of an idle stream": (data(1, b"x"), PROTOCOL),
    "data of stream 0": (OPEN + frame(DATA, 0, 0, b"x"), PROTOCOL),
    "headers of an even stream": (head(2), PROTOCOL),
    "headers of stream 0": (head(0), PROTOCOL),
    "padding beyond the frame": (OPEN + frame(DATA, PADDED, 1, b"\x05abc"), PROTOCOL),
    "padded and empty": (OPEN + frame(DATA, PADDED, 1), PROTOCOL),
    "priority cut short": (frame(HEADERS, END_HEADERS | PRIORITY, 1, b"abc"), SIZE),
    "garbage for headers": (frame(HEADERS, END_HEADERS, 1, b"\xff" * 20), COMPRESSION),
    "an integer without end": (frame(HEADERS, 4, 1, b"\xff" * 9_000 + b"\1"), COMPRESSION),
    "a table too large": (frame(HEADERS, 4, 1, b"\x3f\xe2\x1f" + BLOCK), COMPRESSION),
    "a headers bomb": (
        head(1, [*REQUEST, *(("x", "y" * 4_000) for _ in range(5))]),
        CALM,
    ),
    "a bomb of indexes": (frame(HEADERS, 4, 1, b"\x82" * 9_000), CALM),
    "frames within a header block": (frame(HEADERS, 0, 1, BLOCK) + EMPTY_SETTINGS, PROTOCOL),
    "continuation of nothing": (frame(CONTINUATION, END_HEADERS, 1, b""), PROTOCOL),
    "continuation of another": (
        frame(HEADERS, 0, 1, BLOCK) + frame(CONTINUATION, 4, 3),
        PROTOCOL,
    ),
    "continuations without end": (
        frame(HEADERS, 0, 1, BLOCK) + frame(CONTINUATION, 0, 1) * 17,
        CALM,
    ),
    "continuations too large": (
        frame(HEADERS, 0, 1, BLOCK) + frame(CONTINUATION, 0, 1, bytes(16_384)),
        CALM,
    ),
    "settings cut short": (frame(SETTINGS, 0, 0, b"abc"), SIZE),
    "settings of a stream": (frame(SETTINGS, 0, 1), PROTOCOL),
    "an acknowledgement that says more": (frame(SETTINGS, 1, 0, setting(4, 1)), SIZE),
    "a window too large": (frame(SETTINGS, 0, 0, setting(4, 1 << 31)), FLOW),
    "a window that grows too large": (
        OPEN
        + frame(WINDOW, 0, 1, u32((1 << 31) - 65_536))
        + frame(SETTINGS, 0, 0, setting(4, 99_999)),
        FLOW,
    ),
    "a window too large for a moment": (
        frame(SETTINGS, 0, 0, setting(4, 1 << 31) + setting(4, 1)),
        FLOW,
    ),
    "pushes neither taken nor refused": (frame(SETTINGS, 0, 0, setting(2, 2)), PROTOCOL),
    "frames too small": (frame(SETTINGS, 0, 0, setting(5, 100)), PROTOCOL),
    "ping of 7 bytes": (frame(PING, 0, 0, bytes(7)), SIZE),
    "ping of a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL),
    "credit of 3 bytes": (frame(WINDOW, 0, 0, bytes(3)), SIZE),
    "no credit": (frame(WINDOW, 0, 0, u32(0)), PROTOCOL),
    "too much credit": (frame(WINDOW, 0, 0, u32((1 << 31) - 1)), FLOW),
    "credit of an idle stream": (frame(WINDOW, 0, 1, u32(1)), PROTOCOL),
    "reset of an idle stream": (frame(RST, 0, 1, u32(8)), PROTOCOL),
    "reset of 3 bytes": (OPEN + frame(RST, 0, 1, bytes(3)), SIZE),
    "a push": (frame(5, END_HEADERS, 1, u32(2)), PROTOCOL),
    "priority of no stream": (frame(2, 0, 0, bytes(5)), PROTOCOL),
    "priority of 4 bytes": (frame(2, 0, 1, bytes(4)), SIZE),
    "goaway of a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "goaway of 7 bytes": (frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    "a stream's number left out": (head(3) + head(1), PROTOCOL),
    "a stream's number again": (OPEN + frame(RST, 0, 1, u32(8)) + head(1), PROTOCOL),
    # Floods. The first two are known as rapid reset and MadeYouReset.
    "streams opened and reset": (
        b"".join(head(n) + frame(RST, 0, n, u32(8)) for n in range(1, 2_003, 2)),
        CALM,
    ),
    "streams opened to be reset": (
        b"".join(head(n) + frame(WINDOW, 0, n, u32(0)) for n in range(1, 2_003, 2)),
        CALM,
    ),
    "questions without end": (frame(PING, 0, 0, bytes(8)) * 10_001, CALM),
    "settings without end": (EMPTY_SETTINGS * 10_001, CALM),
    "empty data without end": (OPEN + frame(DATA, 0, 1) * 10_001, CALM),
    "priorities without end": (frame(2, 0, 1, bytes(5)) * 10_001, CALM),
    "credit without end": (OPEN + frame(WINDOW, 0, 1, u32(1)) * 10_001, CALM),
    "unknown frames without end": (frame(0x77, 0, 0) * 10_001, CALM),
}


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
def test_a_broken_rule_ends_the_connection_alone(world: World, name: str) -> None:
    raw, code = CONNECTION_FAULTS[name]
    greeting = b"" if raw[:3] in (b"GET", b"PRI") else PREFACE + EMPTY_SETTINGS

    async def test() -> None:
        async with world.served(), world.raw() as other:
            async with world.raw(greeting=greeting + raw) as client:
                _, _, payload = await client.next(GOAWAY)
                assert int.from_bytes(payload[4:8], "big") == code, payload
                assert await client.reader.read() == b""
            other.send(head(1) + data(1, b"unharmed"))
            assert (await other.next(DATA))[2] == message(b"unharmed")
            *ends, last = (echo.ends for echo in world.calls)
            assert last == 0
            assert set(ends) <= {1}

    run(test())


MALFORMED: dict[str, list[tuple[str, str]]] = {
    "no path": [field for field in REQUEST if field[0] != ":path"],
    "no method": [field for field in REQUEST if field[0] != ":method"],
    "no scheme": [field for field in REQUEST if field[0] != ":scheme"],
    "an empty path": [(name, "" if name == ":path" else value) for name, value in REQUEST],
    "two paths": [(":path", "/nothing"), *REQUEST],
    "a path at the end": [*(f for f in REQUEST if f[0] != ":path"), (":path", "/echo")],
    "a status": [*REQUEST[:4], (":status", "200"), *REQUEST[4:]],
    "a capital": [*REQUEST, ("X-Name", "y")],
    "a name with a colon": [*REQUEST, ("x:y", "z")],
    "a name of nothing": [*REQUEST, ("", "z")],
    "a line's end": [*REQUEST, ("x", "y\r\nz: 1")],
    "a blank in front": [*REQUEST, ("x", " y")],
    "a connection's field": [*REQUEST, ("connection", "close")],
    "te of more": [*REQUEST[:-1], ("te", "trailers, gzip")],
}
STREAM_FAULTS: dict[str, tuple[bytes, int]] = {
    **{name: (head(1, fields), PROTOCOL) for name, fields in MALFORMED.items()},
    "headers again": (OPEN + head(1, [("x", "y")]), PROTOCOL),
    "a request for trailers": (OPEN + head(1, REQUEST, END_HEADERS | END_STREAM), PROTOCOL),
    "no credit": (OPEN + frame(WINDOW, 0, 1, u32(0)), PROTOCOL),
    "too much credit": (OPEN + frame(WINDOW, 0, 1, u32((1 << 31) - 1)), FLOW),
    "a stream too many": (b"".join(head(1 + 2 * n) for n in range(17)), REFUSED),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_a_broken_rule_of_a_stream_resets_it(world: World, name: str) -> None:
    raw, code = STREAM_FAULTS[name]

    async def test() -> None:
        async with world.served(), world.raw() as client:
            client.send(raw)
            _, stream, payload = await client.next(RST)
            assert int.from_bytes(payload, "big") == code
            assert stream == (33 if code == REFUSED else 1)
            assert await client.answers()
            # What still comes on that stream is nobody's, and no offence.
            client.send(data(stream, b"late") + frame(WINDOW, 0, stream, u32(1)))
            assert await client.answers()

    run(test())


CALL_ENDS: dict[str, tuple[bytes, dict[str, str]]] = {
    "another method": (
        head(1, [(n, "/nothing" if n == ":path" else v) for n, v in REQUEST]),
        {"grpc-status": "12", "grpc-message": "no /nothing"},
    ),
    "no gRPC": (head(1, [f for f in REQUEST if f[0] != "content-type"]), {":status": "415"}),
    "a GET": (
        head(1, [(n, "GET" if n == ":method" else v) for n, v in REQUEST]),
        {":status": "415"},
    ),
    "compression": (
        head(1, [*REQUEST, ("grpc-encoding", "gzip")]),
        {"grpc-status": "12", "grpc-message": "compressed messages are not taken"},
    ),
    "a compressed message": (
        OPEN + frame(DATA, 0, 1, b"\x01\0\0\0\x01x"),
        {"grpc-status": "12", "grpc-message": "compressed messages are not taken"},
    ),
    "a message too large": (
        OPEN + frame(DATA, 0, 1, b"\0" + u32(MAX_MESSAGE_BYTES + 1) + b"xyz"),
        {"grpc-status": "8"},
    ),
    "half a message": (
        OPEN + frame(DATA, END_STREAM, 1, message(b"whole")[:-1]),
        {"grpc-status": "13", "grpc-message": "the stream ends within a message"},
    ),
    "a mistake of the program": (
        OPEN + data(1, b"boom"),
        {"grpc-status": "13", "grpc-message": "internal error"},
    ),
    "half-closed": (OPEN + data(1, b"a", END_STREAM), {"grpc-status": "0"}),
    "half-closed by trailers": (OPEN + head(1, [("x", "y")], 5), {"grpc-status": "0"}),
    "a request without messages": (head(1, flags=5), {"grpc-status": "0"}),
}


@pytest.mark.parametrize("name", CALL_ENDS)
def test_a_call_ends_with_its_status(world: World, name: str) -> None:
    raw, wanted = CALL_ENDS[name]

    async def test() -> None:
        async with world.served(), world.raw() as client:
            client.send(raw)
            fields = await client.trailers()
            assert wanted.items() <= fields.items()
            assert await client.answers()
        assert [echo.ends for echo in world.calls] in ([], [1])

    run(test())


def test_data_after_the_end_resets_the_stream(world: World) -> None:
    async def test() -> None:
        async with world.served(), world.raw() as client:
            # Without a window the answer, and so the call, can't end yet.
            client.send(frame(SETTINGS, 0, 0, setting(4, 0)))
            client.send(head(1) + data(1, b"held", END_STREAM) + data(1, b"more"))
            _, stream, payload = await client.next(RST)
            assert (stream, payload) == (1, u32(CLOSED))
            assert world.calls[0].got == [b"held"]

    run(test())


def test_a_handler_ends_its_call(world: World) -> None:
    async def test() -> None:
        async with world.served(), world.raw() as client:
            client.send(head(1) + data(1, b"stop") + data(1, b"not read"))
            assert (await client.next(DATA))[2] == message(b"stop")
            fields = await client.trailers()
            assert fields["grpc-status"] == "3"
            assert unquote(fields["grpc-message"]) == "50% of it is ünlikely"
            assert (await client.next(RST))[2] == u32(ErrorCode.NO_ERROR)
            assert world.calls[0].got == [b"stop"]

    run(test())


def test_headers_and_data_in_pieces(world: World) -> None:
    async def test() -> None:
        block = bytes(5) + BLOCK  # a priority of nothing
        padded = bytes((3,)) + block[:9] + bytes(3)
        text = message(b"first") + message(b"") + message(b"third")
        pieces = [
            frame(HEADERS, PADDED | PRIORITY, 1, padded),
            frame(CONTINUATION, 0, 1, block[9:20]),
            frame(CONTINUATION, END_HEADERS, 1, block[20:]),
            frame(0x77, 0xFF, 1, b"nobody knows this"),
            frame(2, 0, 1, bytes(5)),
            *(frame(DATA, 0, 1, text[at : at + 1]) for at in range(7)),
            frame(DATA, PADDED, 1, bytes((9,)) + text[7:12] + bytes(9)),
            frame(DATA, 0, 1),
            frame(DATA, 0, 1, text[12:]),
        ]
        async with world.served(), world.raw(greeting=PREFACE[:5]) as client:
            for byte in PREFACE[5:] + EMPTY_SETTINGS:
                client.send(bytes((byte,)))
                await asyncio.sleep(0)
            client.send(b"".join(pieces))
            for wanted in (b"first", b"", b"third"):
                assert (await client.next(DATA))[2] == message(wanted)

    run(test())


def test_what_is_sent_keeps_within_the_windows(world: World) -> None:
    async def test() -> None:
        async with world.served(), world.raw() as client:
            client.send(frame(SETTINGS, 0, 0, setting(4, 10)))
            client.send(head(1) + data(1, b"0123456789abcdef") + data(1, b"stop"))
            whole = message(b"0123456789abcdef") + message(b"stop")
            got = (await client.next(DATA))[2]
            assert got == whole[:10]
            # The window shrinks below what is out: minus 6, of which 8 more make 2.
            client.send(frame(SETTINGS, 0, 0, setting(4, 4)))
            client.send(frame(WINDOW, 0, 1, u32(8)))
            got += (await client.next(DATA))[2]
            assert got == whole[:12]
            client.send(frame(SETTINGS, 0, 0, setting(4, 65_535)))
            while len(got) < len(whole):
                got += (await client.next(DATA))[2]
            assert got == whole
            assert (await client.trailers())["grpc-status"] == "3"

    run(test())


def test_what_is_sent_keeps_within_the_connections_window(world: World) -> None:
    async def test() -> None:
        async with world.served(), world.raw() as client:
            client.send(frame(SETTINGS, 0, 0, setting(4, 1 << 20)) + head(1) + head(3))
            big = bytes(50_000)
            for stream in (1, 3):
                for at in range(0, len(message(big)), 16_384):
                    client.send(frame(DATA, 0, stream, message(big)[at : at + 16_384]))
            got = 0
            while got < 65_535:
                _, _, payload = await client.next(DATA)
                assert len(payload) <= 16_384
                got += len(payload)
            assert got == 65_535
            assert await client.answers()
            client.send(frame(WINDOW, 0, 0, u32(1 << 20)))
            while got < 2 * len(message(big)):
                got += len((await client.next(DATA))[2])
            assert got == 2 * len(message(big))

    run(test())


def test_a_client_that_is_gone_ends_its_calls(world: World) -> None:
    async def test() -> None:
        async with world.served():
            async with world.raw() as client:
                client.send(head(1) + head(3) + data(3, b"there") + frame(RST, 0, 1, u32(8)))
                await client.next(DATA)
                assert [echo.ends for echo in world.calls] == [1, 0]
                world.calls[0].call.send(b"to nobody")
                assert await client.answers()
            await asyncio.wait_for(world.calls[1].over.wait(), 5)
            assert [echo.ends for echo in world.calls] == [1, 1]

    run(test())


@pytest.mark.parametrize("size", [0, 16_380, 8_000_000])
def test_grpcs_own_client(world: World, authority: Authority, size: int) -> None:
    async def test() -> None:
        leaf = authority.leaf("peer0.bankone")
        credentials = grpc.ssl_channel_credentials(authority.pem, leaf.key, leaf.certificate)
        options = (
            ("grpc.ssl_target_name_override", "chaincode.bankone"),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        )
        async with (
            world.served(),
            grpc.aio.secure_channel(f"127.0.0.1:{world.port}", credentials, options) as channel,
        ):
            connect: Any = channel.stream_stream
            call = connect("/echo")()
            for number in range(3):
                content = bytes((number,)) * size
                await call.write(content)
                assert await asyncio.wait_for(call.read(), 10) == content
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF  # type: ignore[attr-defined]
            assert await call.code() is grpc.StatusCode.OK
            other = connect("/nothing")()
            assert await other.code() is grpc.StatusCode.UNIMPLEMENTED

    run(test())
