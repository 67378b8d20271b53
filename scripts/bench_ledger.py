"""`make bench-ledger`: both engines and both shims in one run, as Markdown tables.

The same topology file, batch settings, policy and client everywhere. The machine's own speed
drifts, so a round goes through all chaincodes before the next one begins: compare ratios.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil
from benchmark import ledger_load, machine
from benchmark.contenders import CONTRACT, GO, PYTHON, Contender, contenders
from benchmark.figures import AtLeast, AtMost, Bar, Figures, markdown, number
from benchmark.home import BenchHouse, Rooms, bench_house
from benchmark.ledger_load import LedgerJob
from benchmark.usage import per_unit
from benchmark.workers import Workers, workers

from clearline.house.layout import ACQUIRER_BANK


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of load; `most` transactions a second are prepared for it."""

    name: str
    size: int
    in_flight: int
    most: int


SINGLE = Load("1 a transaction, 200 in flight", 1, 200, 600)
GROUPED = Load("100 a transaction, 20 in flight", 100, 20, 120)
LONE = Load("lone", 1, 1, 40)


@dataclass
class Run:
    """Figures of one engine; cpu: milliseconds a transaction by contender, load and stage."""

    engine: str
    bench: BenchHouse
    pool: Workers
    seconds: float
    say: Callable[[str], None]
    figures: Figures = field(default_factory=Figures)
    cpu: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=dict)

    def mean(self, contender: str, load: Load, stage: str) -> float:
        """A stage's CPU a transaction over all rounds."""
        taken = self.cpu.get((contender, load.name), [])
        return sum(one.get(stage, 0.0) for one in taken) / max(1, len(taken))


@click.command()
@click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(2, 120), default=8.0, show_default=True)
@click.option("--engine", type=click.Choice(["embedded", "fabric"]), multiple=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def main(rounds: int, seconds: float, engine: tuple[str, ...], as_json: bool) -> None:
    """Measure the ledger alone on each engine: `fabric` too when FABRIC_BIN is set.

    Example: FABRIC_BIN=/opt/fabric/bin .venv/bin/python scripts/bench_ledger.py --rounds 5
    """
    engines = engine or (("embedded", "fabric") if os.environ.get("FABRIC_BIN") else ("embedded",))
    started = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - started:6.1f} s  {text}", err=True)

    runs = []
    parts: list[str] = []
    for name in engines:
        with (
            bench_house(name) as bench,
            workers() as pool,
            tempfile.TemporaryDirectory(prefix="clearline-bench-") as folder,
        ):
            bench.use(Rooms.NONE)
            settings = machine.describe(bench.topology, name)
            run = Run(name, bench, pool, seconds, say)
            with contenders(bench, Path(folder)) as found:
                if GO not in {one.name for one in found}:
                    say("there is no Go here: the Go shim is left out")
                for number_ in range(rounds):
                    _round(run, found, number_)
        runs.append(run)
        parts += [machine.listed(settings), run.figures.table(), _stages(run)]
    comparison = _compare(runs)
    if as_json:
        click.echo(json.dumps(_document(runs, comparison), indent=1))
    else:
        click.echo("\n\n".join([*parts, comparison.table()]))


def _round(run: Run, found: tuple[Contender, ...], number_: int) -> None:
    floors: dict[tuple[str, str], Bar] = {}
    if run.engine == "embedded":
        floors = {(CONTRACT, SINGLE.name): AtLeast(150), (CONTRACT, GROUPED.name): AtLeast(2000)}
    lone_bar = AtMost(run.bench.topology.channel.batch.timeout_ms + 40)
    for load in (SINGLE, GROUPED, LONE):
        for one in found:
            run.say(f"{run.engine}, round {number_ + 1}: {one.name}, {load.name}")
            report = _measure(run, one, load)
            name = f"{one.name}, {load.name}"
            if load is LONE:
                run.figures.add(f"{name}: p50", "ms", report.latency_ms(0.5), lone_bar)
                run.figures.add(f"{name}: p99", "ms", report.latency_ms(0.99))
                continue
            rate = load.size * report.rate
            run.figures.add(f"{name}: payments/s", "1/s", rate, floors.get((one.name, load.name)))
            run.figures.add(f"{name}: latency p50", "ms", report.latency_ms(0.5))
            run.figures.add(f"{name}: latency p99", "ms", report.latency_ms(0.99))


def _measure(run: Run, one: Contender, load: Load) -> ledger_load.LedgerReport:
    lone = load is LONE
    job = LedgerJob(
        run.bench.house.profile(ACQUIRER_BANK, "gateway"),
        one.chaincode,
        one.arguments(run.bench, load.size, int(load.most * run.seconds)),
        load.in_flight,
        run.seconds / 2 if lone else run.seconds,
        warm_up=0.0 if lone else 1.0,
    )
    meter, own = run.bench.meter, _seconds(one.pids)
    before = meter.sample()
    report = run.pool.run(ledger_load.run, job)
    spent = meter.spent(before)
    spent["chaincode"] += _seconds(one.pids) - own
    if report.failures:
        run.say(f"  {report.failures} failed, first: {report.first_failure}")
    stages = per_unit(spent, report.client_cpu, report.sent)
    run.cpu.setdefault((one.name, load.name), []).append(stages)
    return report


def _seconds(pids: tuple[int, ...]) -> float:
    total = 0.0
    for pid in pids:
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def _stages(run: Run) -> str:
    stages = ("client", "peer", "orderer", "chaincode", "all")
    rows = [
        [f"{contender}, {load.name}", *(number(run.mean(contender, load, s)) for s in stages)]
        for load in (SINGLE, GROUPED, LONE)
        for contender in (CONTRACT, PYTHON, GO)
        if (contender, load.name) in run.cpu
    ]
    head = [f"{run.engine}: CPU, ms a transaction (all nodes of a kind together)", *stages]
    return markdown(head, rows)


def _compare(runs: list[Run]) -> Figures:
    """Ratios within the run: the shims' CPU, the client's, the engines'."""
    figures = Figures()
    for run in runs:
        for load, bar in ((SINGLE, 1.2), (GROUPED, 1.0)):
            ours, theirs = (run.mean(name, load, "chaincode") for name in (PYTHON, GO))
            if theirs:
                name = f"{run.engine}, {load.name}: our shim's CPU, of the Go shim's"
                figures.add(name, "x", ours / theirs, AtMost(bar))
        client = run.mean(PYTHON, SINGLE, "client")
        figures.add(f"{run.engine}: client CPU a transaction", "ms", client, AtMost(1.0))
    if len(runs) == 2:
        for load in (SINGLE, GROUPED):
            name = f"{PYTHON}, {load.name}: payments/s"
            ratio = runs[0].figures.median(name) / runs[1].figures.median(name)
            label = f"{runs[0].engine}, of {runs[1].engine}: {load.name}"
            figures.add(label, "x", ratio, AtLeast(1.0))
    return figures


def _document(runs: list[Run], comparison: Figures) -> dict[str, object]:
    return {
        "engines": {
            run.engine: {
                "figures": run.figures.to_json(),
                "cpu_ms_per_transaction": {": ".join(key): taken for key, taken in run.cpu.items()},
            }
            for run in runs
        },
        "comparison": comparison.to_json(),
    }


if __name__ == "__main__":
    main()
