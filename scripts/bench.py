"""`make bench`: the house's speed, as a Markdown table with the machine it was taken on.

A program, never a test: it fails for what it can't measure, not for a bar that doesn't hold.
See docs/performance.md for what each figure is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import click
from benchmark import machine, overload, phases, recovery
from benchmark.figures import Figures, markdown, number
from benchmark.home import bench_house
from benchmark.phases import Bench, Effort
from benchmark.workers import workers

_FULL = Effort(seconds=8.0, lone=100)
_QUICK = Effort(seconds=3.0, lone=20)


@click.command()
@click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True)
@click.option("--quick", is_flag=True, help="One short round, to see that it works.")
@click.option("--engine", type=click.Choice(["embedded", "fabric"]), default="embedded")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the tables.")
@click.option(
    "--only",
    type=click.Choice(["rounds", "overload", "recovery"]),
    multiple=True,
    help="Parts to run (default: all; with --quick: rounds).",
)
def main(rounds: int, quick: bool, engine: str, as_json: bool, only: tuple[str, ...]) -> None:
    """Measure a house of its own in a temporary folder on free ports; a few minutes.

    The bars hold on the median of five rounds: --rounds 5.

    Example: .venv/bin/python scripts/bench.py --rounds 5
    """
    parts = only or (("rounds",) if quick else ("rounds", "overload", "recovery"))
    started = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - started:6.1f} s  {text}", err=True)

    with bench_house(engine) as house, workers() as pool:
        effort = _QUICK if quick else _FULL
        run = Bench(house, pool, Figures(), effort, {}, {}, say)
        settings = machine.describe(house.topology, engine)
        for number_ in range(1 if quick else rounds):
            for phase in (phases.ledger, phases.requests, phases.finals):
                if "rounds" in parts:
                    say(f"round {number_ + 1}: {phase.__name__}")
                    phase(run)
            if "overload" in parts:
                say(f"round {number_ + 1}: overload, three times the peak")
                overload.measure(run)
        if "recovery" in parts:
            recovery.measure(run)
    if as_json:
        click.echo(json.dumps(_document(run, settings), indent=1))
    else:
        click.echo(_report(run, settings))


def _report(run: Bench, settings: tuple[machine.Setting, ...]) -> str:
    parts = [machine.listed(settings), run.figures.table()]
    if run.cpu:
        parts += ["CPU of each stage, milliseconds a payment:", _by_stage(run.cpu)]
    if run.memory:
        parts += ["Memory, MiB (proportional set size):", _by_stage(run.memory)]
    return "\n\n".join(parts)


def _by_stage(measured: Mapping[str, Mapping[str, float]]) -> str:
    stages = sorted({stage for values in measured.values() for stage in values if stage != "all"})
    rows = [
        [name, *(number(values[s]) if s in values else "" for s in stages), number(_sum(values))]
        for name, values in measured.items()
    ]
    return markdown(["", *stages, "all"], rows)


def _sum(values: Mapping[str, float]) -> float:
    return values["all"] if "all" in values else sum(values.values())


def _document(run: Bench, settings: tuple[machine.Setting, ...]) -> dict[str, object]:
    return {
        "machine": {setting.name: setting.value for setting in settings},
        "figures": run.figures.to_json(),
        "cpu_ms_per_payment": run.cpu,
        "memory_mib": run.memory,
    }


if __name__ == "__main__":
    main()
