"""The whole house, started by the code of `make up`, once for these tests."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clearline.house import bringup
from clearline.house.bringup import Choice
from clearline.house.layout import House

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Network, acquirer, two gateways and connector, on free ports."""
    home = tmp_path_factory.mktemp("house")
    try:
        yield bringup.up(Choice(home, ports="free"), print)
    finally:
        bringup.down(home, print)
