"""TCP ports: whether one is free, and who has a taken one."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import psutil


class PortError(Exception):
    """A port that can't be used; the text says which, who has it and what to do."""

    code = "port_taken"


class Use(Protocol):
    """A port, and what for."""

    @property
    def name(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


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
    for pid, found in _listening():
        if found == port:
            try:
                return Holder(pid, psutil.Process(pid).name())
            except psutil.Error:
                return None
    return None


def _listening() -> Iterator[tuple[int, int]]:
    """Process and port of each listening socket that may be seen."""
    for process in psutil.process_iter():
        # One process after the other: macOS gives the whole table to root only.
        try:
            connections = process.net_connections(kind="tcp")
        except (psutil.Error, OSError):
            continue
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                yield process.pid, connection.laddr.port


def check(uses: Iterable[Use], advice: str) -> None:
    """Raise PortError naming every taken port, its process, and the advice."""
    problems = []
    for use in uses:
        if not available(use.host, use.port):
            by = holder(use.port) or "a process that can't be seen from here (another user's?)"
            problems.append(f"port {use.port} of {use.name} is taken by {by}")
    if problems:
        raise PortError("\n".join((*problems, advice)))
