"""A sync comes before each acknowledgement that promises durability.

A process makes every promise once and notes what it stores (recorder.py); under strace, where
there is one, its system calls are noted too. The same again with two planted bugs, each of which
must be seen at every promise: nothing is synced, and the promise comes first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import promises
import pytest
import system_calls
from promises import PROMISES, Promise, Store
from recorder import Event, Kind, Mode

PROGRAM = Path(__file__).with_name("durability_process.py")
NOT_SYNCED = {"what was stored was not synced", "the file was not synced before its rename"}
TOO_EARLY = {"nothing was stored before", "the folder was not synced"}
FINDINGS = {Mode.HONEST: {""}, Mode.UNSYNCED: NOT_SYNCED, Mode.EARLY: TOO_EARLY}


@dataclass(frozen=True)
class Run:
    """What a run noted, and its system calls (none without strace)."""

    events: list[Event]
    calls: list[str]


Runs = Callable[[Mode], Run]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run of each mode, once."""

    @cache
    def run(mode: Mode) -> Run:
        folder = tmp_path_factory.mktemp(f"durability-{mode}")
        trace = folder / "trace"
        command = [sys.executable, "-W", "error", str(PROGRAM), mode, str(folder)]
        traced = system_calls.tracer(trace)
        done = subprocess.run([*traced, *command], capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        found = json.loads((folder / "events.json").read_text())
        events = [Event(Kind(kind), name, durable) for kind, name, durable in found]
        return Run(events, trace.read_text().splitlines() if traced else [])

    return run


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name.replace(" ", "-"))
def test_what_is_promised_is_stored(runs: Runs, mode: Mode, promise: Promise) -> None:
    assert promises.broken(runs(mode).events, promise) in FINDINGS[mode]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name.replace(" ", "-"))
def test_the_system_was_asked_to_sync(runs: Runs, mode: Mode, promise: Promise) -> None:
    calls = runs(mode).calls
    if not calls:
        pytest.skip("there is no strace that may trace: system calls aren't seen")
    assert system_calls.broken(calls, promise) in FINDINGS[mode]


def test_two_steps_need_two_commits() -> None:
    """A payment is in the outbox before it is noted as being sent: the first alone won't do."""
    promise = Promise("sent", "", Store.SQLITE, "*/o.db", commits=2)
    begin, told = Event(Kind.BEGIN, "sent"), Event(Kind.TOLD, "sent")
    commit = Event(Kind.COMMITTED, "/a/o.db")
    assert promises.broken([begin, commit, commit, told], promise) == ""
    assert promises.broken([begin, commit, told, commit], promise) == "nothing was stored before"
    calls = [
        '7 write(3</m>, "begin sent\\n", 11) = 11',
        "7     pwrite64(4</a/o.db-wal>, 24) = 24",
        "8 fdatasync(4</a/o.db-wal> <unfinished ...>",
        "7     pwrite64(5</a/other>, 24) = 24",
        "8 <... fdatasync resumed>) = 0",
        '7 write(3</m>, "told sent\\n", 10) = 10',
    ]
    assert system_calls.broken(calls, promise) == "what was stored was not synced"
    assert system_calls.broken(calls[:5] + calls[1:], promise) == ""
