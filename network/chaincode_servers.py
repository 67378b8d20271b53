"""An organisation's chaincode server beside its peer: settings on disk and the process.

Both engines run the same one; only the peer that dials it differs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from clearline.processes import Probe, ProcessSpec
from network.home import Home, write_text
from network.identities import write_private
from network.package import Package
from network.topology import Organization, Peer, Topology, chaincode_process

READY_SECONDS: Final = 30.0


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
    write_settings(folder / "server.json", server)


def chaincode_server(
    home: Home, organization: Organization, peer: Peer, package: Package
) -> ProcessSpec:
    """An organisation's chaincode server; another package makes it another process."""
    settings = home.chaincode(organization.name) / "server.json"
    name, port = chaincode_process(organization), peer.chaincode_port
    return ProcessSpec(
        name=name,
        argv=python_module("chaincode.cli", "serve", "--config", str(settings)),
        log=str(home.log(name)),
        cwd=str(home.root),
        env={"CLEARLINE_PACKAGE_ID": package.id},
        probes=(Probe("tcp", f"{peer.host}:{port}"),),
        ports={"chaincode": port},
        ready_seconds=READY_SECONDS,
    )


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of ours with this Python."""
    # -P: the home has folders named like rooms, which must not be found as packages.
    return (sys.executable, "-P", "-m", module, *arguments)


def write_settings(path: Path, settings: dict[str, Any]) -> None:
    """JSON with every path relative to the file's folder, so that a home can be moved."""

    def text(value: object) -> str:
        if isinstance(value, Path):
            return os.path.relpath(value, path.parent)
        raise TypeError(f"{value!r} is not JSON")

    write_text(path, json.dumps(settings, indent=2, default=text) + "\n")
