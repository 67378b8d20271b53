"""What a supervisor starts and records: specifications, states, and pids that can be trusted.

A pid alone says nothing once its process may have ended: the number is given to somebody else. So
a process is always named by pid *and* start, and nothing is signalled unless both still match.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil

FORMAT: Final = 1
# In the environment of everything a supervisor starts: finds what a killed parent left behind.
MARK: Final = "CLEARLINE_SUPERVISED"
_LINUX: Final = platform.system() == "Linux"


class SpecError(ValueError):
    """A specification or state file that can't be understood."""


class State(StrEnum):
    """Where a supervised process stands."""

    WAITING = "waiting"  # for the processes it comes after
    STARTING = "starting"  # running, not ready yet
    READY = "ready"
    BACKOFF = "backoff"  # ended by itself, about to be started again
    STOPPED = "stopped"


@dataclass(frozen=True)
class Probe:
    """How to see that a process is ready.

    kind "tcp": target host:port accepts. "http": target URL answers 2xx or 3xx; `ca` is the PEM
    file that vouches for an https server. "file": target, or one of the files it names line by
    line, exists (they are deleted before a start).
    """

    kind: str
    target: str
    ca: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """What a probe of kind "file" looks for."""
        names = self.target.splitlines() if self.kind == "file" else ()
        return tuple(map(Path, names))


@dataclass(frozen=True)
class ProcessSpec:
    """One process: argv[0] is an absolute program; env is added to the supervisor's own.

    after: names of processes that must be ready before this one starts. ready_seconds: how long
    a start may take before it counts as failed (it is not killed).
    """

    name: str
    argv: tuple[str, ...]
    log: str
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    ready_seconds: float = 30.0


@dataclass(frozen=True)
class GroupSpec:
    """Processes that are started and stopped together.

    grace_seconds: between SIGTERM and SIGKILL when stopping. longest_backoff_seconds: what a
    process that keeps dying waits at most before it is started again.
    """

    group: str
    processes: tuple[ProcessSpec, ...]
    grace_seconds: float = 5.0
    longest_backoff_seconds: float = 2.0


@dataclass(frozen=True)
class ProcessId:
    """A process for good: its pid and its start.

    create_time: seconds since boot on Linux (the wall clock may be set, and psutil's value then
    moves with it), since 1970 elsewhere.
    """

    pid: int
    create_time: float


@dataclass(frozen=True)
class ProcessStatus:
    """A supervised process as last recorded; `last_exit` says how it ended before."""

    name: str
    state: State
    id: ProcessId | None
    restarts: int
    ports: Mapping[str, int]
    log: str
    last_exit: str | None = None
    early_exits: int = 0

    @property
    def ready(self) -> bool:
        return self.state is State.READY

    @property
    def alive(self) -> bool:
        return self.id is not None and alive(self.id)


@dataclass(frozen=True)
class GroupStatus:
    """A group as last recorded in run/<group>.json."""

    group: str
    boot: str
    token: str
    spec_sha256: str
    supervisor: ProcessId
    processes: tuple[ProcessStatus, ...]

    @property
    def supervised(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return self.boot == boot_id() and alive(self.supervisor)

    @property
    def ready(self) -> bool:
        return all(process.ready for process in self.processes)


@cache
def boot_id() -> str:
    """What tells this boot of the machine from any other, whatever is done to its clock."""
    with suppress(OSError):
        if _LINUX:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # macOS keeps such an id too; psutil's time of the boot would move with the clock.
        command = ["sysctl", "-n", "kern.bootsessionuuid"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            return asked.stdout.strip()
    return f"{psutil.boot_time():.0f}"


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now; None when there is none, or only a zombie."""
    if _LINUX:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        # proc(5): the name is in brackets and may hold anything; state is field 3, start 22.
        fields = text.rpartition(")")[2].split()
        if fields[0] in {"Z", "X"}:
            return None
        return ProcessId(pid, int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessId(pid, process.create_time())
    except psutil.Error:
        return None


def alive(process: ProcessId) -> bool:
    """Whether exactly this process still runs."""
    return identify(process.pid) == process


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Signal exactly this process; False when it is gone. Never reaches another one's pid."""
    if hasattr(os, "pidfd_open"):
        # The descriptor pins the process, so that the check can't be outrun by a new owner.
        try:
            handle = os.pidfd_open(process.pid)
        except OSError:
            return False
        try:
            if not alive(process):
                return False
            signal.pidfd_send_signal(handle, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
    if not alive(process):
        return False
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
        return True
    return False


def marked(mark: str) -> Iterator[ProcessId]:
    """Running processes whose environment carries the mark, or one that begins with `mark/`."""
    for process in psutil.process_iter():
        try:
            value = process.environ().get(MARK, "")
        except (psutil.Error, OSError):
            continue
        if value == mark or value.startswith(f"{mark}/"):
            found = identify(process.pid)
            if found is not None and found.pid != os.getpid():
                yield found


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file in one step: readers see the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
    Path(name).replace(path)


def spec_document(spec: GroupSpec) -> dict[str, Any]:
    """A specification as JSON."""
    return {
        "format": FORMAT,
        "group": spec.group,
        "grace_seconds": spec.grace_seconds,
        "longest_backoff_seconds": spec.longest_backoff_seconds,
        "processes": [
            {
                "name": item.name,
                "argv": list(item.argv),
                "log": item.log,
                "cwd": item.cwd,
                "env": dict(item.env),
                "probes": [
                    {"kind": probe.kind, "target": probe.target, "ca": probe.ca}
                    for probe in item.probes
                ],
                "ports": dict(item.ports),
                "after": list(item.after),
                "ready_seconds": item.ready_seconds,
            }
            for item in spec.processes
        ],
    }


def parse_spec(raw: Mapping[str, Any]) -> GroupSpec:
    """A specification from JSON. Raises SpecError."""
    try:
        return GroupSpec(
            group=raw["group"],
            grace_seconds=float(raw["grace_seconds"]),
            longest_backoff_seconds=float(raw["longest_backoff_seconds"]),
            processes=tuple(
                ProcessSpec(
                    name=item["name"],
                    argv=tuple(item["argv"]),
                    log=item["log"],
                    cwd=item["cwd"],
                    env=dict(item["env"]),
                    probes=tuple(Probe(**probe) for probe in item["probes"]),
                    ports=dict(item["ports"]),
                    after=tuple(item["after"]),
                    ready_seconds=float(item["ready_seconds"]),
                )
                for item in raw["processes"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"not a process specification: {error!r}") from error


def status_document(status: GroupStatus) -> dict[str, Any]:
    """run/<group>.json."""
    return {
        "format": FORMAT,
        "group": status.group,
        "boot": status.boot,
        "token": status.token,
        "spec_sha256": status.spec_sha256,
        "supervisor": _id_document(status.supervisor),
        "processes": {
            item.name: {
                **(_id_document(item.id) if item.id else {"pid": None, "create_time": None}),
                "state": item.state.value,
                "ready": item.ready,
                "restarts": item.restarts,
                "ports": dict(item.ports),
                "log": item.log,
                "last_exit": item.last_exit,
                "early_exits": item.early_exits,
            }
            for item in status.processes
        },
    }


def parse_status(raw: Mapping[str, Any]) -> GroupStatus:
    """run/<group>.json read back. Raises SpecError."""
    try:
        return GroupStatus(
            group=raw["group"],
            boot=raw["boot"],
            token=raw["token"],
            spec_sha256=raw["spec_sha256"],
            supervisor=_parse_id(raw["supervisor"]),
            processes=tuple(
                ProcessStatus(
                    name=name,
                    state=State(item["state"]),
                    id=None if item["pid"] is None else _parse_id(item),
                    restarts=int(item["restarts"]),
                    ports=dict(item["ports"]),
                    log=item["log"],
                    last_exit=item["last_exit"],
                    early_exits=int(item["early_exits"]),
                )
                for name, item in raw["processes"].items()
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(f"not a group's state: {error!r}") from error


def _id_document(process: ProcessId) -> dict[str, Any]:
    return {"pid": process.pid, "create_time": process.create_time}


def _parse_id(raw: Mapping[str, Any]) -> ProcessId:
    return ProcessId(int(raw["pid"]), float(raw["create_time"]))
