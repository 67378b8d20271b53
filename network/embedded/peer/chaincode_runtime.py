"""Which chaincode runs for a name on a channel, and the streams to the servers.

After core/chaincode/lifecycle (endorsement_info.go, cache.go): a chaincode is endorsed when it is
defined, approved by the own organisation as defined, and its approved package is installed. The
approval is known by its public hashes: a peer that lost its own copy can still endorse.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from network.embedded.peer.chaincode_stream import ChaincodeClient, Invocation
from network.embedded.peer.channel import Channel
from network.embedded.peer.lifecycle_state import (
    NAMESPACE,
    NAMESPACES,
    SOURCES,
    ApprovalHashes,
    CommittedState,
    Definition,
    LifecycleError,
    PublicState,
    package_id_structure,
    read_definition,
    read_sequence,
)
from network.embedded.peer.packages import PackageStore
from network.embedded.peer.simulator import Simulator
from network.embedded.peer.statedb import StateView


@dataclass(frozen=True)
class ChaincodeInfo:
    """What the endorser needs to call a chaincode; the package id is empty when none is
    approved."""

    definition: Definition
    approved: bool
    package_id: str

    @property
    def version(self) -> str:
        """The defined version."""
        return self.definition.version

    @property
    def init_required(self) -> bool:
        """Whether an init call must come first."""
        return self.definition.init_required


class ChaincodeRuntime:
    """The chaincodes this peer can call."""

    def __init__(self, msp_id: str, packages: PackageStore, timeout_seconds: float) -> None:
        self.msp_id = msp_id
        self._packages = packages
        self._timeout_seconds = timeout_seconds
        self._clients: dict[str, ChaincodeClient] = {}
        self._known: dict[tuple[str, str], tuple[int, ChaincodeInfo | None]] = {}

    def info(
        self, channel: Channel, generation: int, name: str, simulator: Simulator
    ) -> ChaincodeInfo:
        """How to call a chaincode; its sequence goes into the simulation's read set.

        `generation` is the channel's, taken before the snapshot. Raises LifecycleError.
        """
        sequence = read_sequence(name, PublicState(simulator))
        found = self._lookup(channel, generation, name, simulator) if sequence else None
        if found is None:
            raise LifecycleError(f"chaincode {name} not found")
        if not found.approved:
            raise LifecycleError(
                f"chaincode definition for '{name}' at sequence {sequence} on channel "
                f"'{channel.channel_id}' has not yet been approved by this org"
            )
        if not found.package_id:
            raise LifecycleError(
                f"chaincode definition for '{name}' exists, but chaincode is not installed"
            )
        return found

    def _lookup(
        self, channel: Channel, generation: int, name: str, simulator: Simulator
    ) -> ChaincodeInfo | None:
        key = (channel.channel_id, name)
        kept = self._known.get(key)
        if kept is not None and kept[0] == generation:
            return kept[1]
        found = self._read(name, simulator.snapshot.state)
        # Installing a missing package later must be noticed: only whole answers are kept.
        if found is not None and found.package_id and generation == channel.generation:
            self._known[key] = (generation, found)
        return found

    def _read(self, name: str, state: StateView) -> ChaincodeInfo | None:
        definition = read_definition(name, CommittedState(state))
        if definition is None:
            return None
        hashes = ApprovalHashes(state, self.msp_id)
        private_name = f"{name}#{definition.sequence}"
        approved = hashes.hold(NAMESPACES, private_name, definition.parameters())
        package_id = ""
        for package in self._packages.installed() if approved else ():
            structure = package_id_structure(package.package_id)
            if hashes.hold(SOURCES, private_name, structure):
                package_id = package.package_id
        return ChaincodeInfo(definition, approved, package_id)

    def references(self, channel: Channel, package_id: str) -> list[tuple[str, str, str]]:
        """(channel, name, version) of committed chaincodes that run this package."""
        found = []
        with channel.ledger.snapshot() as snapshot:
            prefix = f"{NAMESPACES}/metadata/".encode()
            for key, _ in snapshot.state.scan(NAMESPACE, prefix, prefix + b"\x7f"):
                name = key[len(prefix) :].decode()
                info = self._read(name, snapshot.state)
                if info is not None and info.package_id == package_id:
                    found.append((channel.channel_id, name, info.version))
        return found

    async def execute(self, package_id: str, invocation: Invocation) -> Any:
        """The chaincode's last ChaincodeMessage. Raises ChaincodeError."""
        client = self._clients.get(package_id)
        if client is None:
            client = ChaincodeClient(package_id, lambda: self._packages.connection(package_id))
            self._clients[package_id] = client
        return await client.execute(invocation, self._timeout_seconds)

    async def close(self) -> None:
        """End all streams."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))
