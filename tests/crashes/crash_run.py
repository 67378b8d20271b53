"""A crash run: load, strikes, recoveries, and what was told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crash_load import Client, clients, load, until_newer
from crash_network import Network
from crash_plan import ALONE, Cast, Round, plan
from ledger_audit import Told
from queue_witness import Witness

RECOVERY_SECONDS = 30.0
"""For a machine that does a lot of other things; the bar itself is in the report."""
BAR_SECONDS = 5.0


@dataclass
class Run:
    """What a crash run left: a stopped network and all that clients were told."""

    network: Network
    planned: int
    killed: int = 0
    recoveries: list[tuple[str, float]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    sent: int = 0
    resubmitted: int = 0
    witness: Witness = field(default_factory=Witness)


def crash(run: Run, folder: Path, seed: int) -> None:
    """Load the network and kill until `run.planned` processes were; fills `run`."""
    cast = Cast(run.network.orderer, run.network.peers, run.network.servers)
    asyncio.run(_crash(run, folder, plan(seed, cast), seed))


async def _crash(run: Run, folder: Path, rounds: Iterator[Round], seed: int) -> None:
    async with clients(run.network, folder, seed, run.witness) as found:
        async with load(found):
            await until_newer(found, 0.0, RECOVERY_SECONDS)
            while run.killed < run.planned:
                await _round(run, found, next(rounds))
        await run.network.until_level(RECOVERY_SECONDS)
        for client in found:
            run.told += client.told
            run.refused += client.refused
            run.sent += client.sent
            run.resubmitted += client.queue.stats().batches.resubmitted


async def _round(run: Run, found: list[Client], strikes: Round) -> None:
    names = []
    for strike in strikes:
        await asyncio.sleep(strike.after_seconds)  # the moment that the seed chose
        run.killed += len(run.network.kill(strike.names))
        moment = time.monotonic()
        names.append(strike.kind)
    await until_newer(found, moment, RECOVERY_SECONDS)
    run.recoveries.append((", ".join(names), time.monotonic() - moment))
    await run.network.until_ready(RECOVERY_SECONDS)


def report(run: Run) -> str:
    """One line a round: what was killed and how long until everybody committed again."""
    lines = [f"{seconds:6.2f} s  {names}" for names, seconds in run.recoveries]
    single = [seconds for names, seconds in run.recoveries if names in ALONE]
    lines.append(
        f"{run.killed} kills, {run.sent} items, {run.resubmitted} resubmissions; after one kill "
        f"at most {max(single, default=0.0):.2f} s (bar {BAR_SECONDS} s)"
    )
    return "\n".join(lines)
