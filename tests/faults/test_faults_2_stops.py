"""SIGSTOP of every kind of process under load, longer than the connectors' time-outs."""

import random
import time

from fault_load import Load
from faulty_house import ANSWER_SECONDS, FaultyHouse

from clearline.processes import ProcessId

AT_ONCE = 4


def test_every_process_stops_for_a_while(faulty: FaultyHouse, chance: random.Random) -> None:
    ids: dict[str, ProcessId] = {
        status.name: status.id for status in faulty.everyone() if status.id is not None
    }
    assert len(ids) >= 17
    before = {status.name: status.restarts for status in faulty.everyone()}
    ids |= {f"{name} worker": faulty.worker(name) for name in ids if name.startswith("gateway-")}
    names = sorted(ids)
    chance.shuffle(names)
    with Load(faulty.house.merchant_dir, "stop") as load:
        load.more()
        for first in range(0, len(names), AT_ONCE):
            group = names[first : first + AT_ONCE]
            time.sleep(chance.uniform(0, 0.3))  # the moment varies
            print(f"stopped: {group}")
            with faulty.stopped(*(ids[name] for name in group)):
                time.sleep(chance.uniform(1.1, 1.7) * ANSWER_SECONDS)  # the fault itself
            load.more()
    assert {status.name: status.restarts for status in faulty.everyone()} == before
