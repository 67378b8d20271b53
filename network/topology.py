"""The network as `network.yaml` describes it: a typed model.

Mistakes are `TopologyError`, each with a stable code, the path of the value and the reason.
topology_file.py reads and validates it, topology_document.py writes it back, ports.py fills in
ports that are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

DEFAULT_TOPOLOGY: Final = Path(__file__).with_name("network.yaml")
FORMAT: Final = 1


class Engine(StrEnum):
    """Which programs run the nodes."""

    EMBEDDED = "embedded"
    FABRIC = "fabric"


ALL_ENGINES: Final = tuple(Engine)


class UserKind(StrEnum):
    """The organisational unit of a user's certificate (Fabric's NodeOUs)."""

    ADMIN = "admin"
    CLIENT = "client"


class Role(StrEnum):
    """Values of the certificate attribute `clearline.role` (docs/roles.md)."""

    GATEWAY = "gateway"
    CONNECTOR = "connector"
    BANK_MAKER = "bank-maker"
    BANK_CHECKER = "bank-checker"
    SUPERVISOR = "supervisor"
    AUDITOR = "auditor"


class Rule(StrEnum):
    """How many organisations must agree, counted by Fabric's implicit-meta policies."""

    ANY = "any"
    ALL = "all"
    MAJORITY = "majority"


@dataclass(frozen=True)
class Problem:
    """One mistake: a stable code, where it is (`organizations[1].peers[0].port`) and why."""

    code: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path or '(file)'}: {self.reason} [{self.code}]"


class TopologyError(Exception):
    """A topology that can't be used, with every mistake that was found in it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


@dataclass(frozen=True)
class Threshold:
    """A policy by name: at least `at_least` of the organisations `of`, a peer of each."""

    at_least: int
    of: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """When the orderer cuts a block: messages, bytes, milliseconds since the first message."""

    max_message_count: int
    timeout_ms: int
    preferred_max_bytes: int
    absolute_max_bytes: int


@dataclass(frozen=True)
class Channel:
    """The one channel: its id, its block cutting and its implicit-meta policies."""

    id: str
    batch: Batch
    endorsement: Rule
    lifecycle_endorsement: Rule
    admins: Rule


@dataclass(frozen=True)
class Peer:
    """A peer, and the chaincode server beside it that only this peer dials."""

    name: str
    host: str
    port: int
    chaincode_port: int

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Orderer:
    """An ordering node, and the engines that run it.

    admin_port: where Fabric's orderer takes channel participation requests; None where the
    engine has no such thing.
    """

    name: str
    host: str
    port: int
    admin_port: int | None = None
    engines: tuple[Engine, ...] = ALL_ENGINES

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class User:
    """Somebody with a client identity; an admin has no role, a client has exactly one."""

    name: str
    kind: UserKind
    role: Role | None


@dataclass(frozen=True)
class Service:
    """A room's own server at an organisation (its REST gateway): it gets a TLS certificate."""

    name: str
    host: str
    port: int


@dataclass(frozen=True)
class Organization:
    """A member: its MSP id is its name."""

    name: str
    peers: tuple[Peer, ...]
    orderers: tuple[Orderer, ...]
    users: tuple[User, ...]
    services: tuple[Service, ...]


@dataclass(frozen=True)
class Acquirer:
    """An acquiring channel outside the network: here only so that its port is chosen once.

    It is another company with a certificate authority of its own; `bank` connects to it.
    """

    name: str
    bank: str
    host: str
    port: int


@dataclass(frozen=True)
class Proof:
    """The transaction that proves the network commits: as whom, which function, its argument."""

    organization: str
    user: str
    function: str
    argument: str


@dataclass(frozen=True)
class Chaincode:
    """The chaincode definition; `endorsement` None means the channel's own policy."""

    name: str
    version: str
    endorsement: Threshold | None
    proof: Proof

    @property
    def label(self) -> str:
        return f"{self.name}_{self.version}"


@dataclass(frozen=True)
class Topology:
    """Everything `network.yaml` says."""

    network: str
    channel: Channel
    organizations: tuple[Organization, ...]
    acquirers: tuple[Acquirer, ...]
    chaincode: Chaincode

    def peers(self) -> Iterator[tuple[Organization, Peer]]:
        for organization in self.organizations:
            for peer in organization.peers:
                yield organization, peer

    def orderers(self) -> Iterator[tuple[Organization, Orderer]]:
        for organization in self.organizations:
            for orderer in organization.orderers:
                yield organization, orderer

    def organization(self, name: str) -> Organization:
        """The organisation of that name. Raises KeyError."""
        for organization in self.organizations:
            if organization.name == name:
                return organization
        raise KeyError(name)


@dataclass(frozen=True)
class PortUse:
    """One port of a topology: its path in the file, who listens there, host and number.

    purpose: what else the owner listens for; empty for its service.
    """

    path: str
    owner: str
    host: str
    port: int
    purpose: str = ""

    @property
    def name(self) -> str:
        return f"{self.owner} {self.purpose}".rstrip()


def chaincode_process(organization: Organization) -> str:
    """The process, and the name in the certificate, of an organisation's chaincode server."""
    return f"chaincode.{organization.name.lower()}"


def ports(topology: Topology) -> tuple[PortUse, ...]:
    """Every port of the topology, in the order of the file."""
    uses: list[PortUse] = []
    for index, organization in enumerate(topology.organizations):
        base = f"organizations[{index}]"
        for number, peer in enumerate(organization.peers):
            path = f"{base}.peers[{number}]"
            uses.append(PortUse(f"{path}.port", peer.name, peer.host, peer.port))
            server = chaincode_process(organization)
            uses.append(PortUse(f"{path}.chaincode_port", server, peer.host, peer.chaincode_port))
        for number, orderer in enumerate(organization.orderers):
            path = f"{base}.orderers[{number}]"
            uses.append(PortUse(f"{path}.port", orderer.name, orderer.host, orderer.port))
            if orderer.admin_port is not None:
                uses.append(
                    PortUse(
                        f"{path}.admin_port",
                        orderer.name,
                        orderer.host,
                        orderer.admin_port,
                        purpose="admin",
                    )
                )
        for number, service in enumerate(organization.services):
            path = f"{base}.services[{number}].port"
            owner = f"{service.name}-{organization.name.lower()}"
            uses.append(PortUse(path, owner, service.host, service.port))
    for index, acquirer in enumerate(topology.acquirers):
        path = f"acquirers[{index}].port"
        uses.append(PortUse(path, acquirer.name, acquirer.host, acquirer.port))
    return tuple(uses)


def map_ports(topology: Topology, choose: Callable[[str, int], int]) -> Topology:
    """The same topology with each port replaced by choose(host, port)."""
    organizations = tuple(
        replace(
            organization,
            peers=tuple(
                replace(
                    peer,
                    port=choose(peer.host, peer.port),
                    chaincode_port=choose(peer.host, peer.chaincode_port),
                )
                for peer in organization.peers
            ),
            orderers=tuple(
                replace(
                    orderer,
                    port=choose(orderer.host, orderer.port),
                    admin_port=None
                    if orderer.admin_port is None
                    else choose(orderer.host, orderer.admin_port),
                )
                for orderer in organization.orderers
            ),
            services=tuple(
                replace(service, port=choose(service.host, service.port))
                for service in organization.services
            ),
        )
        for organization in topology.organizations
    )
    acquirers = tuple(
        replace(acquirer, port=choose(acquirer.host, acquirer.port))
        for acquirer in topology.acquirers
    )
    return replace(topology, organizations=organizations, acquirers=acquirers)
