"""A home with certificates and a genesis block, made once for the tests that only read it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import crash_choice
import pytest

from network import genesis, identities, ports, topology_file
from network import topology as topologies
from network.bringup import PortChoice, UpRequest, down, up
from network.home import Home
from network.topology import DEFAULT_TOPOLOGY, Engine, Topology


def pytest_addoption(parser: pytest.Parser) -> None:
    crash_choice.add_options(parser)


@dataclass(frozen=True)
class Made:
    """A prepared home and what it was made from."""

    home: Home
    topology: Topology


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    home = Home(tmp_path_factory.mktemp("made") / "home")
    shipped = topology_file.load(DEFAULT_TOPOLOGY)
    topology = ports.resolve(topologies.map_ports(shipped, lambda host, port: 0))
    identities.create(home, topology)
    home.genesis_block.parent.mkdir()
    home.genesis_block.write_bytes(genesis.create(home, topology))
    return Made(home, topology)


@dataclass(frozen=True)
class FabricNetwork:
    """A network of Fabric's own processes, and how long its first `up` took in seconds."""

    home: Home
    topology: Topology
    cold_start: float


@pytest.fixture(scope="session")
def fabric_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricNetwork]:
    """Needs FABRIC_BIN. The first test that asks for it waits for its start."""
    home = Home(tmp_path_factory.mktemp("fabric") / "home")
    began = time.monotonic()
    request = UpRequest(home, None, Engine.FABRIC, PortChoice.FREE)
    try:
        result = up(request, lambda text: print(f"{time.monotonic() - began:.2f} {text}"))
        yield FabricNetwork(home, result.topology, time.monotonic() - began)
    finally:
        down(home)
