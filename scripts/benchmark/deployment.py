"""Puts a chaincode of our own on a running network: a server and a package an organisation.

The package is Fabric's form of chaincode as a service, connection.json inside code.tar.gz
(Fabric's ccaas_builder), so that it works on both engines.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import tarfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabric_protos.peer.lifecycle import lifecycle_pb2

from network import lifecycle
from network.administration import PeerAdministration
from network.home import Home
from network.package import Package
from network.topology import Organization, Topology

_LIFECYCLE = "_lifecycle"
_PATIENCE = 20.0
_POLL = 0.05


@dataclass(slots=True)
class Server:
    """One organisation's chaincode server; `organization` in lower case, as nodes are named."""

    organization: str
    package: Package
    process: subprocess.Popen[bytes]
    address: tuple[str, int]
    log: Path


class DeploymentError(Exception):
    """A chaincode that does not come up; the text says where it stopped."""


def start(
    home: Home, topology: Topology, organization: Organization, name: str, program: Sequence[str]
) -> Server:
    """Start an organisation's server of this chaincode: `program settings.json`."""
    own = home.chaincode(organization.name)
    connection = json.loads((own / "connection.json").read_text(encoding="utf-8"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address: tuple[str, int] = free.getsockname()
    connection["address"] = f"127.0.0.1:{address[1]}"
    package = _package(name, connection)
    folder = home.root / "bench"
    folder.mkdir(exist_ok=True)
    settings = folder / f"{name}-{organization.name}.json"
    values = {
        "chaincode_id": package.id,
        "listen": connection["address"],
        "certificate": str(own / "tls" / "cert.pem"),
        "key": str(own / "tls" / "key.pem"),
        "client_ca": str(own / "tls" / "ca.pem"),
        "peer": organization.peers[0].name,
    }
    settings.write_text(json.dumps(values), encoding="utf-8")
    log = settings.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen([*program, str(settings)], stdout=output, stderr=output)
    return Server(organization.name.lower(), package, process, address, log)


def until_ready(server: Server) -> None:
    """Wait for its port. Raises DeploymentError."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(server.address, timeout=1).close()
        except OSError:
            if server.process.poll() is not None or time.monotonic() > end:
                text = server.log.read_text(encoding="utf-8", errors="replace")
                raise DeploymentError(f"the chaincode server does not listen: {text}") from None
            time.sleep(_POLL)
        else:
            return


def stop(servers: Sequence[Server]) -> None:
    """End them."""
    for server in servers:
        server.process.terminate()
    for server in servers:
        server.process.wait(10)


async def deploy(home: Home, topology: Topology, name: str, servers: Sequence[Server]) -> None:
    """Install, approve, commit with the policy of the network's own chaincode.

    Raises AdministrationError or DeploymentError.
    """
    fields: dict[str, Any] = {
        "name": name,
        "sequence": 1,
        "version": "1.0",
        "validation_parameter": lifecycle.validation_parameter(topology.chaincode),
    }
    channel = topology.channel.id
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(one) for one in lifecycle.connect(home, topology)]
        pairs = list(zip(peers, servers, strict=True))
        await asyncio.gather(*(_install(peer, server.package) for peer, server in pairs))
        await asyncio.gather(*(_approve(peer, server.package, fields) for peer, server in pairs))
        argument = lifecycle_pb2.CheckCommitReadinessArgs(**fields).SerializeToString()
        end = time.monotonic() + _PATIENCE
        while True:
            answer = await peers[0].call(channel, _LIFECYCLE, [b"CheckCommitReadiness", argument])
            approvals = lifecycle_pb2.CheckCommitReadinessResult.FromString(answer).approvals
            if all(approvals.values()):
                break
            if time.monotonic() > end:
                raise DeploymentError(f"{name}: approvals are {dict(approvals)}")
            await asyncio.sleep(_POLL)
        commit = lifecycle_pb2.CommitChaincodeDefinitionArgs(**fields).SerializeToString()
        await peers[0].submit(_LIFECYCLE, [b"CommitChaincodeDefinition", commit], peers)
        for peer in peers:
            while await lifecycle.committed(peer, channel, name) is None:
                if time.monotonic() > end:
                    raise DeploymentError(f"{peer.node}: {name} is not defined")
                await asyncio.sleep(_POLL)


async def _install(peer: PeerAdministration, package: Package) -> None:
    argument = lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=package.content)
    await peer.call("", _LIFECYCLE, [b"InstallChaincode", argument.SerializeToString()])


async def _approve(peer: PeerAdministration, package: Package, fields: dict[str, Any]) -> None:
    local = lifecycle_pb2.ChaincodeSource.Local(package_id=package.id)
    argument = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        **fields, source=lifecycle_pb2.ChaincodeSource(local_package=local)
    )
    call = [b"ApproveChaincodeDefinitionForMyOrg", argument.SerializeToString()]
    await peer.submit(_LIFECYCLE, call, [peer])


def _package(label: str, connection: dict[str, Any]) -> Package:
    code = _archive({"connection.json": json.dumps(connection).encode()})
    metadata = json.dumps({"type": "ccaas", "label": label}).encode()
    return Package(label, _archive({"metadata.json": metadata, "code.tar.gz": code}))


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
