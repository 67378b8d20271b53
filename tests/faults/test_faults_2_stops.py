"""SIGSTOP of every kind of process under load, longer than the connectors' time-outs; and of the
acquirers for so long that what can't be forwarded is refused before the ledger."""

import itertools
import random
import time

from fault_load import Load, Till
from faulty_house import ANSWER_SECONDS, FaultyHouse

from clearline.processes import ProcessId

AT_ONCE = 4
ACQUIRERS = ("unionpay", "qr_wallet")
NOTICED_SECONDS = 7.0  # five on a machine that does nothing else


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


def test_a_hung_acquirer_is_refused_before_the_ledger(faulty: FaultyHouse) -> None:
    """Its connections stand, nothing is answered: 503 within seconds, taken again within seconds.

    UnionPay hangs while it is posted to, the wallet while nobody does.
    """
    with Till.opened(faulty.house.merchant_dir) as till:

        def post(name: str) -> tuple[str, int, dict[str, str], str]:
            (number,) = till.add(f"hung-{next(count)}", [(name, "tok_approve")])
            answer = faulty.post(0, till.sign(till.intent(number)))
            posted.append(number)
            return number, answer.status_code, dict(answer.headers), answer.text

        def taken(name: str, status: int) -> tuple[str, dict[str, str], str]:
            end = time.monotonic() + NOTICED_SECONDS
            while (answer := post(name))[1] != status:
                assert time.monotonic() < end, answer
                time.sleep(0.25)  # between two posts
            print(f"{name}: {status} with {end - time.monotonic():.1f} s left")
            return answer[0], answer[2], answer[3]

        posted: list[str] = []
        count = itertools.count()
        for name in ACQUIRERS:
            taken(name, 201)
        stopped = [faulty.process(f"acquirer-{name}").id for name in ACQUIRERS]
        with faulty.stopped(*(one for one in stopped if one is not None)):
            for name in ACQUIRERS:
                number, headers, said = taken(name, 503)
                assert "acquirer_unavailable" in said
                assert int(headers["Retry-After"]) > 0
                assert faulty.read(0, number) == (404, "payment_unknown")
        for name in ACQUIRERS:
            taken(name, 201)
        assert not till.finish(posted).open
        assert set(till.statuses(posted)) <= {
            "paid",
            "closed",
        }  # closed: reversed, it was under way
