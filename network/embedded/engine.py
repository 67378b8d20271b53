"""The embedded engine: peers and an orderer in Python, a process each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from clearline.processes import Probe, ProcessSpec
from network.chaincode_servers import (
    READY_SECONDS,
    chaincode_server,
    python_module,
    write_chaincode_settings,
    write_settings,
)
from network.home import Home
from network.package import Package
from network.topology import Orderer, Organization, Peer, Topology


class EmbeddedEngine:
    """Peers and an orderer in Python, a process each (network/embedded/)."""

    def check(self) -> tuple[str, ...]:
        """Python is all it needs."""
        return ()

    def prepare(self, home: Home, topology: Topology, package: Package) -> None:
        """Write node.json of each node, connection.json and server.json of each organisation."""
        roots = [
            home.organization(organization.name) / "tlsca" / "cert.pem"
            for organization in topology.organizations
        ]
        for organization, orderer in topology.orderers():
            write_settings(
                home.node_settings(orderer.name),
                _node(home, organization, orderer, roots) | {"genesis_block": home.genesis_block},
            )
        for organization, peer in topology.peers():
            connection = home.chaincode(organization.name) / "connection.json"
            write_settings(
                home.node_settings(peer.name),
                _node(home, organization, peer, roots)
                | {
                    "external_endpoint": peer.endpoint,
                    "chaincode": {package.label: connection},
                },
            )
            write_chaincode_settings(home, topology, organization, peer, package)

    def processes(
        self, home: Home, topology: Topology, package: Package
    ) -> tuple[ProcessSpec, ...]:
        """One process a node and a chaincode server; ready when its port answers."""
        specs = [
            _process(home, orderer.name, orderer.host, orderer.port, _ORDERER)
            for _, orderer in topology.orderers()
        ]
        specs += [
            _process(home, peer.name, peer.host, peer.port, _PEER) for _, peer in topology.peers()
        ]
        specs += [
            chaincode_server(home, organization, peer, package)
            for organization, peer in topology.peers()
        ]
        return tuple(specs)

    async def join_orderers(self, home: Home, topology: Topology) -> None:
        """Nothing to do: the orderer starts with the genesis block."""


_ORDERER: Final = "network.embedded.orderer"
_PEER: Final = "network.embedded.peer"


def _node(
    home: Home, organization: Organization, node: Peer | Orderer, roots: list[Path]
) -> dict[str, Any]:
    folder = home.node(organization.name, node.name)
    return {
        "name": node.name,
        "msp_id": organization.name,
        "msp_dir": folder / "msp",
        "listen": node.endpoint,
        "tls": {
            "certificate": folder / "tls" / "cert.pem",
            "private_key": folder / "tls" / "key.pem",
            "client_roots": roots,
        },
        "data_dir": home.node_settings(node.name).parent / "data",
    }


def _process(home: Home, name: str, host: str, port: int, module: str) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=python_module(module, "--config", str(home.node_settings(name))),
        log=str(home.log(name)),
        cwd=str(home.root),
        probes=(Probe("tcp", f"{host}:{port}"),),
        ports={"grpc": port},
        ready_seconds=READY_SECONDS,
    )
