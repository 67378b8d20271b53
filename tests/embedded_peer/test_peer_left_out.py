"""docs/embedded.md's list of what is left out: every row is called, its answer compared."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.orderer import configuration_pb2
from fabric_protos.peer import chaincode_shim_pb2 as shim
from fabric_protos.peer.lifecycle import lifecycle_pb2
from kv_chaincode import Type
from peer_world import CHANNEL, World, failure, run, system

from clearline.fabric import protoutil
from clearline.fabric.errors import EvaluateError
from network.embedded import wire
from network.embedded.orderer.chain import bootstrap
from network.embedded.orderer.ledger import Ledger, LedgerError

PAGE = Path(__file__).parent.parent.parent / "docs" / "embedded.md"
STREAMS = ("GossipStream", "DeliverWithPrivateData", "Register", "Step")


@dataclass(frozen=True)
class Row:
    what: str
    asked: str
    status: str
    says: str


def rows() -> Iterator[Row]:
    table = PAGE.read_text().partition("## What it leaves out")[2]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and "`" in cells[1]:
            yield Row(*cells)


async def _call(world: World, method: str) -> tuple[str, str]:
    """A gRPC method at the node that has it."""
    if method.startswith("orderer."):
        folder = world.home.user("BankOne", "gateway") / "tls"
        tls = wire.TlsIdentity(
            (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()
        )
        roots = (world.home.organization("Supervisor") / "tlsca" / "cert.pem").read_bytes()
        endpoint = world.layout.organization("Supervisor").orderers[0].endpoint
        channel: Any = wire.channel(endpoint, roots, tls)
    else:
        channel = world.channel("BankOne")
    try:
        if method.endswith(STREAMS):
            call = channel.stream_stream(f"/{method}")(iter([b""]))
            error = await failure(call.read(), grpc.aio.AioRpcError)
        else:
            error = await failure(channel.unary_unary(f"/{method}")(b""), grpc.aio.AioRpcError)
    finally:
        await channel.close(None)
    return error.code().name, error.details()


async def _system(world: World, chaincode: str, function: str, plugin: str) -> tuple[str, str]:
    argument = b"argument"
    channel_id = "" if chaincode == "cscc" else CHANNEL
    if chaincode == "_lifecycle":
        message = getattr(lifecycle_pb2, f"{function}Args")(name="one", version="1", sequence=1)
        if plugin:
            setattr(message, plugin, "custom")
        else:
            message.collections.config.add().static_collection_config.name = "secret"
        argument = message.SerializeToString()
    args = [function.encode(), argument]
    response = await system(world, world.signer("BankOne", "admin"), channel_id, chaincode, args)
    return str(response.status), response.message


async def _chaincode(world: World, kind: str) -> tuple[str, str]:
    payload = shim.GetState(key="k", collection="secret").SerializeToString()
    async with world.gateway("BankOne") as contract:
        number = str(Type.Value(kind))
        error = await failure(contract.evaluate("raw", number, payload.hex()), EvaluateError)
    return "ERROR", str(error)


async def _genesis(world: World, folder: Path) -> tuple[str, str]:
    block = common_pb2.Block.FromString(world.home.genesis_block.read_bytes())
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    content = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    value = content.config.channel_group.groups["Orderer"].values["ConsensusType"]
    consensus = configuration_pb2.ConsensusType.FromString(value.value)
    consensus.type = "BFT"
    value.value = consensus.SerializeToString()
    payload.data = content.SerializeToString()
    envelope.payload = payload.SerializeToString()
    block.data.data[0] = envelope.SerializeToString()
    block.header.data_hash = protoutil.block_data_hash(block.data.data)
    ledger = Ledger(folder)
    try:
        with pytest.raises(LedgerError) as caught:
            bootstrap(ledger, block.SerializeToString())
    finally:
        ledger.close()
    return "refuses to start", str(caught.value)


def test_every_row_answers_as_the_page_says(tmp_path: Path) -> None:
    listed = list(rows())
    assert len(listed) >= 20
    assert len({row.asked for row in listed}) == len(listed)

    async def scenario(world: World) -> None:
        for row in listed:
            name, *more = re.findall(r"`([^`]+)`", row.asked)
            if row.asked.startswith("chaincode "):
                answer = await _chaincode(world, name)
            elif name == "BFT":
                answer = await _genesis(world, tmp_path / "bft")
            elif "/" in name:
                answer = await _call(world, name)
            else:
                answer = await _system(world, *name.split(), *(more or [""]))
            assert answer[0] == row.status, (row, answer)
            assert row.says in answer[1], (row, answer)

    run(tmp_path / "world", scenario)
