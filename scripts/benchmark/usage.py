"""CPU seconds and memory of a house's processes, by stage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from clearline import supervisor

GROUPS = ("network", "rooms")


def stage(process: str) -> str:
    """What a process is part of: `peer0.bankone` is `peer`."""
    if process.startswith("orderer"):
        return "orderer"
    if process.startswith("peer"):
        return "peer"
    for name in ("chaincode", "committer", "gateway", "notifier", "connector", "acquirer"):
        if process.startswith(name):
            return name
    return process


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU seconds spent until now by each process's own pid, children included."""

    seconds: Mapping[tuple[str, int], float]


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB by stage, each shared page counted in parts: what processes allocated themselves, and the
    files they map (ledgers, libraries), which are the system's cache and go when it wants them."""

    own: Mapping[str, float]
    mapped: Mapping[str, float]


class Meter:
    """Watches everything that the supervisors of a home run."""

    def __init__(self, home: Path) -> None:
        self._run = home / "run"

    def sample(self) -> Sample:
        """CPU seconds of every process now."""
        found = {}
        for name, process in self._processes():
            with suppress(psutil.Error):
                times = process.cpu_times()
                found[name, process.pid] = times.user + times.system
        return Sample(found)

    def spent(self, before: Sample) -> dict[str, float]:
        """CPU seconds by stage since a sample; a process that ended since counts for nothing."""
        return by_stage(self.spent_each(before))

    def spent_each(self, before: Sample) -> dict[str, float]:
        """The same by process, its children included: `peer0.bankone`, `orderer0`."""
        total: dict[str, float] = defaultdict(float)
        for (name, pid), seconds in self.sample().seconds.items():
            total[name] += seconds - before.seconds.get((name, pid), 0.0)
        return total

    def memory(self) -> Memory:
        """What every process holds now."""
        own: dict[str, float] = defaultdict(float)
        mapped: dict[str, float] = defaultdict(float)
        for name, process in self._processes():
            with suppress(psutil.Error, OSError):
                allocated, files = _held(process)
                own[stage(name)] += allocated
                mapped[stage(name)] += files
        return Memory(own, mapped)

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        for group in GROUPS:
            status = supervisor.status(self._run, group)
            for item in status.processes if status else ():
                if item.id is None:
                    continue
                with suppress(psutil.Error):
                    process = psutil.Process(item.id.pid)
                    yield item.name, process
                    for child in process.children(recursive=True):
                        yield item.name, child


def _held(process: psutil.Process) -> tuple[float, float]:
    """MiB of its own and of mapped files; all resident memory is its own where the system tells no
    better. Raises psutil.Error or OSError when it has gone."""
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    except FileNotFoundError:
        return process.memory_info().rss / 2**20, 0.0
    kib = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    return (kib["Pss"] - kib["Pss_File"]) / 1024, kib["Pss_File"] / 1024


def by_stage(each: Mapping[str, float]) -> dict[str, float]:
    """What processes spent, added up by stage."""
    total: dict[str, float] = defaultdict(float)
    for name, value in each.items():
        total[stage(name)] += value
    return total


def seconds_of(processes: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds until now of processes by name that no supervisor runs: name and pid.

    One that has ended is left out.
    """
    found = {}
    for name, pid in processes.items():
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            found[name] = times.user + times.system
    return found


def attributed(
    each: Mapping[str, float], before: Mapping[str, float], after: Mapping[str, float]
) -> dict[str, float]:
    """What a load spent by process, when processes of its own stood in for the contract's servers.

    Those only waited meanwhile, which is nobody's of this load: they are left out. before, after:
    CPU seconds of its own. Without any, it was the contract's load and all of `each` is its.
    """
    if not after:
        return dict(each)
    found = {name: value for name, value in each.items() if stage(name) != "chaincode"}
    return found | {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}


def per_unit(spent: Mapping[str, float], client: float, units: int) -> dict[str, float]:
    """Milliseconds of CPU for each payment or transaction, by stage, and their sum."""
    done = max(1, units)
    found = {name: 1000 * seconds / done for name, seconds in sorted(spent.items())}
    found["client"] = 1000 * client / done
    found["all"] = sum(found.values())
    return found
