"""From a topology to Fabric's own processes: their settings, command lines, and the join."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from pathlib import Path
from typing import Final

from clearline.processes import MARK, Probe, ProcessSpec
from network.chaincode_servers import chaincode_server, write_chaincode_settings
from network.fabric import executables, external_builder, settings
from network.fabric.participation import OrdererAdministration
from network.fabric.settings import NodeFiles, OrdererChoice, PeerChoice
from network.home import Home, write_text
from network.package import Package
from network.topology import Orderer, Organization, Peer, Topology

_READY_SECONDS: Final = 60.0
# One line for each call and connection would be most of the log.
_LOGGING: Final = "info:grpc=error:comm.grpc.server=warn"
# Without the colours of Fabric's default.
_LOG_FORMAT: Final = "%{time:2006-01-02T15:04:05.000Z07:00} %{level:.4s} [%{module}] %{message}"
# Settings count for nothing where the operator's shell has CORE_... or ORDERER_... variables of
# another network, so a node gets an environment of its own. `exec` keeps the supervised pid.
_OWN_ENVIRONMENT: Final = (
    f'exec env -i {MARK}="${MARK}" PATH="$PATH" HOME="$1" FABRIC_CFG_PATH="$1" '
    'FABRIC_LOGGING_SPEC="$2" FABRIC_LOGGING_FORMAT="$3" "$4" $5 $6'
)
# Linux cuts the interpreter line of a script here (fs/binfmt_script.c BINPRM_BUF_SIZE).
_SHEBANG_BYTES: Final = 120


class FabricEngine:
    """Hyperledger Fabric's own peer and orderer, a process each."""

    def check(self) -> tuple[str, ...]:
        """Raises EngineError when the executables are missing or of another version."""
        return executables.check(executables.find())

    def prepare(self, home: Home, topology: Topology, package: Package) -> None:
        """Write orderer.yaml, core.yaml and external builder of each node, and the chaincode
        servers' settings. Paths are absolute and written anew, so that a home can be moved."""
        roots = tuple(
            (home.organization(organization.name) / "tlsca" / "cert.pem").absolute()
            for organization in topology.organizations
        )
        for organization, orderer in topology.orderers():
            files = _files(home, organization, orderer, roots)
            choice = OrdererChoice(
                name=orderer.name,
                msp_id=organization.name,
                host=orderer.host,
                port=orderer.port,
                admin_port=orderer.admin_port or 0,
            )
            _write(_folder(home, orderer) / "orderer.yaml", settings.orderer(choice, files))
        for organization, peer in topology.peers():
            write_chaincode_settings(home, topology, organization, peer, package)
            builder = home.chaincode(organization.name) / "builder"
            write_builder(builder)
            chosen = PeerChoice(
                name=peer.name,
                msp_id=organization.name,
                network=topology.network,
                endpoint=peer.endpoint,
                builder=builder.absolute(),
            )
            files = _files(home, organization, peer, roots)
            _write(_folder(home, peer) / "core.yaml", settings.core(chosen, files))

    def processes(
        self, home: Home, topology: Topology, package: Package
    ) -> tuple[ProcessSpec, ...]:
        """One process a node and a chaincode server; ready when its port answers."""
        programs = executables.find()
        specs = [
            _process(home, orderer, programs.orderer, "start") for _, orderer in topology.orderers()
        ]
        specs += [
            _process(home, peer, programs.peer, "node", "start") for _, peer in topology.peers()
        ]
        specs += [
            chaincode_server(home, organization, peer, package)
            for organization, peer in topology.peers()
        ]
        return tuple(specs)

    async def join_orderers(self, home: Home, topology: Topology) -> None:
        """Join every running orderer to the channel; one that is in it stays as it is."""
        genesis = home.genesis_block.read_bytes()
        orderers = [
            OrdererAdministration(
                node=orderer.name,
                host=orderer.host,
                port=orderer.admin_port or 0,
                tls=home.node(organization.name, orderer.name) / "tls",
            )
            for organization, orderer in topology.orderers()
        ]
        await asyncio.gather(*(item.join(topology.channel.id, genesis) for item in orderers))


def _folder(home: Home, node: Peer | Orderer) -> Path:
    return home.node_settings(node.name).parent.absolute()


def _files(
    home: Home, organization: Organization, node: Peer | Orderer, roots: tuple[Path, ...]
) -> NodeFiles:
    crypto = home.node(organization.name, node.name).absolute()
    return NodeFiles(crypto / "msp", crypto / "tls", _folder(home, node) / "data", roots)


def _process(home: Home, node: Peer | Orderer, program: Path, *words: str) -> ProcessSpec:
    folder = str(_folder(home, node))
    argv = ("/bin/sh", "-c", _OWN_ENVIRONMENT, "sh", folder, _LOGGING, _LOG_FORMAT)
    ports = {"grpc": node.port}
    if isinstance(node, Orderer):
        ports["admin"] = node.admin_port or 0
    return ProcessSpec(
        name=node.name,
        argv=(*argv, str(program), *words),
        log=str(home.log(node.name)),
        cwd=folder,
        probes=tuple(Probe("tcp", f"{node.host}:{port}") for port in ports.values()),
        ports=ports,
        ready_seconds=_READY_SECONDS,
    )


def write_builder(folder: Path) -> None:
    """The external builder's one file under its three names."""
    source = Path(external_builder.__file__).read_text(encoding="utf-8")
    text = _interpreter_line(sys.executable) + source
    for name in ("detect", "build", "release"):
        path = folder / "bin" / name
        write_text(path, text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _interpreter_line(interpreter: str) -> str:
    """`-ISE`: no site, no environment, no user's packages; it starts in half the time."""
    line = f"#!{interpreter} -ISE\n"
    if len(os.fsencode(line)) <= _SHEBANG_BYTES and " " not in interpreter:
        return line
    # A shell runs the second line; to Python it is a text that nobody reads.
    return f"#!/bin/sh\n''':'\nexec \"{interpreter}\" -ISE \"$0\" \"$@\"\n'''\n"


def _write(path: Path, document: dict[str, object]) -> None:
    write_text(path, json.dumps(document, indent=2) + "\n")
