"""Ports of a topology: choosing free ones, and refusing taken ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clearline import free_ports, ports
from network import topology as topologies
from network.topology import PortUse, Topology

_ADVICE: Final = (
    "Stop that process, or take other ports: --free-ports with a new --home. (Or edit a copy of "
    "network/network.yaml and give it to `clearline network up` with --topology.)"
)


def resolve(topology: Topology) -> Topology:
    """The topology with a free port for each 0. Raises PortError."""
    taken = {use.port for use in topologies.ports(topology)}

    def choose(host: str, port: int) -> int:
        if not port:
            port = free_ports.choose(host, but=taken)
            taken.add(port)
        return port

    return topologies.map_ports(topology, choose)


def check(uses: Iterable[PortUse]) -> None:
    """Raise PortError naming every taken port, its process, and what to do."""
    ports.check(uses, _ADVICE)
