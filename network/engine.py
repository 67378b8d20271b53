"""What an engine is to everything above it: which programs run the nodes, nobody else knows."""

from __future__ import annotations

from typing import Protocol

from clearline.processes import ProcessSpec
from network.home import Home
from network.package import Package
from network.topology import Topology


class EngineError(Exception):
    """An engine that can't run here; `code` is stable, the text says what is missing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Engine(Protocol):
    """Turns a topology into settings on disk and processes to run."""

    def check(self) -> tuple[str, ...]:
        """What an operator may want to know of this engine on this machine. Writes nothing.

        Raises EngineError when it can't run here.
        """

    def prepare(self, home: Home, topology: Topology, package: Package) -> None:
        """Write every node's and chaincode server's settings; the same input, the same files."""

    def processes(
        self, home: Home, topology: Topology, package: Package
    ) -> tuple[ProcessSpec, ...]:
        """What to start. All at once: nodes find each other. Writes nothing."""

    async def join_orderers(self, home: Home, topology: Topology) -> None:
        """Make the running orderers serve the channel; harmless when they do.

        Raises AdministrationError.
        """
