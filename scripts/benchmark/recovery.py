"""kill -9 of one process of each kind under load: how long anything stands still."""

from __future__ import annotations

import signal
import time
from itertools import pairwise

from benchmark import rest_load
from benchmark.figures import AtMost
from benchmark.home import Rooms
from benchmark.phases import Bench
from benchmark.rest_load import RestJob
from clearline import processes, supervisor
from clearline.house.layout import ACQUIRER_ID

KINDS = (
    ("network", "orderer0"),
    ("network", "peer0.bankone"),
    ("network", "peer0.banktwo"),
    ("network", "chaincode.bankone"),
    ("rooms", "committer-bankone"),
    ("rooms", "gateway-bankone"),
    ("rooms", "connector-unionpay"),
    ("rooms", "acquirer-unionpay"),
)
_BEFORE, _AFTER = 3.0, 9.0
_RATE = 40.0  # posts a second: a gap must come from the kill, not from the load
_BAR = AtMost(5.0)


def measure(run: Bench) -> None:
    """For each kind: the longest gap among commits through each gateway and among results."""
    run.bench.use(Rooms.ALL)
    for group, name in KINDS:
        run.say(f"recovery: kill -9 of {name}")
        run.figures.add(
            f"recovery: longest gap after a kill of {name}", "s", _gap(run, group, name), _BAR
        )


def _gap(run: Bench, group: str, name: str) -> float:
    signing = run.bench.signing(ACQUIRER_ID)
    seconds = _BEFORE + _AFTER
    job = RestJob(run.doors, signing, 1, 256, seconds, int(_RATE * seconds) + 1, rate=_RATE)
    with run.observer() as observer:
        running = run.workers.start(rest_load.run, job)
        end = time.monotonic() + 30
        while observer.counts(signing.prefix)[1] < _RATE * _BEFORE:
            if time.monotonic() > end or running.done():
                raise RuntimeError(f"no payments before the kill of {name}: see the house's logs")
            time.sleep(0.01)
        killed = time.monotonic()
        _kill(run, group, name)
        report = running.result()
        observer.wait_final(signing.prefix, 60)
        results = [seen.final for seen in observer.payments(signing.prefix) if seen.final]
    series = [
        [shot.ended for shot in report.shots if shot.committed and shot.door == door]
        for door in range(len(job.doors))
    ]
    return max(_longest(moments, killed, report.end) for moments in [*series, results])


def _longest(moments: list[float], since: float, until: float) -> float:
    marks = [since, *sorted(moment for moment in moments if since < moment < until), until]
    return max(after - before for before, after in pairwise(marks))


def _kill(run: Bench, group: str, name: str) -> None:
    status = supervisor.status(run.bench.house.run_dir, group)
    victim = next((one for one in status.processes if one.name == name), None) if status else None
    if victim is None or victim.id is None:
        raise RuntimeError(f"{name} does not run")
    processes.send_signal(victim.id, signal.SIGKILL)
