"""The orderer's door: what it answers to everything but an honest transaction.

The network's own orderer (Fabric's Raft orderer, or ours) beside an embedded one that begins with
the same genesis block: the same bytes to both, and for those that are listed what Fabric says.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import certificate_kit as kit
import damaged_envelopes
import grpc
import grpc.aio
import pytest
from fabric_programs import needs_fabric
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fidelity_world import CHANNEL, Follower, Net
from orderer_world import position
from pokes import Pair, Said, boundless, differences, plain, poke, tls_roots, user_tls
from protobuf_mischief import mutated

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer
from network.embedded import wire
from network.embedded.orderer.config import OrdererConfig
from network.embedded.orderer.node import OrdererNode
from network.embedded.settings import TlsFiles

pytestmark = [needs_fabric, pytest.mark.slow]

SEED = os.environ.get("FIDELITY_SEED", "20261123")
DAMAGED = 40
LARGE_SECONDS = 30.0
"""For a message of 100 MB, which takes one on an idle machine."""
TYPE = common_pb2.HeaderType
BROADCAST, DELIVER = (f"/orderer.AtomicBroadcast/{name}" for name in ("Broadcast", "Deliver"))
UNPARSABLE = "proto: cannot parse invalid wire-format data"
NO_CHANNEL = "could not determine channel ID: "
DENIED = (
    "implicit policy evaluation failed - 0 sub-policies were satisfied, but this policy requires "
    "1 of the 'Writers' sub-policies to be satisfied: permission denied"
)
UPDATE = f"error applying config update to existing channel '{CHANNEL}': "


@asynccontextmanager
async def orderers(net: Net, folder: Path) -> AsyncIterator[Pair]:
    """The network's orderer, and an embedded one of the same identity and genesis block."""
    organization, orderer = next(iter(net.topology.orderers()))
    crypto = net.home.node(organization.name, orderer.name)
    roots, tls = tls_roots(net, organization.name), user_tls(net, "BankOne")
    files = crypto / "tls"
    node = OrdererNode(
        OrdererConfig(
            name="beside",
            msp_id=organization.name,
            msp_dir=crypto / "msp",
            listen="127.0.0.1:0",
            tls=TlsFiles(files / "cert.pem", files / "key.pem", (files / "ca.pem",)),
            data_dir=folder / "beside",
            genesis_block=net.home.genesis_block,
        )
    )
    port = await node.start()
    pair = Pair(
        boundless(orderer.endpoint, roots, tls, orderer.name),
        boundless(f"127.0.0.1:{port}", roots, tls, orderer.name),
    )
    try:
        yield pair
    finally:
        await pair.real.close()
        await pair.embedded.close()
        await node.stop(0.2)


async def say(channel: Any, method: str, raw: bytes) -> Said:
    """A status with its text, a block, or how the stream ended."""
    call: Any = channel.unary_stream(method)(raw, timeout=5)
    try:
        answer = await call.read()
        if not isinstance(answer, bytes):
            return ((await call.code()).name, plain(await call.details()))
        if method == BROADCAST:
            response = ab_pb2.BroadcastResponse.FromString(answer)
            return (common_pb2.Status.Name(response.status), plain(response.info))
        delivered = ab_pb2.DeliverResponse.FromString(answer)
        if delivered.WhichOneof("Type") == "block":
            return ("block", "")
        return (common_pb2.Status.Name(delivered.status), "")
    except grpc.aio.AioRpcError as error:
        return (error.code().name, plain(error.details()))
    finally:
        call.cancel()


async def both(pair: Pair, method: str, raw: bytes) -> tuple[Said, Said]:
    real, embedded = await asyncio.gather(
        say(pair.real, method, raw), say(pair.embedded, method, raw)
    )
    return real, embedded


class Envelopes:
    """Makes what is sent."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.signer = net.signer("BankOne", "gateway")
        self.authority = kit.stored_authority(net.home.organization("BankOne") / "ca")
        self.bound = wire.certificate_hash(user_tls(net, "BankOne").certificate)

    def envelope(
        self,
        *,
        kind: int = TYPE.ENDORSER_TRANSACTION,
        channel: str = CHANNEL,
        signer: X509Signer | None = None,
        data: bytes = b"data",
        bound: bytes = b"",
    ) -> bytes:
        message = protoutil.create_signed_envelope(
            kind, channel, signer or self.signer, data, tls_cert_hash=bound
        )
        return bytes(message.SerializeToString())

    def signed_otherwise(self, change: Callable[[bytes], bytes]) -> bytes:
        message = common_pb2.Envelope.FromString(self.envelope())
        message.signature = change(message.signature)
        return bytes(message.SerializeToString())

    def stranger(self) -> X509Signer:
        return kit.signer(kit.make_authority("BankOne"), "BankOne", kit.Leaf())

    def expired(self) -> X509Signer:
        now = datetime.now(UTC)
        leaf = kit.Leaf(start=now - timedelta(hours=1), end=now - timedelta(seconds=1))
        return kit.signer(self.authority, "BankOne", leaf)

    def seek(
        self,
        start: str | int | None,
        stop: str | int | None,
        *,
        until_ready: bool = False,
        **fields: Any,
    ) -> bytes:
        ready, fail = ab_pb2.SeekInfo.BLOCK_UNTIL_READY, ab_pb2.SeekInfo.FAIL_IF_NOT_READY
        info = ab_pb2.SeekInfo(behavior=ready if until_ready else fail)
        if start is not None:
            info.start.CopyFrom(position(start))
        if stop is not None:
            info.stop.CopyFrom(position(stop))
        fields = {"bound": self.bound} | fields
        return self.envelope(kind=TYPE.DELIVER_SEEK_INFO, data=info.SerializeToString(), **fields)


def broadcasts(made: Envelopes) -> list[tuple[str, bytes, Said]]:
    """(name, message, Fabric's answer)."""
    bad, forbidden = "BAD_REQUEST", ("FORBIDDEN", DENIED)
    garbage = common_pb2.Envelope(payload=b"\xff\xff").SerializeToString()
    nobody = kit.signer(made.authority, "Nobody", kit.Leaf())
    streamed = f"grpc: failed to unmarshal the received message: {UNPARSABLE}"
    return [
        ("honest", made.envelope(), ("SUCCESS", "")),
        ("empty", b"", (bad, f"{NO_CHANNEL}header not set")),
        ("garbage", b"\xff\xff", ("INTERNAL", streamed)),
        ("payload", garbage, (bad, f"{NO_CHANNEL}error unmarshalling Payload: {UNPARSABLE}")),
        ("channel", made.envelope(channel="none"), (bad, "channel does not exist")),
        ("config", made.envelope(kind=TYPE.CONFIG),
         (bad, "message is of type that cannot be processed directly")),
        ("orderer", made.envelope(kind=TYPE.ORDERER_TRANSACTION),
         (bad, "message is of type that is no longer supported")),
        ("update", made.envelope(kind=TYPE.CONFIG_UPDATE),
         (bad, f"{UPDATE}error converting envelope to config update: error unmarshalling message "
               f"for type CONFIG_UPDATE: {UNPARSABLE}")),
        ("no update", made.envelope(kind=TYPE.CONFIG_UPDATE, data=b""),
         (bad, f"{UPDATE}error authorizing update: ConfigUpdate for channel '' but envelope for "
               f"channel '{CHANNEL}'")),
        ("signature", made.signed_otherwise(lambda _: b"x"), forbidden),
        ("unsigned", made.signed_otherwise(lambda _: b""), forbidden),
        ("high S", made.signed_otherwise(kit.high_s), forbidden),
        ("expired", made.envelope(signer=made.expired()),
         (bad, "broadcast client identity expired")),
        ("stranger", made.envelope(signer=made.stranger()), forbidden),
        ("nobody", made.envelope(signer=nobody), forbidden),
        ("peer", made.envelope(signer=made.net.peer_signer("BankOne")), forbidden),
        *damaged_envelopes.rows(made.signer),
    ]  # fmt: skip


def test_what_a_broadcast_is_answered(follower: Follower, tmp_path: Path) -> None:
    async def main() -> None:
        async with orderers(follower.net, tmp_path) as pair:
            for name, raw, expected in broadcasts(Envelopes(follower.net)):
                real, embedded = await both(pair, BROADCAST, raw)
                assert real == expected, name
                assert embedded == expected, name

    asyncio.run(main())


async def delivered(channel: Any, seek: bytes) -> Any:
    """The block that one seek is answered."""
    call: Any = channel.unary_stream(DELIVER)(seek, timeout=10)
    answer = ab_pb2.DeliverResponse.FromString(await call.read())
    call.cancel()
    assert answer.WhichOneof("Type") == "block", answer
    return answer.block


def test_fields_that_nobody_knows_end_an_envelope_in_its_block(
    follower: Follower, tmp_path: Path
) -> None:
    async def ordered(channel: grpc.aio.Channel, made: Envelopes, raw: bytes) -> bytes:
        newest = await delivered(channel, made.seek("newest", "newest"))
        assert await say(channel, BROADCAST, raw) == ("SUCCESS", "")
        following = made.seek(newest.header.number + 1, newest.header.number + 1, until_ready=True)
        (stored,) = (await delivered(channel, following)).data.data
        return bytes(stored)

    async def main() -> None:
        async with orderers(follower.net, tmp_path) as pair:
            made = Envelopes(follower.net)
            clean, unknown = made.envelope(), b"\x7a\x05extra"  # a field 15
            for channel in (pair.real, pair.embedded):
                assert await ordered(channel, made, unknown + clean) == clean + unknown

    asyncio.run(main())


def seeks(made: Envelopes) -> list[tuple[str, bytes, str]]:
    other = wire.certificate_hash(user_tls(made.net, "BankTwo").certificate)
    return [
        ("honest", made.seek("oldest", "oldest"), "block"),
        ("unbound", made.seek("oldest", "oldest", bound=b""), "BAD_REQUEST"),
        ("bound to nothing", made.seek("oldest", "oldest", bound=b"1" * 32), "BAD_REQUEST"),
        ("somebody else's", made.seek("oldest", "oldest", bound=other), "BAD_REQUEST"),
        ("no start", made.seek(None, "oldest"), "BAD_REQUEST"),
        ("no stop", made.seek("oldest", None), "BAD_REQUEST"),
        ("backwards", made.seek(1, 0), "BAD_REQUEST"),
        ("beyond", made.seek(9999, 9999), "NOT_FOUND"),
        ("channel", made.seek("oldest", "oldest", channel="none"), "NOT_FOUND"),
        ("stranger", made.seek("oldest", "oldest", signer=made.stranger()), "FORBIDDEN"),
        ("expired", made.seek("oldest", "oldest", signer=made.expired()), "FORBIDDEN"),
        ("empty", b"", "BAD_REQUEST"),
        ("garbage", b"\xff", "INTERNAL"),
    ]


def test_what_a_seek_is_answered(follower: Follower, tmp_path: Path) -> None:
    async def main() -> None:
        async with orderers(follower.net, tmp_path) as pair:
            for name, raw, expected in seeks(Envelopes(follower.net)):
                real, embedded = await both(pair, DELIVER, raw)
                assert (real[0], embedded) == (expected, real), name

    asyncio.run(main())


@pytest.mark.parametrize("method", [BROADCAST, DELIVER])
def test_damaged_envelopes(follower: Follower, tmp_path: Path, method: str) -> None:
    made, chance = Envelopes(follower.net), random.Random(f"{SEED}{method}")
    good = made.envelope() if method == BROADCAST else made.seek("oldest", "oldest")

    async def main() -> None:
        async with orderers(follower.net, tmp_path) as pair:
            found: list[tuple[str, Said, Said]] = []
            for raw in [mutated(good, chance) for _ in range(DAMAGED)]:
                found.append((raw.hex(), *await both(pair, method, raw)))
        assert differences(found) == ""
        assert len({real[0] for _, real, _ in found}) > 2

    asyncio.run(main())


def test_messages_at_and_above_the_limit(follower: Follower, tmp_path: Path) -> None:
    """100 MB are read, and refused for what they are; a byte more is refused by its size."""
    most = 100 * 1024 * 1024

    async def main() -> None:
        found: list[tuple[str, Said, Said]] = []
        async with orderers(follower.net, tmp_path) as pair:
            for method in (BROADCAST, DELIVER):
                for size in (most, most + 1):
                    # One after the other: each holds all of it in its memory.
                    real = await poke(pair.real, method, bytes(size), LARGE_SECONDS)
                    embedded = await poke(pair.embedded, method, bytes(size), LARGE_SECONDS)
                    found.append((f"{method} {size}", real, embedded))
        assert differences(found) == ""
        assert [real[0] for _, real, _ in found] == ["INTERNAL", "RESOURCE_EXHAUSTED"] * 2

    asyncio.run(main())
