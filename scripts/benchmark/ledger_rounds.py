"""Rounds of `make bench-ledger` on one engine: every contender under every load, in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmark import ledger_load
from benchmark.contenders import CONTRACT, Contender
from benchmark.figures import AtLeast, AtMost, Bar, Figures
from benchmark.home import BenchHouse
from benchmark.ledger_load import LedgerJob, LedgerReport
from benchmark.usage import attributed, by_stage, per_unit, seconds_of
from benchmark.workers import Workers
from clearline.house.layout import ACQUIRER_BANK


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of load. Transactions a second prepared for it: `most`, or for the contract, whose
    intents are signed one by one, `most_signed`."""

    name: str
    size: int
    in_flight: int
    most: int
    most_signed: int


SINGLE = Load("1 a transaction, 200 in flight", 1, 200, 900, 600)
GROUPED = Load("100 a transaction, 20 in flight", 100, 20, 200, 60)
LONE = Load("lone", 1, 1, 40, 40)
LOADS = (SINGLE, GROUPED, LONE)


@dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds of CPU a transaction, of the client too, and their sum `all`: one round's."""

    processes: Mapping[str, float]
    stages: Mapping[str, float]


@dataclass
class Run:
    """Figures of one engine; cpu: a `Spent` a round by contender and load."""

    engine: str
    bench: BenchHouse
    pool: Workers
    seconds: float
    say: Callable[[str], None]
    figures: Figures = field(default_factory=Figures)
    cpu: dict[tuple[str, str], list[Spent]] = field(default_factory=dict)

    def stages(self, contender: str, load: Load, stage: str) -> list[float]:
        """A stage's CPU a transaction, one a round."""
        return [one.stages.get(stage, 0.0) for one in self.cpu.get((contender, load.name), [])]


def play(run: Run, found: tuple[Contender, ...], number: int) -> None:
    """One round (`number` from 0): a load goes through all contenders before the next begins."""
    for load in LOADS:
        # Who goes first changes: each load finds the machine as the one before left it.
        turn = number % len(found)
        for one in (*found[turn:], *found[:turn]):
            run.say(f"{run.engine}, round {number + 1}: {one.name}, {load.name}")
            _note(run, one, load, _measure(run, one, load))


def rate_name(contender: str, load: Load) -> str:
    """The figure that holds a contender's payments a second."""
    return f"{contender}, {load.name}: payments/s"


def lone_name(contender: str) -> str:
    """The figure that holds a contender's median of lone transactions."""
    return f"{contender}, {LONE.name}: p50"


def _note(run: Run, one: Contender, load: Load, report: LedgerReport) -> None:
    name = f"{one.name}, {load.name}"
    if load is LONE:
        bar = AtMost(run.bench.topology.channel.batch.timeout_ms + 40)
        run.figures.add(lone_name(one.name), "ms", report.latency_ms(0.5), bar)
        run.figures.add(f"{name}: p99", "ms", report.latency_ms(0.99))
        return
    rate = load.size * report.rate
    run.figures.add(rate_name(one.name, load), "1/s", rate, _floor(run.engine, one.name, load))
    run.figures.add(f"{name}: latency p50", "ms", report.latency_ms(0.5))
    run.figures.add(f"{name}: latency p99", "ms", report.latency_ms(0.99))


def _floor(engine: str, contender: str, load: Load) -> Bar | None:
    """DESIGN.md section 8: floors of the real contract on the embedded engine."""
    if engine != "embedded" or contender != CONTRACT:
        return None
    return AtLeast(150) if load is SINGLE else AtLeast(2000)


def _measure(run: Run, one: Contender, load: Load) -> LedgerReport:
    lone = load is LONE
    most = load.most_signed if one.name == CONTRACT else load.most
    job = LedgerJob(
        run.bench.house.profile(ACQUIRER_BANK, "gateway"),
        one.chaincode,
        one.arguments(run.bench, load.size, int(most * run.seconds)),
        load.in_flight,
        run.seconds / 2 if lone else run.seconds,
        warm_up=0.0 if lone else 1.0,
    )
    meter = run.bench.meter
    before, own = meter.sample(), seconds_of(one.processes)
    report = run.pool.run(ledger_load.run, job)
    each = attributed(meter.spent_each(before), own, seconds_of(one.processes))
    if report.failures:
        run.say(f"  {report.failures} failed, first: {report.first_failure}")
    spent = Spent(
        per_unit(each, report.client_cpu, report.sent),
        per_unit(by_stage(each), report.client_cpu, report.sent),
    )
    run.cpu.setdefault((one.name, load.name), []).append(spent)
    return report
