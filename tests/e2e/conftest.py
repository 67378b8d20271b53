"""The whole house, started by the code of `make up`, once for these tests.

ENGINE=fabric (with FABRIC_BIN) runs the same tests over Fabric's own peers and orderers.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from furniture import change, furnished

from clearline.house import bringup
from clearline.house.bringup import Choice
from clearline.house.layout import House

sys.path.insert(0, str(Path(__file__).parent))

# Shorter than the defaults, for most of what is waited for here is a time-out: `make run` itself
# (test_whole_way.py) and what `make up` says (test_printed_commands.py) keep those. What comes
# before what else stays: an answer that is slow before the time-out, one that is late after it.
CONNECTOR = {"answer_timeout_seconds": 3.0, "reversal_timeout_seconds": 3.0, "inquiry_seconds": 2.0}
ACQUIRER = {
    "unionpay_iso8583": {"slow_seconds": 1.5, "late_seconds": 4.5},
    "qr_wallet": {"slow_seconds": 1.5},
}


def in_haste(house: House) -> None:
    """Give the house's connectors and acquirers these times."""
    for acquirer in house.acquirers:
        change(house.acquirer_dir(acquirer) / "settings.json", **ACQUIRER[acquirer.kind])
        for connector in house.connectors(acquirer):
            change(house.settings(connector), **CONNECTOR)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Network, two gateways, two acquirers with two connectors each, on free ports."""
    home = tmp_path_factory.mktemp("house")
    engine = os.environ.get("ENGINE", "embedded")
    try:
        with furnished(in_haste):
            up = bringup.up(Choice(home, engine, ports="free", connectors=2), print)
        yield up
    finally:
        bringup.down(home, print)


@pytest.fixture
def till(house: House, tmp_path: Path) -> object:
    """The demonstration merchant's counter."""
    from counter import Till

    return Till(house, tmp_path)
