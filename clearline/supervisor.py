"""Starts a group of processes, keeps them running, and ends exactly those.

`start` launches a supervisor of its own in the background (`python -m clearline.keeper --spec
run/<group>.spec.json`): it outlives the terminal, starts the processes, waits until they are
ready, starts again what dies, and records everything in run/<group>.json. `stop` ends the group,
also when the supervisor itself was killed: what it started is known by pid and start.

It knows nothing of what it runs: no room is imported here.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from clearline.processes import (
    MARK,
    GroupSpec,
    GroupStatus,
    ProcessId,
    ProcessStatus,
    SpecError,
    State,
    alive,
    boot_id,
    marked,
    parse_status,
    send_signal,
    spec_document,
    write_json,
)

Progress = Callable[[ProcessStatus], None]

# A process that ends this often before it was ever ready won't get better by itself.
_EARLY_EXITS: Final = 3
_POLL_SECONDS: Final = 0.02
_LOG_TAIL_LINES: Final = 12
# Exit code of a supervisor that finds another one at work (BSD sysexits EX_TEMPFAIL).
BUSY: Final = 75


class SupervisorError(Exception):
    """A group that can't be started or stopped; `code` is stable, the text says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _ignore(_: ProcessStatus) -> None:
    """No progress wanted."""


def state_file(run: Path, group: str) -> Path:
    """Where the group's state is recorded."""
    return run / f"{group}.json"


def spec_file(run: Path, group: str) -> Path:
    """Where the group's specification is kept for its supervisor."""
    return run / f"{group}.spec.json"


def lock_file(run: Path, group: str) -> Path:
    """Locked (flock) by the group's supervisor for as long as it lives."""
    return run / f"{group}.lock"


def spec_digest(document: dict[str, Any]) -> str:
    """Hex SHA-256 of a specification, to tell whether a running group is the wanted one."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def status(run: Path, group: str) -> GroupStatus | None:
    """What was last recorded of the group; None when it was stopped or never started.

    Raises SupervisorError `unreadable_state`.
    """
    path = state_file(run, group)
    try:
        return parse_status(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, SpecError) as error:
        message = f"{path} can't be read ({error}): remove it when nothing of it runs"
        raise SupervisorError("unreadable_state", message) from error


def start(spec: GroupSpec, run: Path, progress: Progress = _ignore) -> GroupStatus:
    """Start the group and wait until every process is ready; harmless when it already runs.

    progress: called with a process's status whenever its state changes.
    Raises SupervisorError: `running_differently` when the group runs with another specification,
    `not_ready` with the log's end when a process fails to start (the group is stopped then).
    """
    document = spec_document(spec)
    digest = spec_digest(document)
    current = status(run, spec.group)
    if current is not None and current.supervised:
        if current.spec_sha256 != digest:
            raise SupervisorError(
                "running_differently",
                f'"{spec.group}" already runs with other settings: stop it first',
            )
        return _wait_ready(spec, run, current.token, progress)
    if current is not None:
        # Its supervisor was killed: nobody watches what is left, so it goes before a new start.
        _end_leftovers(current, spec.grace_seconds)
        state_file(run, spec.group).unlink(missing_ok=True)
    token = uuid.uuid4().hex
    write_json(spec_file(run, spec.group), document)
    if _launch(spec.group, run, token) == BUSY:
        # Somebody else started it in the same moment: theirs counts.
        running = _wait_state(spec.group, run)
        return _wait_ready(spec, run, running.token, progress)
    try:
        return _wait_ready(spec, run, token, progress)
    except SupervisorError:
        stop(run, spec.group)
        raise


def stop(run: Path, group: str, grace_seconds: float = 5.0, progress: Progress = _ignore) -> bool:
    """End the group's own processes, whether or not its supervisor lives.

    grace_seconds: between SIGTERM and SIGKILL where the supervisor is gone. Returns False when
    there was nothing to end. Raises SupervisorError `unreadable_state`.
    """
    current = status(run, group)
    if current is None:
        return False
    ended = False
    if current.boot == boot_id():
        if send_signal(current.supervisor, signal.SIGTERM):
            ended = True
            _wait_gone([current.supervisor], _patience(run, group, grace_seconds))
            send_signal(current.supervisor, signal.SIGKILL)
            _wait_gone([current.supervisor], grace_seconds)
        # It writes until its end: what it started last counts.
        current = status(run, group) or current
        ended = _end_leftovers(current, grace_seconds) or ended
    for process in current.processes:
        progress(process)
    state_file(run, group).unlink(missing_ok=True)
    return ended


def _patience(run: Path, group: str, grace_seconds: float) -> float:
    """How long a supervisor may take to stop its group: a grace for each wave, and some more."""
    try:
        raw = json.loads(spec_file(run, group).read_text(encoding="utf-8"))
        return float(raw["grace_seconds"]) * len(raw["processes"]) + 5.0
    except (OSError, ValueError, KeyError, TypeError):
        return grace_seconds + 5.0


def _end_leftovers(current: GroupStatus, grace_seconds: float) -> bool:
    """SIGTERM in reverse order, then SIGKILL, for what a dead supervisor left running."""
    if current.boot != boot_id():
        return False
    recorded = [process.id for process in reversed(current.processes) if process.id is not None]
    found = [process for process in recorded if alive(process)]
    # Started but not yet recorded, or the children of a recorded one.
    found += [process for process in marked(current.token) if process not in found]
    for process in found:
        send_signal(process, signal.SIGTERM)
    _wait_gone(found, grace_seconds)
    for process in [*found, *marked(current.token)]:
        send_signal(process, signal.SIGKILL)
    _wait_gone(found, grace_seconds)
    return bool(found)


def _wait_gone(processes: Iterable[ProcessId], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for process in processes:
        while alive(process) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def _launch(group: str, run: Path, token: str) -> int:
    """Run the supervisor's launcher, which returns once the supervisor is on its own."""
    environment = {key: value for key, value in os.environ.items() if key != MARK}
    log = run / f"{group}.supervisor.log"
    with log.open("ab") as output:
        # -P: the home has folders named like rooms, which must not be found as packages.
        command = [sys.executable, "-P", "-m", "clearline.keeper"]
        launched = subprocess.run(
            [*command, "--spec", str(spec_file(run, group)), "--token", token],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            check=False,
        )
    if launched.returncode not in {0, BUSY}:
        raise SupervisorError(
            "not_started", f"the supervisor did not start, see {log}:\n{_tail(str(log))}"
        )
    return launched.returncode


def _wait_state(group: str, run: Path, token: str | None = None) -> GroupStatus:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        current = status(run, group)
        if current is not None and token in {None, current.token}:
            return current
        time.sleep(_POLL_SECONDS)
    log = run / f"{group}.supervisor.log"
    raise SupervisorError("not_started", f"the supervisor says nothing, see {log}")


def _wait_ready(spec: GroupSpec, run: Path, token: str, progress: Progress) -> GroupStatus:
    """Follow the state file until all are ready, or one has failed, or time is up."""
    current = _wait_state(spec.group, run, token)
    # Each process has its own limit, counted from its start; this one ends a supervisor that
    # no longer starts anything.
    deadline = time.monotonic() + 10 + sum(item.ready_seconds for item in spec.processes)
    seen: dict[str, State] = {}
    limits = {item.name: item.ready_seconds for item in spec.processes}
    waits: dict[str, float] = {}
    while True:
        for process in current.processes:
            if seen.get(process.name) is not process.state:
                seen[process.name] = process.state
                progress(process)
            _fail_if_hopeless(process, waits, limits)
        if current.ready:
            return current
        if not current.supervised:
            raise SupervisorError("not_ready", f'the supervisor of "{spec.group}" ended')
        if time.monotonic() > deadline:
            raise SupervisorError("not_ready", f'"{spec.group}" is not ready in time')
        time.sleep(_POLL_SECONDS)
        current = _wait_state(spec.group, run, token)


def _fail_if_hopeless(
    process: ProcessStatus, waits: dict[str, float], limits: dict[str, float]
) -> None:
    if process.early_exits >= _EARLY_EXITS:
        raise SupervisorError(
            "not_ready",
            f"{process.name} ended {process.early_exits} times while starting "
            f"({process.last_exit}). The end of {process.log}:\n{_tail(process.log)}",
        )
    if process.state is not State.STARTING:
        return
    since = waits.setdefault(process.name, time.monotonic())
    if time.monotonic() - since > limits[process.name]:
        raise SupervisorError(
            "not_ready",
            f"{process.name} is not ready after {limits[process.name]:g} s. "
            f"The end of {process.log}:\n{_tail(process.log)}",
        )


def _tail(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"  ({error})"
    return "\n".join(f"  {line}" for line in lines[-_LOG_TAIL_LINES:])
