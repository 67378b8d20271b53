"""A home with certificates and a genesis block, made once for the tests that only read it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from network import genesis, identities, ports
from network import topology as topologies
from network.home import Home
from network.topology import DEFAULT_TOPOLOGY, Topology


@dataclass(frozen=True)
class Made:
    """A prepared home and what it was made from."""

    home: Home
    topology: Topology


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    home = Home(tmp_path_factory.mktemp("made") / "home")
    shipped = topologies.load(DEFAULT_TOPOLOGY)
    topology = ports.resolve(topologies.map_ports(shipped, lambda host, port: 0))
    identities.create(home, topology)
    home.genesis_block.parent.mkdir()
    home.genesis_block.write_bytes(genesis.create(home, topology))
    return Made(home, topology)
