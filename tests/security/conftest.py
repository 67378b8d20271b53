"""One house for all of these tests: network, gateways, connector, acquirer, on free ports.

ENGINE=fabric (with FABRIC_BIN) runs the same tests over Fabric's own peers and orderers.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import parties
from canary_inputs import SAID_BY_ACQUIRER
from furniture import change, furnished
from security_world import World

from clearline.house import bringup
from clearline.house.bringup import Choice
from clearline.house.layout import House


def hostile(house: House) -> None:
    """Have its gateways wait a second, not five, for a block that a card number names; and its
    UnionPay acquirer call the merchant by a card number."""
    for gateway in house.gateways:
        change(house.room_dir(gateway.name) / "settings.json", limits={"block_wait_s": 1})
    for acquirer in house.acquirers:
        if acquirer.kind == "unionpay_iso8583":
            named = {acquirer.merchant_code: {"name": f"SHOP {SAID_BY_ACQUIRER}", "mcc": "5411"}}
            change(house.acquirer_dir(acquirer) / "settings.json", merchants=named)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The house with the parties registered."""
    home = tmp_path_factory.mktemp("security-house")
    engine = os.environ.get("ENGINE", "embedded")
    try:
        with furnished(hostile):
            house = bringup.up(Choice(home, engine, ports="free"), print)
        with asyncio.Runner() as runner:
            made = World(house, runner)
            parties.register(made)
            yield made
            for web in made.web:
                web.close()
            made.close()
    finally:
        bringup.down(home, print)
