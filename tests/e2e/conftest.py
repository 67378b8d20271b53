"""The whole house, started by the code of `make up`, once for these tests.

ENGINE=fabric (with FABRIC_BIN) runs the same tests over Fabric's own peers and orderers.
"""

import os
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
    """Network, two gateways, two acquirers with two connectors each, on free ports."""
    home = tmp_path_factory.mktemp("house")
    engine = os.environ.get("ENGINE", "embedded")
    try:
        yield bringup.up(Choice(home, engine, ports="free", connectors=2), print)
    finally:
        bringup.down(home, print)


@pytest.fixture
def till(house: House, tmp_path: Path) -> object:
    """The demonstration merchant's counter."""
    from counter import Till

    return Till(house, tmp_path)
