"""The rounds of `make bench`: the ledger's client, then the REST doors, then to the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmark import ledger_load, rest_load
from benchmark.figures import AtLeast, AtMost, Figures, percentile
from benchmark.home import BenchHouse, Rooms
from benchmark.intents import SINK, SubmitIntents
from benchmark.ledger_load import LedgerJob, LedgerReport
from benchmark.observer import Observer
from benchmark.rest_load import Door, RestJob, RestReport
from benchmark.usage import per_unit
from benchmark.workers import Workers
from clearline.house.layout import ACQUIRER_BANK, ACQUIRER_ID
from network import lifecycle
from network.home import Home

SINGLE = "ledger client: payments/s, 1 a transaction, 200 in flight"
GROUPED = "ledger client: payments/s, 100 a transaction, 20 in flight"
POSTS = "REST single posts: payments/s to the committed request, connector stopped"
POSTS_FINAL = "REST single posts: payments/s, connector on"
_WARM_UP = 1.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How long each measurement runs (seconds) and how many lone payments are timed."""

    seconds: float
    lone: int


@dataclass(slots=True)
class Bench:
    """What every phase needs; `cpu` holds the newest CPU per payment by measurement."""

    bench: BenchHouse
    workers: Workers
    figures: Figures
    effort: Effort
    cpu: dict[str, Mapping[str, float]]
    memory: dict[str, Mapping[str, float]]
    say: Callable[[str], None]

    @property
    def doors(self) -> tuple[Door, ...]:
        """The house's gateways."""
        house = self.bench.house
        return tuple(Door(one.url, house.tls_ca(one.bank)) for one in house.gateways)

    def observer(self) -> Observer:
        """From the next block on, at the Supervisor's peer."""
        house = self.bench.house
        heights = asyncio.run(lifecycle.heights(Home(house.home), self.bench.topology))
        first = max(height or 0 for height in heights.values())
        return Observer(house.profile("Supervisor", "auditor"), first)

    def post(
        self, job: RestJob, name: str, settled: Callable[[], object] = lambda: None
    ) -> RestReport:
        """Run a REST job and note CPU per payment under this name; `settled` waits for what it
        leaves behind, so that this is counted too."""
        before = self.bench.meter.sample()
        report = self.workers.run(rest_load.run, job)
        settled()
        spent = self.bench.meter.spent(before)
        self.cpu[name] = per_unit(spent, report.client_cpu, report.committed)
        return report


def ledger(run: Bench) -> None:
    """The ledger alone: no room runs."""
    run.bench.use(Rooms.NONE)
    seconds = run.effort.seconds
    single = _submit(run, "1 a transaction", 1, 200, int(600 * seconds))
    run.figures.add(SINGLE, "1/s", single.rate, AtLeast(150))
    run.figures.add("  transaction latency p50, 200 in flight", "ms", single.latency_ms(0.5))
    run.figures.add("  transaction latency p99, 200 in flight", "ms", single.latency_ms(0.99))
    grouped = _submit(run, "100 a transaction", 100, 20, int(60 * seconds))
    run.figures.add(GROUPED, "1/s", 100 * grouped.rate, AtLeast(2000))
    run.figures.add("  transaction latency p50, 20 in flight", "ms", grouped.latency_ms(0.5))
    ratio = 100 * grouped.rate / max(single.rate, 1e-9)
    run.figures.add("group commit: ledger client, of 1 a transaction", "x", ratio, AtLeast(10))
    lone = _submit(run, "lone", 1, 1, run.effort.lone)
    bar = AtMost(run.bench.topology.channel.batch.timeout_ms + 40)
    run.figures.add("lone payment: ledger leg p50", "ms", lone.latency_ms(0.5), bar)
    run.figures.add("lone payment: ledger leg p99", "ms", lone.latency_ms(0.99))
    _weigh(run, "network alone, after load")


def requests(run: Bench) -> None:
    """The doors, to the committed request, with no connector that could answer."""
    run.bench.use(Rooms.WITHOUT_CONNECTOR)
    _warm(run)
    posts = run.post(_job(run, SINK, 1, 96, int(500 * run.effort.seconds)), "single posts")
    run.figures.add(POSTS, "1/s", posts.committed_rate(_WARM_UP), AtLeast(300))
    answered = [shot.ended - shot.began for shot in posts.shots if shot.committed]
    run.figures.add("  POST to 201 p50, 96 in flight", "ms", 1000 * percentile(answered, 0.5))
    run.figures.add("  POST to 201 p99, 96 in flight", "ms", 1000 * percentile(answered, 0.99))
    batches = run.post(_job(run, SINK, 100, 12, int(4000 * run.effort.seconds)), "batch posts")
    rate = batches.committed_rate(_WARM_UP)
    raw = run.figures.last(GROUPED)
    run.figures.add("REST batches of 100: payments/s to the committed request", "1/s", rate)
    run.figures.add(
        "  to the committed request: ratio to the raw grouped rate", "x", rate / raw, AtLeast(0.6)
    )
    # Not of single posts: the commit queue groups those too.
    ratio = rate / run.figures.last(SINGLE)
    run.figures.add("group commit: batch posts, of 1 a transaction", "x", ratio, AtLeast(10))
    _ungrouped(run, rate)


def _ungrouped(run: Bench, grouped: float) -> None:
    """The same batch posts through gateways that may put one payment into a transaction, as many
    at a time as the ledger's client has: what grouping alone is worth on this way."""
    with run.bench.limits(transaction_items=1, transactions=100):
        _warm(run)
        # Four posts keep every place taken; twelve would each take longer than the window.
        job = _job(run, SINK, 100, 4, int(400 * run.effort.seconds))
        alone = run.post(job, "batch posts, 1 a transaction").committed_rate(_WARM_UP)
    name = "REST batches of 100, 1 a transaction: payments/s to the committed request"
    run.figures.add(name, "1/s", alone)
    ratio = grouped / max(alone, 1e-9)
    name = "group commit: batch posts, of batch posts at 1 a transaction"
    run.figures.add(name, "x", ratio, AtLeast(10))


def finals(run: Bench) -> None:
    """The whole way: until the acquirer's signed result is on the ledger."""
    run.bench.use(Rooms.ALL)
    _warm(run)
    with run.observer() as observer:
        posts = _job(run, ACQUIRER_ID, 1, 96, int(400 * run.effort.seconds))
        report = run.post(posts, "single posts, connector on", _settled(observer, posts))
        run.figures.add(POSTS_FINAL, "1/s", report.committed_rate(_WARM_UP))
        run.figures.add(
            "REST single posts: payments/s with a result", "1/s", _rate(observer, posts, report)
        )
        _final_latency(run, observer, posts)
        batches = _job(run, ACQUIRER_ID, 100, 12, int(2000 * run.effort.seconds))
        report = run.post(batches, "batch posts, connector on", _settled(observer, batches))
        rate = _rate(observer, batches, report)
        run.figures.add("REST batches of 100: payments/s to the final result", "1/s", rate)
        raw = run.figures.last(GROUPED)
        run.figures.add(
            "  to the final result: ratio to the raw grouped rate", "x", rate / raw, AtLeast(0.25)
        )
    waits = _job(run, ACQUIRER_ID, 1, 1, run.effort.lone, wait=30)
    report = run.workers.run(rest_load.run, waits)
    took = [1000 * (shot.ended - shot.began) for shot in report.shots if shot.committed]
    run.figures.add("lone payment: POST to the final answer, median", "ms", percentile(took, 0.5))
    run.figures.add("lone payment: POST to the final answer, p99", "ms", percentile(took, 0.99))
    _weigh(run, "whole house, after load")


def _submit(run: Bench, name: str, size: int, in_flight: int, transactions: int) -> LedgerReport:
    house = run.bench.house
    job = LedgerJob(
        house.profile(ACQUIRER_BANK, "gateway"),
        run.bench.topology.chaincode.name,
        SubmitIntents(run.bench.signing(SINK), size, transactions),
        in_flight,
        run.effort.seconds if in_flight > 1 else 60.0,
        warm_up=_WARM_UP if in_flight > 1 else 0.0,
    )
    before = run.bench.meter.sample()
    report = run.workers.run(ledger_load.run, job)
    if report.failures:
        run.say(f"{name}: {report.failures} transactions failed, first: {report.first_failure}")
    spent = run.bench.meter.spent(before)
    run.cpu[f"ledger client, {name}"] = per_unit(spent, report.client_cpu, size * report.sent)
    return report


def _job(
    run: Bench, acquirer_id: str, batch: int, in_flight: int, presign: int, wait: int = 0
) -> RestJob:
    signing = run.bench.signing(acquirer_id)
    seconds = run.effort.seconds
    return RestJob(run.doors, signing, batch, in_flight, seconds, presign, wait=wait)


def _weigh(run: Bench, when: str) -> None:
    held = run.bench.meter.memory()
    run.memory[f"{when}: allocated"] = held.own
    run.memory[f"{when}: mapped files"] = held.mapped


def _warm(run: Bench) -> None:
    """A second of load: new processes import and connect on their first requests."""
    signing = run.bench.signing(SINK)
    run.workers.run(rest_load.run, RestJob(run.doors, signing, 1, 32, 1.0, 500))


def _settled(observer: Observer, job: RestJob) -> Callable[[], object]:
    return lambda: observer.wait_final(job.signing.prefix, 90)


def _rate(observer: Observer, job: RestJob, report: RestReport) -> float:
    """Payments with a result a second, from the first post to the last result."""
    ends = [seen.final for seen in observer.payments(job.signing.prefix) if seen.final is not None]
    return len(ends) / max(1e-9, max(ends, default=report.end) - report.start)


def _final_latency(run: Bench, observer: Observer, job: RestJob) -> None:
    """The connector's leg under load: request committed to result committed."""
    legs = [
        1000 * (seen.final - seen.requested)
        for seen in observer.payments(job.signing.prefix)
        if seen.final is not None and seen.requested is not None
    ]
    run.figures.add("  request to result p50 on the ledger", "ms", percentile(legs, 0.5))
    run.figures.add("  request to result p99 on the ledger", "ms", percentile(legs, 0.99))
