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
from pathlib import Path

import click
from benchmark import comparison, machine
from benchmark.contenders import GO, contenders
from benchmark.home import Rooms, bench_house
from benchmark.ledger_rounds import Run, play
from benchmark.machine import Setting
from benchmark.workers import workers

Say = Callable[[str], None]


@click.command()
@click.option("--rounds", type=click.IntRange(1, 50), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(2, 120), default=6.0, show_default=True)
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

    measured = [_engine(name, rounds, seconds, say) for name in engines]
    runs = [run for run, _ in measured]
    compared = comparison.ratios(runs)
    if as_json:
        click.echo(json.dumps(comparison.document(runs, compared), indent=1))
        return
    parts: list[str] = []
    for run, settings in measured:
        parts += [machine.listed(settings), run.figures.table()]
        parts += [comparison.by_stage(run), comparison.by_process(run)]
    click.echo("\n\n".join([*parts, compared.table()]))


def _engine(name: str, rounds: int, seconds: float, say: Say) -> tuple[Run, tuple[Setting, ...]]:
    """All rounds on one engine, on a network of its own."""
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
            for number in range(rounds):
                began = time.monotonic()
                play(run, found, number)
                say(f"{name}, round {number + 1} took {time.monotonic() - began:.0f} s")
    return run, settings


if __name__ == "__main__":
    main()
