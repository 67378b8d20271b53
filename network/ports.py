"""Ports: choosing free ones, and saying who has a taken one."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import psutil

from network import topology as topologies
from network.topology import PortUse, Topology

# Below the range from which outgoing connections get theirs (Linux 32768, macOS 49152): such a
# connection could hold a node's port just when the node is started again.
_LOWEST: Final = 15_000
_HIGHEST: Final = 32_000


class PortError(Exception):
    """A port that can't be used; the text says which, who has it and what to do."""

    code = "port_taken"


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


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
        if port not in taken and available(host, port):
            return port
    raise PortError(f"no free port between {_LOWEST} and {_HIGHEST} on {host}")


def available(host: str, port: int) -> bool:
    """Whether a server could listen there now. Raises PortError for an address not ours."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that just ended don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except PermissionError:
            return False
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise PortError(f"{host}:{port} can't be used: {error.strerror or error}") from error
    return True


def holder(port: int) -> Holder | None:
    """Who listens on a port; None when that isn't ours to see (another user's process)."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        address = connection.laddr
        if not address or connection.status != psutil.CONN_LISTEN or connection.pid is None:
            continue
        if address.port == port:
            try:
                return Holder(connection.pid, psutil.Process(connection.pid).name())
            except psutil.Error:
                return None
    return None


def check(uses: Iterable[PortUse], advice: str) -> None:
    """Raise PortError naming every taken port, its process, and the advice."""
    problems = []
    for use in uses:
        if not available(use.host, use.port):
            by = holder(use.port)
            text = f"by {by}" if by else "by a process of somebody else"
            problems.append(f"port {use.port} of {use.name} is taken {text}")
    if problems:
        raise PortError("\n".join((*problems, advice)))
