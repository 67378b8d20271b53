"""docs/embedded.md's list of what is left out: every row is called, its answer compared."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.common import common_pb2, configtx_pb2, policies_pb2
from fabric_protos.msp import msp_principal_pb2
from fabric_protos.orderer import configuration_pb2
from fabric_protos.peer import chaincode_shim_pb2 as shim
from fabric_protos.peer.lifecycle import lifecycle_pb2
from kv_chaincode import Type
from peer_world import CHANNEL, World, failure, run, system

from clearline.fabric import protoutil
from clearline.fabric.errors import EndorseError, EvaluateError
from clearline.fabric.proposal import ProposalOptions
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
            call = channel.unary_stream(f"/{method}")(b"")
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


def _key_policy(world: World, kind: str) -> str:
    """A key's policy, one signature: BankTwo's peer, as the identity it is or as its unit."""
    envelope = policies_pb2.SignaturePolicyEnvelope(version=0)
    envelope.rule.n_out_of.n = 1
    envelope.rule.n_out_of.rules.add(signed_by=0)
    principal = world.node_signer("BankTwo").identity
    if kind == "ORGANIZATION_UNIT":
        unit = msp_principal_pb2.OrganizationUnit(
            msp_identifier="BankTwo", organizational_unit_identifier="peer"
        )
        principal = unit.SerializeToString()
    named = msp_principal_pb2.MSPPrincipal.Classification.Value(kind)
    envelope.identities.add(principal_classification=named, principal=principal)
    return str(envelope.SerializeToString().hex())


async def _endorse(world: World, kind: str) -> tuple[str, str]:
    """A write to a key whose policy nobody can be chosen for."""
    async with world.gateway("BankOne") as contract:
        await contract.submit("put", kind, "1")
        await contract.submit("lock", kind, _key_policy(world, kind))
        proposal = contract.new_proposal("put", [kind, "2"])
        error = await failure(proposal.endorse(), EndorseError)
    return error.code.name, error.message


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
            elif " under " in row.asked:
                answer = await _endorse(world, *more)
            elif name == "BFT":
                answer = await _genesis(world, tmp_path / "bft")
            elif "/" in name:
                answer = await _call(world, name)
            else:
                answer = await _system(world, *name.split(), *(more or [""]))
            assert answer[0] == row.status, (row, answer)
            assert row.says in answer[1], (row, answer)

    run(tmp_path / "world", scenario)


def test_endorsers_that_are_named_serve_a_policy_of_identities(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as contract:
            await contract.submit("put", "key", "1")
            await contract.submit("lock", "key", _key_policy(world, "IDENTITY"))
            codes = []
            for number, names in enumerate((("BankOne",), ("BankOne", "BankTwo"))):
                options = ProposalOptions(organizations=names)
                proposal = contract.new_proposal("put", ["key", str(number)], options)
                status = await (await (await proposal.endorse()).submit()).status()
                codes.append(status.code_name)
            assert codes == ["ENDORSEMENT_POLICY_FAILURE", "VALID"]
            assert await contract.evaluate("get", "key") == b"1"

    run(tmp_path / "world", scenario)
