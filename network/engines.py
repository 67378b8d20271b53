"""The engines there are, by the name that `network.yaml` and the command line use."""

from __future__ import annotations

from network.embedded.engine import EmbeddedEngine
from network.engine import Engine
from network.fabric.engine import FabricEngine
from network.topology import Engine as EngineName


def engine(name: EngineName) -> Engine:
    """The engine of that name."""
    return EmbeddedEngine() if name is EngineName.EMBEDDED else FabricEngine()
