"""Fixtures of the peer's tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Odd certificates are made by the orderer's tests.
sys.path.insert(0, str(Path(__file__).parent.parent / "embedded_orderer"))
sys.path.insert(0, str(Path(__file__).parent))

from block_factory import Chain, chain
from peer_world import World, make_world


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One set of certificates and a genesis block; nothing runs."""
    return make_world(tmp_path_factory.mktemp("peer-world"))


@pytest.fixture
def ledger_chain(certificates: World, tmp_path: Path) -> Iterator[Chain]:
    """A ledger that knows the chaincode `clearline`."""
    with chain(certificates, tmp_path / "ledger") as made:
        yield made
