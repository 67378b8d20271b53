"""A network of real processes under the supervisor, and the hand that kills them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clearline import supervisor
from clearline.processes import GroupSpec, ProcessSpec, send_signal
from network import bringup, lifecycle, package
from network.bringup import PortChoice, UpRequest
from network.embedded.engine import EmbeddedEngine
from network.home import Home
from network.topology import Engine, Topology, chaincode_process

_TALLY = Path(__file__).with_name("tally_chaincode.py")
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Network:
    """What runs: names of the processes by what they are."""

    home: Home
    topology: Topology
    orderer: str
    peers: tuple[str, ...]
    servers: tuple[str, ...]

    @property
    def everything(self) -> tuple[str, ...]:
        """All processes."""
        return (self.orderer, *self.peers, *self.servers)

    def peer_ledger(self, peer: str) -> Path:
        """A peer's ledger folder."""
        data = self.home.node_settings(peer).parent / "data"
        return data / "channels" / self.topology.channel.id

    def orderer_data(self) -> Path:
        """The orderer's data folder."""
        return self.home.node_settings(self.orderer).parent / "data"

    def kill(self, names: Sequence[str]) -> list[str]:
        """kill -9, all in one moment; answers those that were alive."""
        status = supervisor.status(self.home.run, bringup.GROUP)
        assert status is not None
        wanted = [item for item in status.processes if item.name in names and item.id is not None]
        return [
            item.name
            for item in wanted
            if item.id is not None and send_signal(item.id, signal.SIGKILL)
        ]

    async def until_ready(self, seconds: float) -> None:
        """Wait until the supervisor has everything back. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                status = supervisor.status(self.home.run, bringup.GROUP)
                if status is not None and status.ready:
                    return
                await asyncio.sleep(_POLL_SECONDS)

    async def until_level(self, seconds: float) -> int:
        """Wait until all peers answer one height; that height. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                heights = set((await lifecycle.heights(self.home, self.topology)).values())
                if len(heights) == 1 and None not in heights:
                    return int(heights.pop() or 0)
                await asyncio.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End everything in order."""
        supervisor.stop(self.home.run, bringup.GROUP)


def start(folder: Path) -> Network:
    """The shipped network on free ports, with the tally in the chaincode servers' place."""
    home = Home(folder)
    request = UpRequest(home, None, Engine.EMBEDDED, PortChoice.FREE)
    topology = bringup.make_home(request, lambda _: None)
    content = package.create(topology.chaincode.label, package.distribution_root())
    engine = EmbeddedEngine()
    engine.prepare(home, topology, content)
    servers = {chaincode_process(item): item.name for item, _ in topology.peers()}
    specs = tuple(
        _tally(home, servers[spec.name], spec) if spec.name in servers else spec
        for spec in engine.processes(home, topology, content)
    )
    network = Network(
        home,
        topology,
        orderer=next(orderer.name for _, orderer in topology.orderers()),
        peers=tuple(peer.name for _, peer in topology.peers()),
        servers=tuple(servers),
    )
    # What is killed again while it starts does not wait long: more kills hit a start.
    supervisor.start(GroupSpec(bringup.GROUP, specs, 5.0, longest_backoff_seconds=0.2), home.run)
    try:
        asyncio.run(lifecycle.bring_up(home, topology, content, lambda _: None))
    except BaseException:
        network.stop()
        raise
    return network


def _tally(home: Home, organization: str, spec: ProcessSpec) -> ProcessSpec:
    settings = home.chaincode(organization) / "server.json"
    # -P: the home has folders named like rooms, which must not be found as packages.
    return replace(spec, argv=(sys.executable, "-P", str(_TALLY), str(settings)))
