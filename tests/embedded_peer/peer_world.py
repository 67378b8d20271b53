"""An orderer, three peers and a chaincode on real sockets in one process."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.orderer import ab_pb2, configuration_pb2
from fabric_protos.peer import proposal_response_pb2
from kv_chaincode import KvChaincode, arguments

from clearline.fabric import protoutil
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import X509Signer
from clearline.fabric.profile import Profile
from network import genesis, identities, lifecycle, ports, topology, topology_file
from network.embedded import wire
from network.embedded.engine import EmbeddedEngine
from network.embedded.orderer import config as orderer_config
from network.embedded.orderer.node import OrdererNode
from network.embedded.peer import config as peer_config
from network.embedded.peer.node import PeerNode
from network.home import Home, write_text
from network.package import Package, _archive, _json

CHANNEL = "payments"
CHAINCODE = "clearline"
ORGANIZATIONS = ("BankOne", "BankTwo", "Supervisor")
PEERS = {"BankOne": "peer0.bankone", "BankTwo": "peer0.banktwo", "Supervisor": "peer0.supervisor"}
ENDORSER = "/protos.Endorser/ProcessProposal"


def make_package(connection: dict[str, Any] | None = None) -> Package:
    files = {} if connection is None else {"connection.json": _json(connection)}
    code = _archive(files)
    metadata = _json({"type": "ccaas", "label": "kv_1"})
    return Package("kv_1", _archive({"code.tar.gz": code, "metadata.json": metadata}))


@dataclass
class World:
    """A home made for free ports; nodes are started by `running`."""

    home: Home
    layout: topology.Topology
    chaincode: KvChaincode = field(default_factory=KvChaincode)
    peers: dict[str, PeerNode] = field(default_factory=dict)
    orderer: OrdererNode | None = None
    package: Package | None = None
    execute_seconds: float = 1.0
    """What a peer that is started from now on gives a chaincode's call."""

    def signer(self, organization: str, user: str = "gateway") -> X509Signer:
        return _signer(organization, self.home.user(organization, user) / "msp")

    def node_signer(self, organization: str) -> X509Signer:
        return _signer(organization, self.home.node(organization, PEERS[organization]) / "msp")

    def endpoint(self, organization: str) -> str:
        return self.layout.organization(organization).peers[0].endpoint

    def tls(self, organization: str, user: str = "admin") -> wire.TlsIdentity:
        """What a user connects with."""
        folder = self.home.user(organization, user) / "tls"
        return wire.TlsIdentity(
            (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()
        )

    def channel(self, organization: str, user: str = "admin") -> Any:
        """A raw gRPC channel to an organisation's peer."""
        tls = self.tls(organization, user)
        roots = (self.home.organization(organization) / "tlsca" / "cert.pem").read_bytes()
        return wire.channel(self.endpoint(organization), roots, tls)

    @contextlib.asynccontextmanager
    async def gateway(self, organization: str, user: str = "gateway") -> AsyncIterator[Any]:
        """The contract at an organisation's gateway service."""
        profile = Profile.load(self.home.profile(organization, user))
        async with Gateway.connect(profile) as gateway:
            yield gateway.network(CHANNEL).contract(CHAINCODE)

    async def start_orderer(self) -> None:
        settings = self.home.node_settings("orderer0")
        self.orderer = OrdererNode(orderer_config.load(settings))
        await self.orderer.start()

    async def start_peer(self, organization: str) -> None:
        settings = self.home.node_settings(PEERS[organization])
        loaded = replace(peer_config.load(settings), execute_timeout_seconds=self.execute_seconds)
        node = PeerNode(loaded)
        await node.start()
        self.peers[organization] = node

    async def start(self) -> None:
        await self.start_orderer()
        for organization in ORGANIZATIONS:
            await self.start_peer(organization)
        assert self.package is not None
        await lifecycle.bring_up(self.home, self.layout, self.package, lambda _: None)

    async def stop(self) -> None:
        for node in self.peers.values():
            await node.stop(0.2)
        self.peers.clear()
        if self.orderer is not None:
            await self.orderer.stop(0.2)
        await self.chaincode.stop()

    def ledger(self, organization: str) -> Any:
        return self.peers[organization].channels.joined[CHANNEL].ledger

    async def level(self, height: int = 0) -> int:
        """Wait until all peers stand at one height, at least `height`."""
        assert self.orderer is not None
        target = max(height, self.orderer.chain.height)
        for node in self.peers.values():
            async with asyncio.timeout(10):
                await node.channels.joined[CHANNEL].wait_above(target - 1)
        return target

    def batch_size_update(self, messages: int) -> bytes:
        """A CONFIG_UPDATE envelope by the orderers' administrator: another block size."""
        bundle = self.peers["BankOne"].channels.joined[CHANNEL].bundle
        group = bundle.config.channel_group
        orderer = group.groups["Orderer"]
        update = configtx_pb2.ConfigUpdate(channel_id=CHANNEL)
        for part in (update.read_set, update.write_set):
            part.version = group.version
            part.groups["Orderer"].version = orderer.version
        value = update.write_set.groups["Orderer"].values["BatchSize"]
        value.CopyFrom(orderer.values["BatchSize"])
        value.version += 1
        size = configuration_pb2.BatchSize.FromString(value.value)
        size.max_message_count = messages
        value.value = size.SerializeToString()
        admin = self.signer("Supervisor", "admin")
        raw = update.SerializeToString()
        header = protoutil.make_signature_header(
            admin.identity, protoutil.new_nonce()
        ).SerializeToString()
        signed = configtx_pb2.ConfigUpdateEnvelope(config_update=raw)
        signed.signatures.add(signature_header=header, signature=admin.sign(header + raw))
        envelope = protoutil.create_signed_envelope(
            common_pb2.HeaderType.CONFIG_UPDATE, CHANNEL, admin, signed.SerializeToString()
        )
        return bytes(envelope.SerializeToString())

    async def order(self, envelope: bytes) -> Any:
        """Send an envelope to the orderer directly; the BroadcastResponse."""
        folder = self.home.user("BankOne", "gateway") / "tls"
        tls = wire.TlsIdentity(
            (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()
        )
        roots = (self.home.organization("Supervisor") / "tlsca" / "cert.pem").read_bytes()
        endpoint = self.layout.organization("Supervisor").orderers[0].endpoint
        channel: Any = wire.channel(endpoint, roots, tls)
        try:
            call = channel.stream_stream("/orderer.AtomicBroadcast/Broadcast")()
            await call.write(envelope)
            return ab_pb2.BroadcastResponse.FromString(await call.read())
        finally:
            await channel.close()


def _signer(msp_id: str, folder: Path) -> X509Signer:
    return X509Signer.from_files(
        msp_id, folder / "signcerts" / "cert.pem", folder / "keystore" / "key.pem"
    )


def make_world(root: Path) -> World:
    """Certificates, genesis block and settings on free ports."""
    layout = topology_file.load(topology.DEFAULT_TOPOLOGY)
    layout = ports.resolve(topology.map_ports(layout, lambda host, port: 0))
    home = Home(root)
    identities.create(home, layout)
    block = genesis.create(home, layout)
    home.genesis_block.parent.mkdir(parents=True, exist_ok=True)
    home.genesis_block.write_bytes(block)
    return World(home, layout)


async def prepare(world: World) -> None:
    """Start the chaincode and write every node's settings for it."""
    await world.chaincode.start()
    world.package = make_package()
    world.chaincode.package_id = world.package.id
    EmbeddedEngine().prepare(world.home, world.layout, world.package)
    for organization in ORGANIZATIONS:
        connection = {
            "address": f"127.0.0.1:{world.chaincode.port}",
            "dial_timeout": "10s",
            "tls_required": False,
        }
        write_text(world.home.chaincode(organization) / "connection.json", json.dumps(connection))


@contextlib.asynccontextmanager
async def running(root: Path) -> AsyncIterator[World]:
    world = make_world(root)
    await prepare(world)
    try:
        await world.start()
        yield world
    finally:
        await world.stop()


def proposal(
    signer: X509Signer, function: str, args: Sequence[str], chaincode: str = CHAINCODE
) -> tuple[str, bytes, Any]:
    """(transaction id, proposal bytes, peer.SignedProposal)."""
    tx_id, raw = protoutil.make_chaincode_proposal(
        CHANNEL, chaincode, arguments(function, args), signer.identity
    )
    return tx_id, raw, protoutil.sign_proposal(signer, raw)


async def endorse(world: World, organization: str, signed: Any) -> Any:
    """One peer's ProposalResponse, asked directly."""
    channel = world.channel(organization)
    try:
        raw = await channel.unary_unary(ENDORSER)(signed.SerializeToString())
        return proposal_response_pb2.ProposalResponse.FromString(raw)
    finally:
        await channel.close()


Scenario = Callable[[World], Awaitable[None]]


def run(folder: Path, scenario: Scenario) -> None:
    """Run a scenario on a network of its own."""

    async def main() -> None:
        async with asyncio.timeout(30), running(folder) as world:
            await scenario(world)

    asyncio.run(main())


async def failure(call: Awaitable[Any], kind: type[Exception]) -> Any:
    """The exception that a call ends with."""
    with pytest.raises(kind) as caught:
        await call
    return caught.value


async def system(
    world: World,
    signer: X509Signer,
    channel_id: str,
    chaincode: str,
    args: list[bytes],
    organization: str = "BankOne",
) -> Any:
    """The response of a system chaincode."""
    _, raw = protoutil.make_chaincode_proposal(channel_id, chaincode, args, signer.identity)
    signed = protoutil.sign_proposal(signer, raw)
    return (await endorse(world, organization, signed)).response
