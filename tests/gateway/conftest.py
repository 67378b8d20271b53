"""Helpers of this room's tests, and of the client's fake peer, are importable by name."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "fabric_client"))

from helpers_described import Described
from helpers_gateway import Site, open_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A committer on a ledger, and the application over it: shared by a module's tests."""
    with open_site(tmp_path_factory.mktemp("site")) as opened:
        yield opened


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    """A gateway's processes with one payment on the ledger."""
    opened = Described(tmp_path_factory.mktemp("described"))
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="session")
def schema(described: Described) -> Any:
    """What that gateway says of itself."""
    return described.schema()
