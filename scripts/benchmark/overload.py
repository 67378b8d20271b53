"""Three times the peak of single posts, offered whatever comes back (open loop)."""

from __future__ import annotations

import math
from dataclasses import replace

from benchmark import rest_load
from benchmark.figures import AtLeast, AtMost, percentile
from benchmark.home import Rooms
from benchmark.phases import POSTS_FINAL, Bench
from benchmark.rest_load import RestJob, Shot
from clearline.house.layout import ACQUIRER_ID

_TIMES = 3
_CONNECTIONS = 2000
_WARM_UP = 3.0  # seconds until the queues that an overload fills are full
REFUSALS = (429, 503)


def measure(run: Bench) -> None:
    """Goodput, what the rest is told, and whether results still come, all with connectors on."""
    run.bench.use(Rooms.ALL)
    seconds = 2 * run.effort.seconds
    signing = run.bench.signing(ACQUIRER_ID)
    closed = RestJob(run.doors, signing, 1, 96, seconds, int(400 * seconds))
    peak = run.figures.last(POSTS_FINAL)
    if math.isnan(peak):
        peak = run.workers.run(rest_load.run, closed).committed_rate(1.0)
    offered = _TIMES * peak
    signing = run.bench.signing(ACQUIRER_ID)
    job = replace(
        closed,
        signing=signing,
        in_flight=_CONNECTIONS,
        rate=offered,
        presign=int(offered * seconds) + 1,
    )
    with run.observer() as observer:
        report = run.post(job, "single posts, 3x overload")
        requested = [s.requested for s in observer.payments(signing.prefix) if s.requested]
        results = [s.final for s in observer.payments(signing.prefix) if s.final]
        window = (report.start + _WARM_UP, report.end)
        observer.wait_final(signing.prefix, 90)
        legs = [
            1000 * (seen.final - seen.requested)
            for seen in observer.payments(signing.prefix)
            if seen.final is not None and seen.requested is not None
        ]
    goodput = _within(requested, window) / (window[1] - window[0])
    add = run.figures.add
    add("overload: offered", "1/s", (len(report.shots) + report.unsent) / seconds)
    add("  found no free connection (the client's limit)", "1/s", report.unsent / seconds)
    add("  goodput: requests committed", "1/s", goodput)
    add("  goodput, of the peak", "x", goodput / peak, AtLeast(0.9))
    ends = _within(results, window) / max(1, _within(requested, window))
    add("  results committed, of requests committed meanwhile", "x", ends, AtLeast(0.9))
    add("  request to result p99 on the ledger, overloaded", "ms", percentile(legs, 0.99))
    _answers(run, report.shots)


def _answers(run: Bench, shots: tuple[Shot, ...]) -> None:
    total = max(1, len(shots))
    refused = [shot for shot in shots if shot.status in REFUSALS]
    told = sum(shot.retry_after for shot in refused)
    other = sum(shot.status not in (200, 201, 202, *REFUSALS) for shot in shots)
    add = run.figures.add
    add("  answered 201", "%", 100 * sum(shot.status in (200, 201) for shot in shots) / total)
    add("  answered 202", "%", 100 * sum(shot.status == 202 for shot in shots) / total)
    add("  refused 429 or 503", "%", 100 * len(refused) / total)
    if refused:
        add("  of them with Retry-After", "%", 100 * told / len(refused), AtLeast(100))
    add("  anything else, or no answer", "%", 100 * other / total, AtMost(0))


def _within(moments: list[float], window: tuple[float, float]) -> int:
    return sum(window[0] < moment <= window[1] for moment in moments)
