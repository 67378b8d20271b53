"""What `make bench-ledger` compares within a run: CPU tables, the shims, the client, the engines.

A ratio of shims is taken within each round, one of engines between rounds of one number, and the
median is held against the goal. The engines run one after the other: a machine that changes its
speed meanwhile is in their ratios, and the CPU of both tells it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmark.contenders import CONTRACT, GO, PYTHON
from benchmark.figures import AtLeast, AtMost, Below, Figures, markdown, number
from benchmark.ledger_rounds import GROUPED, LOADS, SINGLE, Run, lone_name, rate_name

CONTENDERS = (CONTRACT, PYTHON, GO)
_STAGES = ("client", "peer", "orderer", "chaincode", "all")


def by_stage(run: Run) -> str:
    """CPU a transaction, all processes of a kind together: medians of the rounds."""
    rows = [
        [
            f"{contender}, {load.name}",
            *(number(_median(run.stages(contender, load, stage))) for stage in _STAGES),
        ]
        for load in LOADS
        for contender in CONTENDERS
        if (contender, load.name) in run.cpu
    ]
    title = f"{run.engine}: CPU, ms a transaction (median; all of a kind together)"
    return markdown([title, *_STAGES], rows)


def by_process(run: Run) -> str:
    """CPU a transaction of each process, by the node's name: medians of the rounds."""
    taken = [
        (f"{contender}, {load.name}", run.cpu[contender, load.name])
        for load in LOADS
        for contender in CONTENDERS
        if (contender, load.name) in run.cpu
    ]
    found = {name for _, rounds in taken for one in rounds for name in one.processes}
    names = ["client", *sorted(found - {"client", "all"}), "all"]
    rows = [
        [
            label,
            *(number(_median([one.processes.get(name, 0.0) for one in rounds])) for name in names),
        ]
        for label, rounds in taken
    ]
    return markdown([f"{run.engine}: CPU of each process, ms a transaction (median)", *names], rows)


def ratios(runs: Sequence[Run]) -> Figures:
    """Our shim of Go's, the client's CPU, embedded of `fabric`, each with its goal."""
    figures = Figures()
    for run in runs:
        for load, goal in ((SINGLE, AtMost(1.2)), (GROUPED, Below(1.0))):
            name = f"{run.engine}, {load.name}: our shim's CPU, of the Go shim's"
            pairs = (run.stages(shim, load, "chaincode") for shim in (PYTHON, GO))
            for ours, theirs in zip(*pairs, strict=False):
                figures.add(name, "x", ours / theirs, goal)
        for contender in (CONTRACT, PYTHON):
            for value in run.stages(contender, SINGLE, "client"):
                name = f"{run.engine}, {contender}, {SINGLE.name}: client's CPU a transaction"
                figures.add(name, "ms", value, AtMost(1.0))
    if len(runs) == 2:
        _engines(figures, *runs)
    return figures


def _engines(figures: Figures, one: Run, other: Run) -> None:
    """Rates and lone latency of the first engine, of the second's: round by round."""
    between = f"{one.engine}, of {other.engine}"
    for contender in CONTENDERS:
        for load in (SINGLE, GROUPED):
            name = rate_name(contender, load)
            pairs = zip(one.figures.samples(name), other.figures.samples(name), strict=False)
            for ours, theirs in pairs:
                figures.add(f"{between}: {name}", "x", ours / theirs, AtLeast(1.0))
        name = lone_name(contender)
        pairs = zip(one.figures.samples(name), other.figures.samples(name), strict=False)
        for ours, theirs in pairs:
            figures.add(f"{between}: {name}", "x", ours / theirs, AtMost(1.0))
    for contender in CONTENDERS:
        for load in (SINGLE, GROUPED):
            costs = (run.stages(contender, load, "all") for run in (one, other))
            for ours, theirs in zip(*costs, strict=False):
                figures.add(f"{between}: {contender}, {load.name}: all CPU", "x", ours / theirs)


def document(runs: Sequence[Run], compared: Figures) -> dict[str, object]:
    """All of it as JSON values."""
    return {
        "engines": {
            run.engine: {
                "figures": run.figures.to_json(),
                "cpu_ms_per_transaction": {
                    ": ".join(key): [
                        {"processes": dict(one.processes), "stages": dict(one.stages)}
                        for one in rounds
                    ]
                    for key, rounds in run.cpu.items()
                },
            }
            for run in runs
        },
        "comparison": compared.to_json(),
    }


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")
