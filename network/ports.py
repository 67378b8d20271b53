"""Ports of a topology: choosing free ones, and refusing taken ones."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from clearline import ports
from clearline.ports import PortError
from network import topology as topologies
from network.topology import PortUse, Topology

# Below the range from which outgoing connections get theirs (Linux 32768, macOS 49152): such a
# connection could hold a node's port just when the node is started again.
_LOWEST: Final = 15_000
_HIGHEST: Final = 32_000
_ADVICE: Final = (
    "Stop that process, or take other ports: --free-ports with a new --home. (Or edit a copy of "
    "network/network.yaml and give it to `clearline network up` with --topology.)"
)


def resolve(topology: Topology) -> Topology:
    """The topology with a free port for each 0."""
    taken = {use.port for use in topologies.ports(topology)}

    def choose(host: str, port: int) -> int:
        if port:
            return port
        found = _free_port(host, taken)
        taken.add(found)
        return found

    return topologies.map_ports(topology, choose)


def _free_port(host: str, taken: set[int]) -> int:
    span = _HIGHEST - _LOWEST
    # Not for secrecy: two networks started at the same moment should not try the same numbers.
    first = random.SystemRandom().randrange(span)
    for step in range(span):
        port = _LOWEST + (first + step) % span
        if port not in taken and ports.available(host, port):
            return port
    raise PortError(f"no free port between {_LOWEST} and {_HIGHEST} on {host}")


def check(uses: Iterable[PortUse]) -> None:
    """Raise PortError naming every taken port, its process, and what to do."""
    ports.check(uses, _ADVICE)
