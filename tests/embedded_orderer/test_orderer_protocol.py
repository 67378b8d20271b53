"""Broadcast and Deliver over real sockets with mutual TLS."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import certificate_kit as kit
import grpc
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from orderer_world import CHANNEL, SEEK, STATUS, World, normal, position

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer
from network.embedded import wire
from network.embedded.channelconfig import BLOCK_VALIDATION, Bundle
from network.embedded.orderer import processor
from network.embedded.policies import SignedData

TYPE = common_pb2.HeaderType


def test_ordered_messages_come_back_in_order(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            envelopes = [
                normal(world.signer(), b"payment %d" % index).SerializeToString()
                for index in range(40)
            ]
            assert await client.pipeline(envelopes) == 40
            got: list[bytes] = []
            number = 1
            while len(got) < 40:
                blocks, status = await client.fetch(world.seek(world.signer(), number, number))
                assert status == STATUS.SUCCESS
                got += common_pb2.Block.FromString(blocks[0]).data.data
                number += 1
            assert got == envelopes
            assert node.chain.height == number

    asyncio.run(scenario())


def test_blocks_are_chained_and_signed(world: World, tmp_path: Path) -> None:
    async def scenario() -> list[Any]:
        async with world.orderer(tmp_path) as (node, client):
            for index in range(3):
                await client.broadcast([normal(world.signer()).SerializeToString()])
                await node.chain.wait_above(index + 1)
            blocks, status = await client.fetch(world.seek(world.signer(), "oldest", "newest"))
            assert status == STATUS.SUCCESS
            assert blocks[0] == world.genesis
            return [common_pb2.Block.FromString(raw) for raw in blocks]

    blocks = asyncio.run(scenario())
    assert [block.header.number for block in blocks] == [0, 1, 2, 3]
    bundle = Bundle.from_config_block(world.genesis)
    for before, block in itertools.pairwise(blocks):
        assert block.header.previous_hash == protoutil.block_header_hash(before.header)
        assert block.header.data_hash == protoutil.block_data_hash(block.data.data)
        assert len(block.metadata.metadata) == 5
        assert block.metadata.metadata[2:] == [b"", b"", b""]
        last = common_pb2.Metadata.FromString(block.metadata.metadata[1])
        assert common_pb2.LastConfig.FromString(last.value).index == 0
        signatures = common_pb2.Metadata.FromString(block.metadata.metadata[0])
        stated = common_pb2.OrdererBlockMetadata.FromString(signatures.value)
        assert stated.last_config.index == 0
        signature = signatures.signatures[0]
        header = common_pb2.SignatureHeader.FromString(signature.signature_header)
        data = (
            signatures.value
            + signature.signature_header
            + protoutil.block_header_bytes(block.header)
        )
        signed = SignedData(data, header.creator, signature.signature)
        bundle.policy(BLOCK_VALIDATION).evaluate([signed])


def _resign(world: World, change: Callable[[Any, X509Signer], None]) -> bytes:
    """An envelope whose payload was changed and signed again."""
    signer = world.signer()
    envelope = normal(signer)
    payload = common_pb2.Payload.FromString(envelope.payload)
    change(payload, signer)
    return bytes(protoutil.sign_payload(signer, payload.SerializeToString()).SerializeToString())


def _tampered(world: World) -> bytes:
    envelope = normal(world.signer())
    payload = common_pb2.Payload.FromString(envelope.payload)
    payload.data = b"another payment"
    envelope.payload = payload.SerializeToString()
    return bytes(envelope.SerializeToString())


def _high_s(world: World) -> bytes:
    envelope = normal(world.signer())
    envelope.signature = kit.high_s(envelope.signature)
    return bytes(envelope.SerializeToString())


def _expired(world: World) -> bytes:
    authority = kit.stored_authority(world.home.organization("BankOne") / "ca")
    # Valid for two seconds, five minutes ago: as early as the authority.
    leaf = kit.Leaf(units=("client",), start=authority.start, end=authority.start)
    return bytes(normal(kit.signer(authority, "BankOne", leaf)).SerializeToString())


def _foreign(world: World) -> bytes:
    authority = kit.make_authority("BankOne")
    signer = kit.signer(authority, "BankOne", kit.Leaf(units=("client",)))
    return bytes(normal(signer).SerializeToString())


def _unknown_msp(world: World) -> bytes:
    authority = kit.make_authority("Nobody")
    signer = kit.signer(authority, "Nobody", kit.Leaf(units=("client",)))
    return bytes(normal(signer).SerializeToString())


def _no_header(world: World) -> bytes:
    payload = common_pb2.Payload(data=b"x").SerializeToString()
    return bytes(protoutil.sign_payload(world.signer(), payload).SerializeToString())


def _drop_channel_header(payload: Any, _: X509Signer) -> None:
    payload.header.channel_header = b""


def _typed(kind: int) -> Callable[[World], bytes]:
    return lambda world: normal(world.signer(), kind=kind).SerializeToString()


REFUSED: list[tuple[str, Callable[[World], bytes], int, str]] = [
    ("tampered", _tampered, STATUS.FORBIDDEN, "permission denied"),
    ("high S", _high_s, STATUS.FORBIDDEN, "permission denied"),
    ("foreign CA", _foreign, STATUS.FORBIDDEN, "permission denied"),
    ("unknown MSP", _unknown_msp, STATUS.FORBIDDEN, "permission denied"),
    ("expired", _expired, STATUS.BAD_REQUEST, "broadcast client identity expired"),
    (
        "not a writer",
        lambda w: normal(w.node_signer("BankOne", "peer0.bankone")).SerializeToString(),
        STATUS.FORBIDDEN,
        "permission denied",
    ),
    (
        "other channel",
        lambda w: normal(w.signer(), channel="elsewhere").SerializeToString(),
        STATUS.BAD_REQUEST,
        "channel does not exist",
    ),
    (
        "too large",
        lambda w: normal(w.signer(), b"x" * 10_485_760).SerializeToString(),
        STATUS.BAD_REQUEST,
        "exceeds maximum allowed 10485760 bytes",
    ),
    ("empty", lambda w: b"", STATUS.BAD_REQUEST, "header not set"),
    ("no header", _no_header, STATUS.BAD_REQUEST, "header not set"),
    (
        "no channel header",
        lambda w: _resign(w, _drop_channel_header),
        STATUS.BAD_REQUEST,
        "channel header not set",
    ),
    (
        "payload garbage",
        lambda w: common_pb2.Envelope(payload=b"\xff\xff").SerializeToString(),
        STATUS.BAD_REQUEST,
        "could not determine channel ID",
    ),
    ("CONFIG", _typed(TYPE.CONFIG), STATUS.BAD_REQUEST, "cannot be processed directly"),
    ("ORDERER", _typed(TYPE.ORDERER_TRANSACTION), STATUS.BAD_REQUEST, "no longer supported"),
    (
        "garbage update",
        _typed(TYPE.CONFIG_UPDATE),
        STATUS.BAD_REQUEST,
        "error converting envelope to config update",
    ),
]


def test_bad_messages_are_refused_and_end_the_stream(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            good = normal(world.signer()).SerializeToString()
            for name, make, status, info in REFUSED:
                answers = await client.broadcast([make(world), good])
                assert len(answers) == 1, name
                assert answers[0].status == status, (name, answers[0])
                assert info in answers[0].info, (name, answers[0])
            assert node.chain.height == 1
            assert [a.status for a in await client.broadcast([good])] == [STATUS.SUCCESS]

    asyncio.run(scenario())


def test_garbage_on_the_stream_is_a_grpc_error(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (_, client):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.broadcast([b"\xff\xff\xff"])
            assert caught.value.code() == grpc.StatusCode.INTERNAL

    asyncio.run(scenario())


def test_bytes_beside_payload_and_signature_end_an_envelope_in_its_block(
    world: World, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            clean = normal(world.signer()).SerializeToString()
            unknown = b"\x7a\x05extra"  # a field 15
            assert (await client.broadcast([unknown + clean]))[0].status == STATUS.SUCCESS
            await node.chain.wait_above(1)
            (stored,) = common_pb2.Block.FromString(node.chain.block(1)).data.data
            assert stored == clean + unknown

    asyncio.run(scenario())


def test_a_client_without_certificate_is_not_served(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, _):
            credentials = grpc.ssl_channel_credentials(world.orderer_roots())
            options = [("grpc.ssl_target_name_override", "orderer0")]
            async with grpc.aio.secure_channel(
                f"127.0.0.1:{node.port}", credentials, options=options
            ) as channel:
                connect: Any = channel.stream_stream
                call = connect("/orderer.AtomicBroadcast/Broadcast")()
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    asyncio.run(scenario())


def test_seeks(world: World, tmp_path: Path) -> None:
    """Start, stop, behaviour -> block numbers and final status, on a chain of blocks 0 to 3."""
    ready, fail = SEEK.BLOCK_UNTIL_READY, SEEK.FAIL_IF_NOT_READY
    table: list[tuple[Any, Any, int, list[int], int]] = [
        ("oldest", "newest", ready, [0, 1, 2, 3], STATUS.SUCCESS),
        ("oldest", "oldest", ready, [0], STATUS.SUCCESS),
        ("newest", "newest", ready, [3], STATUS.SUCCESS),
        ("newest", 3, ready, [3], STATUS.SUCCESS),
        (1, 2, ready, [1, 2], STATUS.SUCCESS),
        (2, "newest", fail, [2, 3], STATUS.SUCCESS),
        (2, 9, fail, [2, 3], STATUS.NOT_FOUND),
        (4, 9, fail, [], STATUS.NOT_FOUND),
        ("next_commit", 9, fail, [], STATUS.NOT_FOUND),
        (5, 9, ready, [], STATUS.NOT_FOUND),
        (3, 1, ready, [], STATUS.BAD_REQUEST),
        ("oldest", "next_commit", ready, [0], STATUS.SUCCESS),
    ]

    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            for index in range(3):
                await client.broadcast([normal(world.signer()).SerializeToString()])
                await node.chain.wait_above(index + 1)
            for start, stop, behavior, numbers, status in table:
                request = world.seek(world.signer(), start, stop, behavior=behavior)
                blocks, answered = await client.fetch(request)
                found = [common_pb2.Block.FromString(raw).header.number for raw in blocks]
                assert (found, answered) == (numbers, status), (start, stop, behavior)

    asyncio.run(scenario())


def test_a_stream_waits_for_new_blocks_and_takes_another_seek(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (_, client):
            call = client.deliver()
            await call.write(world.seek(world.signer(), "next_commit", 1))
            waiting = asyncio.create_task(call.read())
            await client.broadcast([normal(world.signer()).SerializeToString()])
            response = ab_pb2.DeliverResponse.FromString(await asyncio.wait_for(waiting, 5))
            assert response.block.header.number == 1
            response = ab_pb2.DeliverResponse.FromString(await call.read())
            assert response.status == STATUS.SUCCESS
            await call.write(world.seek(world.signer(), "oldest", "oldest"))
            response = ab_pb2.DeliverResponse.FromString(await call.read())
            assert response.block.header.number == 0
            call.cancel()

    asyncio.run(scenario())


def test_headers_without_data(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            await client.broadcast([normal(world.signer()).SerializeToString()])
            await node.chain.wait_above(1)
            request = world.seek(world.signer(), 0, 1, content=SEEK.HEADER_WITH_SIG)
            (first, second), _ = await client.fetch(request)
            assert first == world.genesis  # a configuration is always whole
            block = common_pb2.Block.FromString(second)
            assert not block.HasField("data")
            assert block.header.number == 1
            assert len(block.metadata.metadata) == 5

    asyncio.run(scenario())


def _seek_at(world: World, when: datetime | None) -> bytes:
    envelope = common_pb2.Envelope.FromString(world.seek(world.signer(), "oldest", "oldest"))
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    if when is None:
        header.ClearField("timestamp")
    else:
        header.timestamp.FromDatetime(when)
    payload.header.channel_header = header.SerializeToString()
    signed = protoutil.sign_payload(world.signer(), payload.SerializeToString())
    return bytes(signed.SerializeToString())


def _seek_tampered(world: World) -> bytes:
    envelope = common_pb2.Envelope.FromString(world.seek(world.signer(), "oldest", "oldest"))
    envelope.signature = world.signer().sign(b"something else")
    return bytes(envelope.SerializeToString())


def _tls_hash(world: World, user: str) -> bytes:
    return wire.certificate_hash(world.tls("BankOne", user).certificate)


def _seek_bound(world: World, bound: bytes) -> bytes:
    """A seek that names another TLS certificate than the client's."""
    info = SEEK(start=position("oldest"), stop=position("oldest"))
    envelope = protoutil.create_signed_envelope(
        TYPE.DELIVER_SEEK_INFO,
        CHANNEL,
        world.signer(),
        info.SerializeToString(),
        tls_cert_hash=bound,
    )
    return bytes(envelope.SerializeToString())


def _seek_without_positions(world: World) -> bytes:
    kind, bound = TYPE.DELIVER_SEEK_INFO, wire.certificate_hash(world.tls().certificate)
    envelope = protoutil.create_signed_envelope(
        kind, CHANNEL, world.signer(), b"", tls_cert_hash=bound
    )
    return bytes(envelope.SerializeToString())


def test_bad_seeks(world: World, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    table: list[tuple[bytes, int]] = [
        (_seek_tampered(world), STATUS.FORBIDDEN),
        (world.seek(world.signer(), 0, 0, channel="elsewhere"), STATUS.NOT_FOUND),
        (_seek_at(world, None), STATUS.BAD_REQUEST),
        (_seek_at(world, now - timedelta(minutes=16)), STATUS.BAD_REQUEST),
        (_seek_at(world, now + timedelta(minutes=16)), STATUS.BAD_REQUEST),
        (_seek_at(world, now - timedelta(minutes=14)), STATUS.SUCCESS),
        (_seek_without_positions(world), STATUS.BAD_REQUEST),
        (_seek_bound(world, b""), STATUS.BAD_REQUEST),
        (_seek_bound(world, b"\1" * 32), STATUS.BAD_REQUEST),
        (_seek_bound(world, _tls_hash(world, "maker")), STATUS.BAD_REQUEST),
        (_seek_bound(world, _tls_hash(world, "gateway")), STATUS.SUCCESS),
        (common_pb2.Envelope(payload=b"\xff").SerializeToString(), STATUS.BAD_REQUEST),
        (b"", STATUS.BAD_REQUEST),
    ]

    async def scenario() -> None:
        async with world.orderer(tmp_path) as (_, client):
            for index, (request, status) in enumerate(table):
                _, answered = await client.fetch(request)
                assert answered == status, index

    asyncio.run(scenario())


def test_stopping_ends_waiting_readers(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            call = client.deliver()
            await call.write(world.seek(world.signer(), "oldest", 99))
            await call.read()
            stopping = asyncio.create_task(node.chain.stop())
            response = ab_pb2.DeliverResponse.FromString(await call.read())
            assert response.status == STATUS.SERVICE_UNAVAILABLE
            await stopping
            answers = await client.broadcast([normal(world.signer()).SerializeToString()])
            assert answers[0].status == STATUS.SERVICE_UNAVAILABLE
            call.cancel()

    asyncio.run(scenario())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.binary(max_size=40))
def test_no_payload_does_more_than_be_refused(payload: bytes, signature: bytes) -> None:
    envelope = common_pb2.Envelope(payload=payload, signature=signature)
    try:
        header = processor.channel_header(envelope)
        processor.is_config_update(header)
    except processor.Refusal as refusal:
        assert refusal.status == STATUS.BAD_REQUEST


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_canonical_bytes_are_kept_as_they_came(payload: bytes, signature: bytes) -> None:
    envelope = common_pb2.Envelope(payload=payload, signature=signature)
    raw = envelope.SerializeToString()
    message = processor.message_of(raw, envelope)
    assert message.raw is raw
    assert message.size == len(payload) + len(signature)
