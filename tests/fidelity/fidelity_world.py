"""A network of one engine as processes with the tests' chaincode, and followers of either kind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import ledger_chaincode
from fabric_protos.common import common_pb2, configtx_pb2, ledger_pb2
from fabric_protos.orderer import ab_pb2

from clearline import free_ports, supervisor
from clearline.fabric.contract import Contract
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import X509Signer
from clearline.fabric.profile import Profile
from clearline.processes import GroupSpec, ProcessSpec
from network import engines, lifecycle
from network import package as packages
from network.administration import PeerAdministration
from network.bringup import PortChoice, UpRequest, make_home
from network.embedded import wire
from network.embedded.engine import EmbeddedEngine
from network.fabric import executables, settings
from network.fabric.engine import write_builder
from network.home import Home
from network.package import Package
from network.topology import Engine, Topology

CHANNEL = "payments"
CHAINCODE = "clearline"
GROUP = "network"
FOLLOWED = "BankTwo"
"""The organisation whose peer gets a follower with the same identity."""
PATIENCE = 60.0


def quiet(_: object) -> None:
    """No progress wanted."""


@dataclass(frozen=True)
class Net:
    """A running network."""

    home: Home
    topology: Topology
    engine: Engine
    package: Package

    def signer(self, organization: str, user: str) -> X509Signer:
        return X509Signer.from_profile(self.profile(organization, user))

    def peer_signer(self, organization: str) -> X509Signer:
        msp = self.home.node(organization, f"peer0.{organization.lower()}") / "msp"
        certificate, key = msp / "signcerts" / "cert.pem", msp / "keystore" / "key.pem"
        return X509Signer.from_files(organization, certificate, key)

    def profile(self, organization: str, user: str) -> Profile:
        return Profile.load(self.home.profile(organization, user))

    @asynccontextmanager
    async def contract(self, organization: str, user: str = "gateway") -> AsyncIterator[Contract]:
        async with Gateway.connect(self.profile(organization, user)) as gateway:
            yield gateway.network(CHANNEL).contract(CHAINCODE)

    def administration(self, organization: str, endpoint: str = "") -> PeerAdministration:
        """An administrator at the organisation's peer, or at another one of its identity."""
        profile = self.profile(organization, "admin")
        at = replace(profile.peer, endpoint=endpoint or profile.peer.endpoint)
        return PeerAdministration(endpoint or "own", replace(profile, peer=at))

    async def order(self, envelope: bytes) -> int:
        """Send an envelope to an orderer as it is; the BroadcastResponse's status."""
        organization, orderer = next(iter(self.topology.orderers()))
        folder = self.home.user("BankOne", "gateway") / "tls"
        tls = wire.TlsIdentity(
            (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()
        )
        roots = (self.home.organization(organization.name) / "tlsca" / "cert.pem").read_bytes()
        channel: Any = wire.channel(orderer.endpoint, roots, tls)
        try:
            call = channel.stream_stream("/orderer.AtomicBroadcast/Broadcast")()
            await call.write(envelope)
            return int(ab_pb2.BroadcastResponse.FromString(await call.read()).status)
        finally:
            await channel.close()

    async def config(self) -> Any:
        """The channel's common.Config."""
        async with self.administration("BankOne") as peer:
            answer = await peer.call("", "cscc", [b"GetChannelConfig", CHANNEL.encode()])
        return configtx_pb2.Config.FromString(answer)


def start(root: Path, engine: Engine) -> Net:
    """A network with the chaincode committed on it."""
    home = Home(root)
    topology = make_home(UpRequest(home, None, engine, PortChoice.FREE), quiet)
    package = packages.create(topology.chaincode.label, packages.distribution_root())
    home.package_file.parent.mkdir(parents=True, exist_ok=True)
    home.package_file.write_bytes(package.content)
    chosen = engines.engine(engine)
    chosen.prepare(home, topology, package)
    processes = tuple(map(served_here, chosen.processes(home, topology, package)))
    supervisor.start(GroupSpec(GROUP, processes), home.run)
    try:
        asyncio.run(chosen.join_orderers(home, topology))
        asyncio.run(lifecycle.bring_up(home, topology, package, quiet))
    except BaseException:
        stop(home)
        raise
    return Net(home, topology, engine, package)


def stop(home: Home) -> None:
    supervisor.stop(home.run, GROUP)


def served_here(process: ProcessSpec) -> ProcessSpec:
    """The tests' chaincode in place of the contract."""
    if not process.name.startswith("chaincode."):
        return process
    program = [sys.executable, ledger_chaincode.__file__, *process.argv[-2:]]
    path = str(packages.distribution_root())
    return replace(process, argv=tuple(program), env={**process.env, "PYTHONPATH": path})


class Follower:
    """A second peer of FOLLOWED of the engine that its network doesn't run."""

    def __init__(self, net: Net, folder: Path) -> None:
        self.net = net
        self.folder = folder
        folder.mkdir(parents=True)
        port = free_ports.choose()
        self.endpoint = f"127.0.0.1:{port}"
        if net.engine is Engine.EMBEDDED:
            self._words, environment = fabric_peer(net, folder, self.endpoint)
        else:
            self._words, environment = embedded_peer(net, folder, self.endpoint)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._words, env=self._environment, stdout=log, stderr=log, cwd=self.folder
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def administration(self) -> PeerAdministration:
        return self.net.administration(FOLLOWED, self.endpoint)

    async def join(self) -> None:
        """Join by the genesis block alone, and install the package."""
        async with self.administration() as peer:
            genesis = self.net.home.genesis_block.read_bytes()
            await lifecycle._join_and_install(peer, genesis, self.net.package)


def fabric_peer(net: Net, folder: Path, endpoint: str) -> tuple[list[str], dict[str, str]]:
    node = f"peer0.{FOLLOWED.lower()}"
    crypto = net.home.node(FOLLOWED, node).absolute()
    roots = tuple(
        net.home.organization(item.name).absolute() / "tlsca" / "cert.pem"
        for item in net.topology.organizations
    )
    builder = net.home.chaincode(FOLLOWED).absolute() / "builder"
    write_builder(builder)
    choice = settings.PeerChoice("follower", FOLLOWED, net.topology.network, endpoint, builder)
    files = settings.NodeFiles(crypto / "msp", crypto / "tls", folder / "data", roots)
    (folder / "core.yaml").write_text(json.dumps(settings.core(choice, files)))
    environment = {"FABRIC_CFG_PATH": str(folder), "FABRIC_LOGGING_SPEC": "info:grpc=error"}
    return [str(executables.find().peer), "node", "start"], environment


def embedded_peer(net: Net, folder: Path, endpoint: str) -> tuple[list[str], dict[str, str]]:
    """As the embedded engine would describe it, at another endpoint."""
    prepared = Home(folder / "prepared")
    (prepared.root).mkdir()
    for name in ("crypto", "channel", "chaincode"):
        (prepared.root / name).symlink_to(net.home.root.absolute() / name)
    EmbeddedEngine().prepare(prepared, net.topology, net.package)
    path = prepared.node_settings(f"peer0.{FOLLOWED.lower()}")
    described = json.loads(path.read_text())
    path.write_text(json.dumps(described | {"listen": endpoint, "external_endpoint": endpoint}))
    words = [sys.executable, "-P", "-m", "network.embedded.peer", "--config", str(path)]
    return words, {}


async def height(peer: PeerAdministration) -> int:
    answer = await peer.call(CHANNEL, "qscc", [b"GetChainInfo", CHANNEL.encode()])
    return int(ledger_pb2.BlockchainInfo.FromString(answer).height)


async def block(peer: PeerAdministration, number: int) -> bytes:
    """A serialised common.Block with the metadata that this peer has committed."""
    args = [b"GetBlockByNumber", CHANNEL.encode(), str(number).encode()]
    return await peer.call(CHANNEL, "qscc", args)


async def level(peers: list[PeerAdministration]) -> int:
    """Wait until all have the first one's height; that height."""
    deadline = time.monotonic() + PATIENCE
    wanted = await height(peers[0])
    for peer in peers[1:]:
        while (found := await height(peer)) < wanted:
            assert time.monotonic() < deadline, f"{peer.node} stays at {found} of {wanted}"
            await asyncio.sleep(0.05)
    return wanted


def slots(raw: bytes) -> tuple[Any, list[bytes]]:
    """A block without its metadata, and the metadata's slots."""
    message = common_pb2.Block.FromString(raw)
    metadata = list(message.metadata.metadata)
    message.ClearField("metadata")
    return message, metadata
