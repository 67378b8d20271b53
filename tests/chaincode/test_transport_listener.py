"""Who gets in and how long they stay: handshakes, names, silence, the end."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from chaincode_tls import Authority
from http2_client import (
    ACK,
    DATA,
    EMPTY_SETTINGS,
    GOAWAY,
    PING,
    SETTINGS,
    WINDOW,
    World,
    data,
    frame,
    head,
)
from shim_world import run

from chaincode.transport import listener
from chaincode.transport.frames import PREFACE
from chaincode.transport.keepalive import Patience


@pytest.fixture
def world(authority: Authority, tmp_path: Path) -> World:
    return World(tmp_path, authority)


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def test_who_says_nothing_is_left(world: World) -> None:
    async def test() -> None:
        async with (
            world.served(Patience(preface=0.3, quiet=0.05, pong=0.3)),
            world.raw(greeting=PREFACE[:-1]) as half,
            world.raw(greeting=PREFACE) as silent,
            world.raw() as client,
        ):
            # Two rounds of questions that are answered, then none.
            for _ in range(2):
                _, _, payload = await client.next(PING)
                client.send(frame(PING, 1, 0, payload))
            await client.next(PING)
            with pytest.raises(asyncio.IncompleteReadError):
                await client.next(PING)
            # These two never said what they came for: they are not asked, only left.
            for one in (half, silent):
                kinds = []
                with pytest.raises(asyncio.IncompleteReadError):
                    while True:
                        kinds.append((await one.read())[0])
                assert kinds == [SETTINGS, WINDOW]

    run(test())


def test_what_a_client_may_cost_comes_back_with_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames about nothing count from one look at the clock to the next."""
    monkeypatch.setattr("chaincode.transport.connection._MOST_IDLE", 100)

    async def test() -> None:
        async with world.served(Patience(0.5, 0.05, 0.1)), world.raw() as client:
            for _ in range(3):
                client.send(frame(PING, 0, 0, b"question") * 60)
                answers = 0
                while True:
                    flags, _, payload = await client.next(PING)
                    answers += payload == b"question"
                    if not flags & ACK:
                        client.send(frame(PING, ACK, 0, payload))
                        if answers == 60:  # asked after a while in which nothing came
                            break

    run(test())


def test_a_listener_that_stops_says_so(world: World) -> None:
    async def test() -> None:
        async with world.served() as listener, world.raw() as client:
            client.send(head(1) + data(1, b"x"))
            await client.next(DATA)
            stopping = asyncio.create_task(listener.stop())
            fields = await client.trailers()
            assert (fields["grpc-status"], fields["grpc-message"]) == ("14", "the server stops")
            assert (await client.next(GOAWAY))[2][4:8] == u32(0)
            await stopping
            with pytest.raises(OSError, match=r"Connect|refused"):
                async with world.raw():
                    pass

    run(test())


def test_no_plain_text_no_stranger_no_other_protocol(world: World, authority: Authority) -> None:
    async def test() -> None:
        async with world.served():
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
            writer.write(PREFACE + EMPTY_SETTINGS)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.transport.abort()
            for context in (world.context(()), world.context(("http/1.1",))):
                async with world.raw(context) as client:
                    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                        await client.read()
            stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            stranger.check_hostname = False
            stranger.load_verify_locations(cadata=authority.pem.decode())
            stranger.set_alpn_protocols(["h2"])
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                async with world.raw(stranger) as client:
                    await client.read()
            assert world.calls == []

    run(test())


def test_tls_1_2_only_with_http2s_ciphers(world: World) -> None:
    """RFC 9113 section 9.2.2: a Go client of that version gets in, one with CBC doesn't."""

    def context(ciphers: str) -> ssl.SSLContext:
        made = world.context()
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers(ciphers)
        return made

    async def test() -> None:
        async with world.served():
            async with world.raw(context("ECDHE-ECDSA-AES128-GCM-SHA256")) as client:
                assert await client.answers()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with world.raw(context("ECDHE-ECDSA-AES128-SHA256")) as client:
                    await client.answers()

    run(test())


def test_a_handshake_under_way_when_the_listener_stops(world: World) -> None:
    """Whose handshake ends after that is let go, not kept by a server that has stopped."""

    async def test() -> None:
        async with world.served() as listening:
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
            async with world.raw() as later:  # the first is accepted by now
                await later.read()
            await listening.stop()
            with suppress(ConnectionError):  # that it is let go may be seen within the handshake
                await writer.start_tls(world.context())
                writer.write(PREFACE + EMPTY_SETTINGS)
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.transport.abort()

    run(test())


def test_connections_of_one_name_are_bounded(
    world: World, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can take the server's files; another name still gets in."""
    monkeypatch.setattr(listener, "_MOST_CONNECTIONS", 2)
    leaf = authority.leaf("peer0.banktwo")
    (tmp_path / "other.pem").write_bytes(leaf.certificate + leaf.key)
    other = world.context()
    other.load_cert_chain(tmp_path / "other.pem")

    async def test() -> None:
        async with world.served(), world.raw() as first, world.raw() as second:
            assert await first.answers()
            assert await second.answers()
            async with world.raw() as third:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await third.read()
            async with world.raw(other) as stranger:
                assert await stranger.answers()
            first.writer.transport.abort()
            with suppress(ConnectionError):
                await first.reader.read()
            # Its place is free once the server has seen it go.
            for _ in range(100):
                async with world.raw() as third:
                    with suppress(asyncio.IncompleteReadError, ConnectionError):
                        assert await third.answers()
                        return
            raise AssertionError("its place stays taken")

    run(test())
