"""The order files that `make run` pays: the house's own merchant takes every row."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from clearline.house import rooms
from clearline.house.layout import House
from clearline.jws import KeySigner
from merchant.importer import Format, Taken, read
from merchant.profile import Profile, load
from network.topology import DEFAULT_TOPOLOGY

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The merchant.json that `clearline up` writes, over keys made here."""
    home = tmp_path_factory.mktemp("home")
    (home / "network.yaml").write_bytes(DEFAULT_TOPOLOGY.read_bytes())
    house = House.of(home)
    for gateway in house.gateways:
        described = house.profile(gateway.bank, "gateway")
        described.parent.mkdir(parents=True)
        described.write_text(json.dumps({"private_key": "key.pem"}))
        KeySigner.generate().save(described.parent / "key.pem")
    for acquirer in house.acquirers:
        key = house.signer_key(acquirer)
        key.parent.mkdir(parents=True, exist_ok=True)
        KeySigner.generate().save(key)
    rooms._furnish_merchant(house)
    return load(house.merchant_dir)


@pytest.mark.parametrize(
    ("name", "count", "acquirer"),
    [("orders.csv", 300, "unionpay"), ("wallet-orders.csv", 20, "qr_wallet")],
)
def test_every_row_of_a_shipped_file_is_taken(
    profile: Profile, name: str, count: int, acquirer: str
) -> None:
    data = (EXAMPLES / name).read_bytes()
    with (EXAMPLES / name).open("rb") as stream:
        found = list(read(stream, Format.CSV, profile))
    assert [row for row in found if not isinstance(row, Taken)] == []
    orders = [row.order for row in found if isinstance(row, Taken)]
    written = list(csv.DictReader(data.decode().splitlines()))
    assert [order.order_no for order in orders] == [row["order_no"] for row in written]
    assert len({order.order_no for order in orders}) == count
    assert {route.acquirer_id for order in orders for route in order.routes} == {acquirer}


def test_a_profile_without_the_wallet_takes_no_wallet_order(profile: Profile) -> None:
    """The rows are held against the profile, not only against their form."""
    routes = tuple(route for route in profile.routes if route.acquirer_id != "qr_wallet")
    with (EXAMPLES / "wallet-orders.csv").open("rb") as stream:
        found = list(read(stream, Format.CSV, replace(profile, routes=routes)))
    assert len(found) == 20
    assert not any(isinstance(row, Taken) for row in found)
