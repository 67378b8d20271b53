"""kill -9 of every process of the house, and of a gateway's workers alone, in an order and at
moments of the seed, under load: each is back by itself, and nobody else is started again."""

import random
import re
import signal
import statistics
import time
from collections import defaultdict

from fault_load import Load
from faulty_house import FaultyHouse, wait_until

from clearline import processes

AT_ONCE = 3  # one shortly after the other
BACK_SECONDS = 5.0  # the median of each kind of process
LONGEST_SECONDS = 30.0  # any one, when the machine is busy with three at once and with the load


def test_every_process_is_killed(faulty: FaultyHouse, chance: random.Random) -> None:
    before = {status.name: status.restarts for status in faulty.everyone()}
    assert len(before) >= 17
    gateways = [name for name in before if name.startswith("gateway-")]
    victims = [*before, *(f"{name} worker" for name in gateways)]
    chance.shuffle(victims)
    took: dict[str, list[float]] = defaultdict(list)
    with Load(faulty.house.merchant_dir, "kill") as load:
        load.more()
        for first in range(0, len(victims), AT_ONCE):
            killed: dict[str, float] = {}
            for name in victims[first : first + AT_ONCE]:
                time.sleep(chance.uniform(0, 0.4))  # the moment varies
                print(f"killed: {name}")
                at = time.monotonic()
                if name in before:
                    faulty.kill(name)
                    killed[name] = at
                else:
                    kill_worker(faulty, name.removesuffix(" worker"))
                    took["worker"].append(time.monotonic() - at)
            for name, seconds in back_after(faulty, killed, before).items():
                took[kind_of(name)].append(seconds)
            load.more()
    assert load.refunds
    after = {status.name: status.restarts for status in faulty.everyone()}
    assert after == {name: restarts + 1 for name, restarts in before.items()}
    for kind, found in sorted(took.items()):
        print(f"{kind}: back after {', '.join(f'{one:.1f}' for one in found)} s")
    slow = {kind: found for kind, found in took.items()
            if statistics.median_low(found) > BACK_SECONDS}  # fmt: skip
    assert not slow


def kind_of(name: str) -> str:
    """`peer0.bankone` and `peer0.banktwo` are of one kind, `connector-unionpay` of another."""
    return re.split("[.-]", name)[0].rstrip("0123456789")


def back_after(
    faulty: FaultyHouse, killed: dict[str, float], before: dict[str, int]
) -> dict[str, float]:
    """Seconds from each kill to when the process was started again and ready."""
    took: dict[str, float] = {}

    def looked() -> bool:
        for status in faulty.everyone():
            name = status.name
            back = status.ready and status.restarts > before[name]
            if name in killed and name not in took and back:
                took[name] = time.monotonic() - killed[name]
        return len(took) == len(killed)

    wait_until(looked, LONGEST_SECONDS, f"{sorted(killed)} are back")
    return took


def kill_worker(faulty: FaultyHouse, gateway: str) -> None:
    """One of its workers; the master makes another."""
    wait_until(lambda: faulty.process(gateway).ready, LONGEST_SECONDS, f"{gateway} is ready")
    count = len(faulty.workers(gateway))
    victim = faulty.worker(gateway)
    assert processes.send_signal(victim, signal.SIGKILL)

    def replaced() -> bool:
        pids = faulty.workers(gateway)
        return victim.pid not in pids and len(pids) == count

    wait_until(replaced, LONGEST_SECONDS, f"{gateway} has a worker for the one that was killed")
