"""Fixtures of the merchant's tests; their world is in merchant_world.py beside this file."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from merchant_tls import TlsFiles, make_tls
from merchant_world import World


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def world(tmp_path: Path, tls: TlsFiles) -> Iterator[World]:
    """A merchant's folder, two gateways over TLS, one ledger behind them."""
    made = World(tmp_path / "merchant", tls)
    yield made
    made.close()
