"""Engines: which programs run the nodes. Nothing above this module knows which one it is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final, Protocol

from clearline.processes import Probe, ProcessSpec
from network.home import Home, write_text
from network.identities import write_private
from network.package import Package
from network.topology import Engine as EngineName
from network.topology import Orderer, Organization, Peer, Topology, chaincode_process

_READY_SECONDS: Final = 30.0


class EngineError(Exception):
    """An engine that can't run here; `code` is stable, the text says what is missing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Engine(Protocol):
    """Turns a topology into settings on disk and processes to run."""

    def check(self) -> tuple[str, ...]:
        """What an operator may want to know of this engine on this machine. Writes nothing.

        Raises EngineError when it can't run here.
        """

    def prepare(self, home: Home, topology: Topology, package: Package) -> None:
        """Write every node's and chaincode server's settings; the same input, the same files."""

    def processes(
        self, home: Home, topology: Topology, package: Package
    ) -> tuple[ProcessSpec, ...]:
        """What to start. All at once: nodes find each other. Writes nothing."""

    async def join_orderers(self, home: Home, topology: Topology) -> None:
        """Make the running orderers serve the channel; harmless when they do.

        Raises AdministrationError.
        """


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
            _write_settings(
                home.node_settings(orderer.name),
                _node(home, organization, orderer, roots) | {"genesis_block": home.genesis_block},
            )
        for organization, peer in topology.peers():
            connection = home.chaincode(organization.name) / "connection.json"
            _write_settings(
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


def engine(name: EngineName) -> Engine:
    """The engine of that name."""
    if name is EngineName.EMBEDDED:
        return EmbeddedEngine()
    from network.fabric.engine import FabricEngine

    return FabricEngine()


_ORDERER: Final = "network.embedded.orderer"
_PEER: Final = "network.embedded.peer"
_CHAINCODE: Final = "chaincode.server"


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


def write_chaincode_settings(
    home: Home, topology: Topology, organization: Organization, peer: Peer, package: Package
) -> None:
    """connection.json for the peer (Fabric's ccaas builder format) and server.json for the
    server. They stay beside the node: the package, the same for all, holds no key."""
    folder = home.chaincode(organization.name)
    client = folder / "tls" / "client"
    connection = {
        "address": f"{peer.host}:{peer.chaincode_port}",
        "dial_timeout": "10s",
        "tls_required": True,
        "client_auth_required": True,
        "client_key": (client / "key.pem").read_text(encoding="ascii"),
        "client_cert": (client / "cert.pem").read_text(encoding="ascii"),
        "root_cert": (client / "ca.pem").read_text(encoding="ascii"),
        "domain": chaincode_process(organization),
    }
    write_private(folder / "connection.json", json.dumps(connection, indent=2).encode())
    server = {
        "package": home.package_file,
        "chaincode_id": package.id,
        "listen": f"{peer.host}:{peer.chaincode_port}",
        "tls": {
            "cert": folder / "tls" / "cert.pem",
            "key": folder / "tls" / "key.pem",
            "client_ca": folder / "tls" / "ca.pem",
        },
        "peer_names": [peer.name],
        "network": topology.network,
    }
    _write_settings(folder / "server.json", server)


def chaincode_server(
    home: Home, organization: Organization, peer: Peer, package: Package
) -> ProcessSpec:
    """An organisation's chaincode server; another package makes it another process."""
    settings = home.chaincode(organization.name) / "server.json"
    name, port = chaincode_process(organization), peer.chaincode_port
    return ProcessSpec(
        name=name,
        argv=_python(_CHAINCODE, settings),
        log=str(home.log(name)),
        cwd=str(home.root),
        env={"CLEARLINE_PACKAGE_ID": package.id},
        probes=(Probe("tcp", f"{peer.host}:{port}"),),
        ports={"chaincode": port},
        ready_seconds=_READY_SECONDS,
    )


def _process(home: Home, name: str, host: str, port: int, module: str) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=_python(module, home.node_settings(name)),
        log=str(home.log(name)),
        cwd=str(home.root),
        probes=(Probe("tcp", f"{host}:{port}"),),
        ports={"grpc": port},
        ready_seconds=_READY_SECONDS,
    )


def _python(module: str, settings: Path) -> tuple[str, ...]:
    # -P: the home has folders named like rooms, which must not be found as packages.
    return (sys.executable, "-P", "-m", module, "--config", str(settings))


def _write_settings(path: Path, settings: dict[str, Any]) -> None:
    """JSON with every path relative to the file's folder, so that a home can be moved."""

    def text(value: object) -> str:
        if isinstance(value, Path):
            return os.path.relpath(value, path.parent)
        raise TypeError(f"{value!r} is not JSON")

    write_text(path, json.dumps(settings, indent=2, default=text) + "\n")
