"""A crash run: load, strikes, recoveries, and what was told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from crash_load import Client, clients, load, until_newer
from crash_network import Network
from crash_plan import ALONE, Cast, Round, plan
from ledger_audit import Told
from queue_witness import Witness

RECOVERY_SECONDS = 30.0
"""The patience of a run: after this a round ends it."""
BAR_SECONDS = 5.0
"""After any one kill, held by each kind's median."""
BUSY_SECONDS = 15.0
"""After any one kill at most, also on a machine that does a lot of other things."""
ALONE_TIMES = 3
"""Each kind of process is killed alone so often at least."""


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

    def alone(self) -> dict[str, list[float]]:
        """The recoveries after one kill, in seconds, by the kind of process."""
        return {
            kind: [seconds for names, seconds in self.recoveries if names == kind] for kind in ALONE
        }

    def goes_on(self) -> bool:
        """Whether too few were killed so far, in all or of a kind alone."""
        fewest = min(len(found) for found in self.alone().values())
        return self.killed < self.planned or fewest < ALONE_TIMES


def crash(run: Run, folder: Path, seed: int) -> None:
    """Load the network and kill until `run.planned` processes were, each kind alone ALONE_TIMES;
    fills `run`."""
    cast = Cast(run.network.orderer, run.network.peers, run.network.servers)
    asyncio.run(_crash(run, folder, plan(seed, cast), seed))


async def _crash(run: Run, folder: Path, rounds: Iterator[Round], seed: int) -> None:
    async with clients(run.network, folder, seed, run.witness) as found:
        async with load(found):
            await until_newer(found, 0.0, RECOVERY_SECONDS)
            while run.goes_on():
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
    for kind, found in run.alone().items():
        times = ", ".join(f"{seconds:.2f}" for seconds in found)
        middle = median(found) if found else 0.0
        lines.append(f"{kind} alone: median {middle:.2f} s of {times} (bar {BAR_SECONDS} s)")
    lines.append(f"{run.killed} kills, {run.sent} items, {run.resubmitted} resubmissions")
    return "\n".join(lines)
