"""kill -9 of every process of the house, and of a gateway's workers alone, in an order and at
moments of the seed, under load: each is back by itself, and nobody else is started again."""

import random
import signal
import time

from fault_load import Load
from faulty_house import FaultyHouse, wait_until

from clearline import processes

AT_ONCE = 3  # one shortly after the other
BACK_SECONDS = 30.0  # Fabric's own nodes take longer than ours


def test_every_process_is_killed(faulty: FaultyHouse, chance: random.Random) -> None:
    before = {status.name: status.restarts for status in faulty.everyone()}
    assert len(before) >= 17
    gateways = [name for name in before if name.startswith("gateway-")]
    victims = [*before, *(f"{name} worker" for name in gateways)]
    chance.shuffle(victims)
    with Load(faulty.house.merchant_dir, "kill") as load:
        load.more()
        for first in range(0, len(victims), AT_ONCE):
            for name in victims[first : first + AT_ONCE]:
                time.sleep(chance.uniform(0, 0.4))  # the moment varies
                print(f"killed: {name}")
                if name in before:
                    faulty.kill(name)
                else:
                    kill_worker(faulty, name.removesuffix(" worker"))
            load.more()
        for name in before:
            wait_until(
                lambda name=name: faulty.process(name).ready, BACK_SECONDS, f"{name} is back"
            )
    assert load.refunds
    after = {status.name: status.restarts for status in faulty.everyone()}
    assert after == {name: restarts + 1 for name, restarts in before.items()}


def wait_ready(faulty: FaultyHouse, name: str) -> None:
    wait_until(lambda: faulty.process(name).ready, BACK_SECONDS, f"{name} is ready")


def kill_worker(faulty: FaultyHouse, gateway: str) -> None:
    """One of its workers; the master makes another."""
    wait_ready(faulty, gateway)
    count = len(faulty.workers(gateway))
    victim = faulty.worker(gateway)
    assert processes.send_signal(victim, signal.SIGKILL)

    def replaced() -> bool:
        pids = faulty.workers(gateway)
        return victim.pid not in pids and len(pids) == count

    wait_until(replaced, BACK_SECONDS, f"{gateway} has a worker for the one that was killed")
