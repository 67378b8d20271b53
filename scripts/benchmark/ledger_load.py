"""A load of transactions through clearline.fabric: closed loop, in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import uvloop

from benchmark.figures import percentile
from clearline.fabric.errors import FabricError
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile


class Arguments(Protocol):
    """What the transactions call: a function, and one argument each, made before the start."""

    @property
    def function(self) -> str:
        """The contract function."""

    def make(self) -> list[str]:
        """The arguments, one a transaction."""


@dataclass(frozen=True, slots=True)
class LedgerJob:
    """in_flight transactions at a time for `seconds`; the first `warm_up` don't count."""

    profile: Path
    chaincode: str
    arguments: Arguments
    in_flight: int
    seconds: float
    warm_up: float = 1.0


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What was measured, in seconds. `transactions` completed in the counted window of `seconds`;
    `sent` in all, and `client_cpu` for all of them."""

    transactions: int
    seconds: float
    latencies: tuple[float, ...]
    sent: int
    client_cpu: float
    failures: int
    first_failure: str

    @property
    def rate(self) -> float:
        """Transactions a second."""
        return self.transactions / self.seconds

    def latency_ms(self, share: float) -> float:
        """A percentile of endorse + submit + commit, in milliseconds."""
        return 1000 * percentile(self.latencies, share)


def run(job: LedgerJob) -> LedgerReport:
    """Do the job; called in a worker process."""
    arguments = job.arguments.make()
    # Thousands of prepared texts would be walked again by every full collection.
    gc.collect()
    gc.freeze()
    try:
        report: LedgerReport = uvloop.run(_run(job, arguments))
    finally:
        gc.unfreeze()
    return report


async def _run(job: LedgerJob, arguments: list[str]) -> LedgerReport:
    profile = Profile.load(job.profile)
    done: list[tuple[float, float]] = []
    failures: list[str] = []
    async with Gateway.connect(profile) as gateway, AsyncExitStack() as following:
        network = gateway.network(profile.channel)
        contract = network.contract(job.chaincode)
        if job.in_flight > 1:
            stream = await following.enter_async_context(network.commit_stream())
            await stream.opened()
        left = iter(arguments)
        cpu, start = time.process_time(), time.monotonic()
        end = start + job.seconds

        async def work(left: Iterator[str]) -> None:
            while (began := time.monotonic()) < end and (argument := next(left, None)) is not None:
                try:
                    await contract.submit(job.arguments.function, argument)
                    done.append((began, time.monotonic()))
                except FabricError as error:
                    failures.append(str(error))

        await asyncio.gather(*(work(left) for _ in range(job.in_flight)))
        stopped = time.monotonic()
        cpu = time.process_time() - cpu
    until = min(end, stopped)
    since = min(start + job.warm_up, until)
    counted = [(a, b) for a, b in done if since < b <= until]
    return LedgerReport(
        transactions=len(counted),
        seconds=max(1e-9, until - since),
        latencies=tuple(b - a for a, b in counted),
        sent=len(done) + len(failures),
        client_cpu=cpu,
        failures=len(failures),
        first_failure=failures[0] if failures else "",
    )
