"""Nothing is delivered before it is stored, and what was delivered survives anything."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2, configuration_pb2
from orderer_world import (
    SEEK,
    STATUS,
    Client,
    OrdererProcess,
    World,
    normal,
)

from clearline import free_ports
from clearline.fabric import protoutil
from network.embedded import wire
from network.embedded.orderer.chain import Chain, bootstrap
from network.embedded.orderer.ledger import Ledger, LedgerError
from network.embedded.orderer.node import OrdererNode
from network.embedded.orderer.processor import Refusal, channel_header


class SlowLedger(Ledger):
    """Holds its writer up after the sync and before it answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.stored = threading.Event()
        self.release = threading.Event()
        self.armed = False

    def append(self, blocks: Sequence[bytes]) -> int:
        height = super().append(blocks)
        if self.armed:
            self.stored.set()
            assert self.release.wait(10)
        return height


class FullLedger(Ledger):
    """A disk that takes nothing but the first block."""

    def append(self, blocks: Sequence[bytes]) -> int:
        if self.height:
            raise LedgerError("no space left")
        return super().append(blocks)


async def _submit(chain: Chain, world: World, data: bytes = b"payment") -> None:
    envelope = normal(world.signer(), data)
    await chain.submit(envelope.SerializeToString(), envelope, channel_header(envelope))


def test_a_block_is_synced_before_anybody_sees_it(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        ledger = SlowLedger(tmp_path)
        assert ledger._env.flags()["sync"]
        assert ledger._env.flags()["metasync"]
        bootstrap(ledger, world.genesis)
        chain = Chain(ledger, world.node_signer("Supervisor", "orderer0"))
        chain.start()
        ledger.armed = True
        reader = asyncio.create_task(chain.wait_above(1))
        await _submit(chain, world)
        assert await asyncio.to_thread(ledger.stored.wait, 10)
        # It is in the file, the writer has not come back: no reader may know.
        assert (ledger.height, chain.height) == (2, 1)
        with pytest.raises(LookupError):
            chain.block(1)
        assert not reader.done()
        ledger.release.set()
        await asyncio.wait_for(reader, 10)
        assert chain.height == 2
        await chain.stop()
        ledger.close()

    asyncio.run(scenario())


def test_an_orderer_that_cannot_store_takes_nothing_more(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        ledger = FullLedger(tmp_path)
        bootstrap(ledger, world.genesis)
        chain = Chain(ledger, world.node_signer("Supervisor", "orderer0"))
        chain.start()
        assert chain.failure is not None
        await _submit(chain, world)
        assert "no space left" in await asyncio.wait_for(chain.failure, 10)
        with pytest.raises(Refusal) as caught:
            await _submit(chain, world)
        assert caught.value.status == STATUS.SERVICE_UNAVAILABLE
        assert chain.height == 1
        await chain.stop()
        ledger.close()

    asyncio.run(scenario())


def test_one_process_a_data_folder(world: World, tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    with pytest.raises(LedgerError, match="in use by another"):
        Ledger(tmp_path)
    first.close()
    Ledger(tmp_path).close()


def test_a_taken_port_is_named(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path / "one") as (node, _):
            other = wire.Server(f"127.0.0.1:{node.port}", world.tls(), world.orderer_roots, ())
            with pytest.raises(wire.BindError, match=str(node.port)):
                await other.start()

    asyncio.run(scenario())


def test_a_stop_stores_what_is_pending_and_a_start_goes_on(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        slow = world.reconfigured(_long_timeout)
        pending = [normal(world.signer(), b"%d" % index) for index in range(3)]
        async with world.orderer(tmp_path, slow) as (_, client):
            assert await client.pipeline([item.SerializeToString() for item in pending]) == 3
        async with world.orderer(tmp_path, slow) as (node, client):
            assert node.chain.height == 2
            blocks, _ = await client.fetch(world.seek(world.signer(), 0, 1))
            first, second = map(common_pb2.Block.FromString, blocks)
            assert list(second.data.data) == [item.SerializeToString() for item in pending]
            assert second.header.previous_hash == protoutil.block_header_hash(first.header)

    asyncio.run(scenario())


def _long_timeout(config: Any) -> None:
    values = config.channel_group.groups["Orderer"].values
    values["BatchTimeout"].value = configuration_pb2.BatchTimeout(timeout="1h").SerializeToString()


async def _ready(client: Client, world: World) -> int:
    """Wait until the orderer answers; its height."""
    for _ in range(200):
        try:
            request = world.seek(
                world.signer(), "newest", "newest", behavior=SEEK.FAIL_IF_NOT_READY
            )
            blocks, _ = await client.fetch(request)
            return int(common_pb2.Block.FromString(blocks[0]).header.number) + 1
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            await client.channel.channel_ready()
    raise AssertionError("the orderer doesn't come up")


async def _flood(client: Client, world: World) -> None:
    """Send messages until the orderer is gone."""
    signer = world.signer()
    call = client.channel.stream_stream("/orderer.AtomicBroadcast/Broadcast")()
    try:
        while True:
            await call.write(normal(signer, os.urandom(300)).SerializeToString())
            await call.read()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return


async def _follow(client: Client, world: World, seen: list[bytes], wanted: int) -> None:
    """Collect blocks in order until `wanted` more are there; go on collecting until the end."""
    call = client.deliver()
    await call.write(world.seek(world.signer(), len(seen), 1 << 40))
    goal = len(seen) + wanted
    while len(seen) < goal:
        response = ab_pb2.DeliverResponse.FromString(await call.read())
        assert response.WhichOneof("Type") == "block"
        seen.append(response.block.SerializeToString())
    call.cancel()


def test_kill_9_loses_no_delivered_block(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        port = free_ports.choose()
        settings = world.settings(tmp_path)
        seen: list[bytes] = []
        for _ in range(4):
            process = OrdererProcess(settings, tmp_path, port)
            try:
                async with world.client(port) as client:
                    await asyncio.wait_for(client.channel.channel_ready(), 10)
                    height = await _ready(client, world)
                    assert height >= len(seen)
                    if seen:
                        again, status = await client.fetch(
                            world.seek(world.signer(), 0, len(seen) - 1)
                        )
                        assert (again, status) == (seen, STATUS.SUCCESS)
                    floods = [asyncio.create_task(_flood(client, world)) for _ in range(3)]
                    await asyncio.wait_for(_follow(client, world, seen, 6), 20)
                    process.kill()
                    await asyncio.gather(*floods)
            finally:
                if process.process.poll() is None:
                    process.kill()
        node = OrdererNode(settings)
        blocks = [node.chain.block(number) for number in range(node.chain.height)]
        await node.stop()
        assert blocks[: len(seen)] == seen
        previous = None
        for number, raw in enumerate(blocks):
            block = common_pb2.Block.FromString(raw)
            assert block.header.number == number
            if previous is not None:
                assert block.header.previous_hash == protoutil.block_header_hash(previous)
            previous = block.header

    asyncio.run(scenario())


def test_the_process_stops_cleanly_and_says_what_is_wrong(world: World, tmp_path: Path) -> None:
    settings = world.settings(tmp_path)
    port = free_ports.choose()

    async def serve() -> None:
        process = OrdererProcess(settings, tmp_path, port)
        try:
            async with world.client(port) as client:
                await asyncio.wait_for(client.channel.channel_ready(), 10)
                assert await _ready(client, world) == 1
            assert process.terminate() == 0
        finally:
            if process.process.poll() is None:
                process.kill()

    asyncio.run(serve())
    log = (tmp_path / "orderer.log").read_text()
    assert '"message":"orderer has stopped"' in log
    (tmp_path / "genesis.block").write_bytes(b"junk")
    broken = OrdererProcess(settings, tmp_path, port)
    assert broken.process.wait(10) == 1
    assert "belongs to another channel" in (tmp_path / "orderer.log").read_text()


def _fabric(name: str) -> str:
    folder = os.environ.get("FABRIC_BIN")
    found = shutil.which(name, path=folder) if folder else None
    if found is None:
        pytest.skip(f"FABRIC_BIN doesn't name a folder with Fabric's {name}")
    return found


def test_fabrics_configtxlator_reads_our_blocks(world: World, tmp_path: Path) -> None:
    tool = _fabric("configtxlator")

    async def scenario() -> bytes:
        async with world.orderer(tmp_path) as (node, client):
            await client.broadcast([normal(world.signer(), b"").SerializeToString()])
            await node.chain.wait_above(1)
            return node.chain.block(1)

    raw = asyncio.run(scenario())

    def convert(direction: str, kind: str, data: bytes) -> bytes:
        command = [tool, direction, "--type", kind]
        done = subprocess.run(command, input=data, capture_output=True, check=True, timeout=20)
        return done.stdout

    block = common_pb2.Block.FromString(raw)
    again = convert("proto_encode", "common.Block", convert("proto_decode", "common.Block", raw))
    assert common_pb2.Block.FromString(again) == block
    signatures = json.loads(convert("proto_decode", "common.Metadata", block.metadata.metadata[0]))
    raw_header = base64.b64decode(signatures["signatures"][0]["signature_header"])
    header = json.loads(convert("proto_decode", "common.SignatureHeader", raw_header))
    assert header["creator"]["mspid"] == "Supervisor"
    value = base64.b64decode(signatures["value"])
    stated = json.loads(convert("proto_decode", "common.OrdererBlockMetadata", value))
    assert stated["last_config"]["index"] == "0"
