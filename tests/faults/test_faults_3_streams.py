"""The way between a daemon and its peer is cut, reset, broken inside a message, stalled, closed."""

import asyncio
import random
import time

import pytest
from fault_load import Load
from faulty_house import BEHIND_PROXIES, FaultyHouse
from wires import Proxy

from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile

SLOW = "committer-bankone"
UNKNOWN = '[["M-0001", "nobody-s", 1]]'
ROUNDS = 3
FAULTS = ("cut", "reset", "break", "stall", "down")


def strike(proxy: Proxy, fault: str, chance: random.Random) -> None:
    """One fault."""
    if fault == "cut":
        proxy.cut()
    elif fault == "reset":
        proxy.reset()
    elif fault == "break":
        proxy.break_after(chance.randrange(1, 6000))
    elif fault == "stall":
        proxy.stall()
    else:
        proxy.down()


def test_streams_break_under_load(faulty: FaultyHouse, chance: random.Random) -> None:
    before = {status.name: status.restarts for status in faulty.everyone()}
    with Load(faulty.house.merchant_dir, "stream") as load:
        load.more()
        for _ in range(ROUNDS):
            # Each way suffers another fault, all of them at about the same time.
            for name, fault in zip(BEHIND_PROXIES, chance.sample(FAULTS, k=4), strict=True):
                print(f"{name}: {fault}")
                strike(faulty.proxies[name], fault, chance)
                time.sleep(chance.uniform(0, 0.2))  # the moment varies
            time.sleep(chance.uniform(0.3, 1.5))  # how long stalls and refusals last
            for proxy in faulty.proxies.values():
                proxy.flow()
            load.more()
    assert {status.name: status.restarts for status in faulty.everyone()} == before
    assert all(proxy.cuts for proxy in faulty.proxies.values())


def test_a_slow_way_is_a_way(faulty: FaultyHouse) -> None:
    """Connecting may take longer than the shortest pause between two attempts."""
    profile = Profile.load(faulty.house.profile("BankOne", "gateway").with_name(f"{SLOW}.json"))

    async def ask() -> bytes:
        async with Gateway.connect(profile) as gateway:
            contract = gateway.network(profile.channel).contract(profile.chaincode)
            asking = asyncio.create_task(contract.evaluate("GetPayments", UNKNOWN))
            await asyncio.sleep(0.5)  # the way's slowness
            faulty.proxies[SLOW].flow()
            return await asking

    faulty.proxies[SLOW].stall()
    assert asyncio.run(ask()) == b"[null]"


@pytest.mark.parametrize("name", ["connector-unionpay", "committer-banktwo"])
def test_a_stream_that_stalls_and_is_then_reset(faulty: FaultyHouse, name: str) -> None:
    """What was on its way when it stalled never arrives: the peer's side has it, ours has not."""
    with Load(faulty.house.merchant_dir, f"stalled-{name}") as load:
        load.more()
        faulty.proxies[name].stall()
        time.sleep(0.7)  # blocks pile up behind the stall
        faulty.proxies[name].reset()
        faulty.proxies[name].flow()
        load.more()
