"""Puts the suite's chaincode on a running network: a server and a package an organisation.

The package is Fabric's own form of chaincode as a service: connection.json inside code.tar.gz
(Fabric's ccaas_builder). Addresses differ, so each organisation approves its own package id.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from clearline import free_ports
from network import lifecycle
from network.administration import PeerAdministration
from network.channelpolicies import signature_policy
from network.home import Home
from network.package import Package
from network.topology import Organization, Topology

_LIFECYCLE = "_lifecycle"
_START_SECONDS = 20.0
_LEVEL_SECONDS = 15.0
_POLL_SECONDS = 0.02


@dataclass
class Server:
    """One organisation's chaincode server."""

    argv: tuple[str, ...]
    address: tuple[str, int]
    package: Package
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start the program; `until_ready` waits for its port."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log)

    def until_ready(self) -> None:
        """Wait for the port."""
        assert self.process is not None
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(self.address, timeout=1).close()
            except OSError:
                assert self.process.poll() is None, f"it ended: {self.log.read_text()}"
                assert time.monotonic() < deadline, f"no port: {self.log.read_text()}"
                time.sleep(_POLL_SECONDS)
            else:
                return

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass(frozen=True)
class Definition:
    """A chaincode's name on the channel and its policy (None: the channel's own)."""

    name: str
    at_least: int | None = None


def make_server(
    home: Home, topology: Topology, organization: Organization, label: str, program: Sequence[str]
) -> Server:
    """An organisation's server, its settings written, not started."""
    port = free_ports.choose()
    own = home.chaincode(organization.name)
    connection = json.loads((own / "connection.json").read_text())
    connection["address"] = f"127.0.0.1:{port}"
    package = _package(label, connection)
    folder = home.root / "conformance"
    folder.mkdir(exist_ok=True)
    settings = folder / f"{label}-{organization.name}.json"
    values = {
        "chaincode_id": package.id,
        "listen": connection["address"],
        "certificate": str(own / "tls" / "cert.pem"),
        "key": str(own / "tls" / "key.pem"),
        "client_ca": str(own / "tls" / "ca.pem"),
        "organization": organization.name,
        "peer": organization.peers[0].name,
        "network": topology.network,
        "package": str(home.package_file),
    }
    settings.write_text(json.dumps(values))
    log = home.logs / f"{label}-{organization.name}.log"
    return Server((*program, str(settings)), ("127.0.0.1", port), package, log)


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


async def deploy(
    home: Home, topology: Topology, servers: Sequence[Server], definitions: Sequence[Definition]
) -> None:
    """Install each organisation's package, approve and commit the definitions on the channel."""
    organizations = [organization.name for organization, _ in topology.peers()]
    async with AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(peer) for peer in lifecycle.connect(home, topology)
        ]
        await asyncio.gather(
            *(_install(peer, server) for peer, server in zip(peers, servers, strict=True))
        )
        channel = topology.channel.id
        fields = [_fields(definition, organizations) for definition in definitions]
        await asyncio.gather(
            *(
                _approve(peer, server, values)
                for peer, server in zip(peers, servers, strict=True)
                for values in fields
            )
        )
        for values in fields:
            await asyncio.gather(*(_until_ready(peer, channel, values) for peer in peers))
            argument = lifecycle_pb2.CommitChaincodeDefinitionArgs(**values)
            call = [b"CommitChaincodeDefinition", argument.SerializeToString()]
            await peers[0].submit(_LIFECYCLE, call, peers)
        await asyncio.gather(
            *(
                _until_committed(peer, channel, values["name"])
                for peer in peers
                for values in fields
            )
        )


def _fields(definition: Definition, organizations: Sequence[str]) -> dict[str, Any]:
    policy = policy_pb2.ApplicationPolicy(
        channel_config_policy_reference="/Channel/Application/Endorsement"
    )
    if definition.at_least is not None:
        rule = signature_policy(definition.at_least, [(name, "peer") for name in organizations])
        policy = policy_pb2.ApplicationPolicy(signature_policy=rule)
    return {
        "name": definition.name,
        "sequence": 1,
        "version": "1.0",
        "validation_parameter": policy.SerializeToString(deterministic=True),
    }


async def _install(peer: PeerAdministration, server: Server) -> None:
    argument = lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=server.package.content)
    await peer.call("", _LIFECYCLE, [b"InstallChaincode", argument.SerializeToString()])


async def _approve(peer: PeerAdministration, server: Server, fields: dict[str, Any]) -> None:
    local = lifecycle_pb2.ChaincodeSource.Local(package_id=server.package.id)
    argument = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        **fields, source=lifecycle_pb2.ChaincodeSource(local_package=local)
    )
    call = [b"ApproveChaincodeDefinitionForMyOrg", argument.SerializeToString()]
    await peer.submit(_LIFECYCLE, call, [peer])


async def _until_ready(peer: PeerAdministration, channel: str, fields: dict[str, Any]) -> None:
    argument = lifecycle_pb2.CheckCommitReadinessArgs(**fields).SerializeToString()
    deadline = time.monotonic() + _LEVEL_SECONDS
    while True:
        answer = await peer.call(channel, _LIFECYCLE, [b"CheckCommitReadiness", argument])
        approvals = lifecycle_pb2.CheckCommitReadinessResult.FromString(answer).approvals
        if all(approvals.values()):
            return
        assert time.monotonic() < deadline, f"{peer.node}: approvals {dict(approvals)}"
        await asyncio.sleep(_POLL_SECONDS)


async def _until_committed(peer: PeerAdministration, channel: str, name: str) -> None:
    deadline = time.monotonic() + _LEVEL_SECONDS
    while await lifecycle.committed(peer, channel, name) is None:
        assert time.monotonic() < deadline, f"{peer.node}: {name} is not defined"
        await asyncio.sleep(_POLL_SECONDS)
