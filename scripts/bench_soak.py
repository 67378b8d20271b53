"""`make soak`: minutes at 70% of the measured load: latencies of each leg over time, and memory."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass

import click
from benchmark import machine, rest_load
from benchmark.figures import Figures, markdown, number, percentile, slope
from benchmark.home import Rooms, bench_house
from benchmark.observer import Seen
from benchmark.overload import REFUSALS
from benchmark.phases import Bench, Effort
from benchmark.rest_load import RestJob, RestReport
from benchmark.usage import Memory
from benchmark.workers import workers

from clearline.house.layout import ACQUIRER_ID

_SHARE = 0.7
_PEAK_SECONDS = 10.0
_LOOK = 5.0  # seconds between two looks at memory


@dataclass(frozen=True, slots=True)
class Look:
    """What the house held, and had spent in CPU seconds, at a monotonic time."""

    at: float
    memory: Memory
    spent: float


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice of the run: what was answered in it (201 a second; refused with 429 or 503, with
    any other answer or none), how long each leg took and what a payment cost (ms)."""

    minute: float
    posts: float
    refused: int
    errors: int
    post_p50: float
    post_p99: float
    result_p50: float
    result_p99: float
    cpu: float


@click.command()
@click.option("--minutes", type=click.FloatRange(0.2, 600), default=10.0, show_default=True)
@click.option("--rate", type=click.FloatRange(1, 5000), help="Posts a second, not 70% of a peak.")
@click.option("--engine", type=click.Choice(["embedded", "fabric"]), default="embedded")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def main(minutes: float, rate: float | None, engine: str, as_json: bool) -> None:
    """Offer single posts at 70% of what is measured first, through both gateways, to the end.

    Example: .venv/bin/python scripts/bench_soak.py --minutes 2
    """
    started = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - started:6.1f} s  {text}", err=True)

    with bench_house(engine) as house, workers() as pool:
        run = Bench(house, pool, Figures(), Effort(_PEAK_SECONDS, 1), {}, {}, say)
        house.use(Rooms.ALL)
        settings = machine.describe(house.topology, engine)
        wanted = rate or _SHARE * _peak(run)
        say(f"{wanted:.0f} posts a second for {minutes:g} minutes")
        slices, looks, left = _soak(run, wanted, minutes)
    if as_json:
        click.echo(json.dumps(_document(wanted, slices, looks, left), indent=1))
        return
    parts = [
        machine.listed(settings),
        f"{wanted:.0f} single posts a second offered; {left} payments without a result at the end.",
        _latencies(slices),
        _growth(looks),
    ]
    click.echo("\n\n".join(parts))


def _peak(run: Bench) -> float:
    """Payments a second that come to a result: that is the load the house can carry."""
    signing = run.bench.signing(ACQUIRER_ID)
    job = RestJob(run.doors, signing, 1, 96, _PEAK_SECONDS, int(400 * _PEAK_SECONDS))
    with run.observer() as observer:
        report = run.workers.run(rest_load.run, job)
        observer.wait_final(signing.prefix, 120)
        ends = [seen.final for seen in observer.payments(signing.prefix) if seen.final]
    return len(ends) / (max(ends) - report.start)


def _soak(run: Bench, rate: float, minutes: float) -> tuple[list[Slice], list[Look], int]:
    seconds = 60 * minutes
    signing = run.bench.signing(ACQUIRER_ID)
    # Signed as they go: ten minutes of prepared intents would fill the memory being watched.
    job = RestJob(run.doors, signing, 1, 512, seconds, 0, rate=rate)
    looks: list[Look] = []
    with run.observer() as observer:
        before = run.bench.meter.sample()
        running = run.workers.start(rest_load.run, job)
        while not running.done():
            spent = sum(run.bench.meter.spent(before).values())
            looks.append(Look(time.monotonic(), run.bench.meter.memory(), spent))
            time.sleep(_LOOK)
        report = running.result()
        observer.wait_final(signing.prefix, 120)
        seen = observer.payments(signing.prefix)
    left = sum(one.final is None for one in seen)
    return _slices(report, seen, looks, seconds), looks, left


def _slices(report: RestReport, seen: list[Seen], looks: list[Look], seconds: float) -> list[Slice]:
    width = min(60.0, seconds / 4)
    found = []
    for number_ in range(max(1, round(seconds / width))):
        since = report.start + number_ * width
        until = since + width
        shots = [shot for shot in report.shots if since <= shot.began < until]
        posts = [1000 * (shot.ended - shot.began) for shot in shots if shot.committed]
        legs = [
            1000 * (one.final - one.requested)
            for one in seen
            if one.requested is not None
            and one.final is not None
            and since <= one.requested < until
        ]
        found.append(
            Slice(
                (number_ + 1) * width / 60,
                len(posts) / width,
                sum(shot.status in REFUSALS for shot in shots),
                sum(not shot.committed and shot.status not in REFUSALS for shot in shots),
                percentile(posts, 0.5),
                percentile(posts, 0.99),
                percentile(legs, 0.5),
                percentile(legs, 0.99),
                1000 * _spent(looks, since, until) / max(1, len(posts)),
            )
        )
    return found


def _spent(looks: list[Look], since: float, until: float) -> float:
    """CPU seconds of a slice, by the looks nearest to its ends, brought to its length."""
    first, last = (min(looks, key=lambda look: abs(look.at - end)) for end in (since, until))
    seconds = last.at - first.at
    return (last.spent - first.spent) * (until - since) / seconds if seconds else math.nan


def _latencies(slices: list[Slice]) -> str:
    head = ["minute", "201/s", "429 or 503", "other answers", "POST to 201 p50", "p99 (ms)"]
    head += ["request to result p50", "p99 (ms)", "CPU, ms a payment"]
    rows = [
        [
            number(one.minute),
            number(one.posts),
            str(one.refused),
            str(one.errors),
            number(one.post_p50),
            number(one.post_p99),
            number(one.result_p50),
            number(one.result_p99),
            number(one.cpu),
        ]
        for one in slices
    ]
    return markdown(head, rows)


def _growth(looks: list[Look]) -> str:
    """First, last and slope of each stage's memory, the first quarter left out of the slope."""
    steady = looks[len(looks) // 4 :]
    rows = []
    for stage in sorted(looks[-1].memory.own):
        points = [((one.at - looks[0].at) / 60, one.memory.own.get(stage, 0.0)) for one in steady]
        ends = [look.memory for look in (looks[0], looks[-1])]
        own = [number(one.own.get(stage, 0.0)) for one in ends]
        mapped = [number(one.mapped.get(stage, 0.0)) for one in ends]
        rows.append([stage, *own, number(slope(points)), *mapped])
    head = ["memory, MiB", "allocated first", "last", "slope, MiB a minute"]
    return markdown([*head, "mapped files first", "last"], rows)


def _document(rate: float, slices: list[Slice], looks: list[Look], left: int) -> dict[str, object]:
    return {
        "rate": rate,
        "unfinished": left,
        "slices": [{name: getattr(one, name) for name in Slice.__slots__} for one in slices],
        "memory_mib": [
            {"second": one.at - looks[0].at, "own": one.memory.own, "mapped": one.memory.mapped}
            for one in looks
        ],
    }


if __name__ == "__main__":
    main()
