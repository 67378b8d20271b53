"""Input that nobody honest sends to an orderer: each gets a status, and ordering goes on."""

import asyncio
import logging
import random
import sys
from pathlib import Path
from typing import Any

import damaged_envelopes
import grpc
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from orderer_world import STATUS, World, normal

sys.path.insert(0, str(Path(__file__).parent.parent / "embedded_peer"))

from protobuf_mischief import mutated

from clearline.fabric import protoutil

_METHODS = ("/orderer.AtomicBroadcast/Broadcast", "/orderer.AtomicBroadcast/Deliver")


def _resigned(world: World, chance: random.Random) -> bytes:
    """An envelope whose signature holds over a damaged payload."""
    payload = common_pb2.Payload.FromString(normal(world.signer(), b"data").payload)
    layer = chance.randrange(3)
    if layer == 0:
        payload.header.channel_header = mutated(payload.header.channel_header, chance)
    elif layer == 1:
        payload.header.signature_header = mutated(payload.header.signature_header, chance)
    raw = payload.SerializeToString()
    if layer == 2:
        raw = mutated(raw, chance)
    return bytes(protoutil.sign_payload(world.signer(), raw).SerializeToString())


def _config_update(world: World, chance: random.Random) -> bytes:
    """A CONFIG_UPDATE whose content is damaged and whose signature holds."""
    envelope = protoutil.create_signed_envelope(
        common_pb2.HeaderType.CONFIG_UPDATE,
        "payments",
        world.signer(),
        chance.randbytes(chance.randrange(200)),
    )
    return bytes(envelope.SerializeToString())


async def _poke(channel: Any, method: str, raw: bytes) -> tuple[Any, bytes, str]:
    """(gRPC status, first answer, details)."""
    call = channel.unary_stream(method)(raw, timeout=0.5)
    first = b""
    try:
        async for answer in call:
            first = first or answer
            break
        call.cancel()
    except grpc.aio.AioRpcError as error:
        return error.code(), first, error.details() or ""
    return grpc.StatusCode.OK, first, ""


def test_damage_is_named_in_fabrics_words(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (_, client):
            for name, raw, said in damaged_envelopes.rows(world.signer()):
                answer = (await client.broadcast([raw]))[0]
                assert (STATUS.Name(answer.status), answer.info) == said, name

    asyncio.run(scenario())


@pytest.mark.parametrize("method", _METHODS)
def test_messages_above_the_limit_are_refused_by_size(
    world: World, tmp_path: Path, method: str
) -> None:
    """One of the limit's size is read, and refused for what it is; one of a byte more is not."""
    most = 100 * 1024 * 1024  # Fabric's internal/pkg/comm/config.go

    async def ended(channel: Any, size: int) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_stream(method)(bytes(size), timeout=20).read()
        return caught.value

    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            channel = _boundless(world, node.port)
            try:
                read, refused = await ended(channel, most), await ended(channel, most + 1)
            finally:
                await channel.close()
            assert read.code() is grpc.StatusCode.INTERNAL
            assert "failed to unmarshal the received message" in read.details()
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            said = f"received message larger than max ({most + 1} vs. {most})"
            assert refused.details().lower().endswith(said)
            good = normal(world.signer(), b"good").SerializeToString()
            assert [item.status for item in await client.broadcast([good])] == [STATUS.SUCCESS]

    asyncio.run(scenario())


def _boundless(world: World, port: int) -> Any:
    """A client's channel that sends messages of any size."""
    tls = world.tls()
    credentials = grpc.ssl_channel_credentials(
        world.orderer_roots(), tls.private_key, tls.certificate
    )
    options = [("grpc.max_send_message_length", -1), ("grpc.ssl_target_name_override", "orderer0")]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)


def test_damaged_messages_get_a_status_and_ordering_goes_on(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (_, client):
            chance = random.Random("orderer")
            good = normal(world.signer(), b"good").SerializeToString()
            wanted = world.seek(world.signer(), "oldest", "oldest")
            for _ in range(100):
                requests = [
                    (_METHODS[0], mutated(good, chance)),
                    (_METHODS[1], mutated(wanted, chance)),
                    (_METHODS[0], _resigned(world, chance)),
                    (_METHODS[0], _config_update(world, chance)),
                ]
                for method, raw in requests:
                    _, answer, details = await _poke(client.channel, method, raw)
                    assert "Unexpected <class" not in details, (method, raw.hex(), details)
                    if method == _METHODS[0] and answer:
                        ab_pb2.BroadcastResponse.FromString(answer)
            answers = await client.broadcast([good])
            assert [item.status for item in answers] == [STATUS.SUCCESS]

    caplog.set_level(logging.ERROR)
    asyncio.run(scenario())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
