"""The supervisor's own process: starts a group, keeps it running, records it, ends it.

Run as `python -m clearline.keeper --spec FILE`. It forks once and leaves the caller's session,
so that it outlives the terminal; SIGTERM ends the group and then itself.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import signal
import ssl
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from clearline.processes import (
    MARK,
    GroupSpec,
    GroupStatus,
    Probe,
    ProcessId,
    ProcessSpec,
    ProcessStatus,
    State,
    boot_id,
    identify,
    marked,
    parse_spec,
    send_signal,
    status_document,
    write_json,
)
from clearline.supervisor import BUSY, lock_file, spec_digest, state_file

# The first restart is at once: recovery is held to 5 s. What keeps dying waits longer each time.
_FIRST_BACKOFF: Final = 0.1
# What was ready for so long did not die of its start: the next fault is a first one again.
_STEADY_SECONDS: Final = 3.0
_PROBE_SECONDS: Final = 0.03
_PROBE_TIMEOUT: Final = 2.0
_MAX_LOG_BYTES: Final = 10 * 1024 * 1024


def next_wait(before: float, ready: float, longest: float) -> float:
    """Seconds until a process that has ended is started again.

    before: seconds it waited for the life that ended, 0 for the first. ready: for how many seconds
    of it the process was. longest: the most it ever waits.
    """
    if not before or ready > _STEADY_SECONDS:
        return _FIRST_BACKOFF
    return min(before * 2, longest)


class _Group:
    """The state of one supervised group, written to its file at every change."""

    def __init__(self, spec: GroupSpec, run: Path, token: str, digest: str) -> None:
        own = identify(os.getpid())
        if own is None:
            raise RuntimeError("this process can't be identified")
        self.spec, self.run = spec, run
        self.ready = {item.name: asyncio.Event() for item in spec.processes}
        self._status = GroupStatus(
            group=spec.group,
            boot=boot_id(),
            token=token,
            spec_sha256=digest,
            supervisor=own,
            processes=tuple(
                ProcessStatus(item.name, State.WAITING, None, 0, item.ports, item.log)
                for item in spec.processes
            ),
        )
        self._write()

    @property
    def token(self) -> str:
        return self._status.token

    def process(self, name: str) -> ProcessStatus:
        return next(item for item in self._status.processes if item.name == name)

    def update(self, changed: ProcessStatus) -> None:
        processes = tuple(
            changed if item.name == changed.name else item for item in self._status.processes
        )
        self._status = replace(self._status, processes=processes)
        if changed.ready:
            self.ready[changed.name].set()
        else:
            self.ready[changed.name].clear()
        self._write()

    def _write(self) -> None:
        write_json(state_file(self.run, self.spec.group), status_document(self._status))

    def forget(self) -> None:
        state_file(self.run, self.spec.group).unlink(missing_ok=True)


class _Keeper:
    """Keeps one process running until told to stop."""

    def __init__(self, group: _Group, spec: ProcessSpec) -> None:
        self._group, self._spec = group, spec
        self._stopping = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None
        self._ready_at: float | None = None  # time.monotonic(), in this life

    async def keep(self) -> None:
        """Start the process when those before it are ready; again whenever it ends."""
        for name in self._spec.after:
            await self._group.ready[name].wait()
        wait = 0.0
        while not self._stopping.is_set():
            self._ready_at = None
            await self._live()
            if self._stopping.is_set():
                break
            ready = 0.0 if self._ready_at is None else time.monotonic() - self._ready_at
            wait = next_wait(wait, ready, self._group.spec.longest_backoff_seconds)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
        self._change(State.STOPPED)

    async def _live(self) -> None:
        """One life of the process, from its start to its end."""
        spec = self._spec
        _forget_files(spec.probes)
        try:
            child = await self._spawn()
        except OSError as error:
            self._ended(f"could not be started: {error}")
            return
        self._child = child
        if self._stopping.is_set():
            child.terminate()  # told to stop while it was being started
        self._started(identify(child.pid))
        probing = asyncio.create_task(self._become_ready())
        try:
            code = await child.wait()
        finally:
            probing.cancel()
            self._child = None
        # Its own children (workers that hold its port) must not outlive it.
        _kill_marked(self._mark)
        self._ended(_describe_exit(code))

    @property
    def _mark(self) -> str:
        return f"{self._group.token}/{self._spec.name}"

    async def _spawn(self) -> asyncio.subprocess.Process:
        spec = self._spec
        with _open_log(Path(spec.log)) as log:
            return await asyncio.create_subprocess_exec(
                *spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=spec.cwd,
                env={**os.environ, **spec.env, MARK: self._mark},
                start_new_session=True,
            )

    async def _become_ready(self) -> None:
        for probe in self._spec.probes:
            while not await _answers(probe):  # noqa: ASYNC110 - another process has no events
                await asyncio.sleep(_PROBE_SECONDS)
        if self._child is not None and self._child.returncode is None:
            self._ready_at = time.monotonic()
            self._change(State.READY)

    def _change(self, state: State) -> None:
        self._group.update(replace(self._group.process(self._spec.name), state=state))

    def _started(self, process: ProcessId | None) -> None:
        current = self._group.process(self._spec.name)
        self._group.update(replace(current, state=State.STARTING, id=process))

    def _ended(self, how: str) -> None:
        current = self._group.process(self._spec.name)
        never_ready = current.state is not State.READY
        self._group.update(
            replace(
                current,
                state=State.BACKOFF,
                id=None,
                restarts=current.restarts + (0 if self._stopping.is_set() else 1),
                last_exit=how,
                early_exits=current.early_exits + 1 if never_ready else 0,
            )
        )

    async def stop(self, task: asyncio.Task[None], grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL for it and all it started when the grace is over.

        task: the one that runs `keep`; it has ended afterwards.
        """
        self._stopping.set()
        for name in self._spec.after:
            self._group.ready[name].set()  # nobody waits for a start any more
        self._signal(signal.SIGTERM)
        await asyncio.wait({task}, timeout=grace_seconds)
        if not task.done():
            self._signal(signal.SIGKILL)
            _kill_marked(self._mark)
        await task

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.send_signal(number)


def _forget_files(probes: Sequence[Probe]) -> None:
    for probe in probes:
        for path in probe.files:
            path.unlink(missing_ok=True)


def _kill_marked(mark: str) -> None:
    for process in marked(mark):
        send_signal(process, signal.SIGKILL)


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _open_log(path: Path) -> IO[bytes]:
    """The log for appending; one that has grown large is put aside as <name>.1 first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        if path.stat().st_size > _MAX_LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


async def _answers(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT):
            if probe.kind == "file":
                return any(path.exists() for path in probe.files)  # stats of local files
            if probe.kind == "tcp":
                host, _, port = probe.target.rpartition(":")
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return True
            return await _http_answers(probe)
    except (OSError, TimeoutError, ValueError, EOFError):
        return False


async def _http_answers(probe: Probe) -> bool:
    url = urlsplit(probe.target)
    context = ssl.create_default_context(cafile=probe.ca) if url.scheme == "https" else None
    port = url.port or (443 if context else 80)
    reader, writer = await asyncio.open_connection(url.hostname, port, ssl=context)
    try:
        request = f"GET {url.path or '/'} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n"
        writer.write(f"{request}\r\n".encode())
        await writer.drain()
        answer = await reader.readline()
    finally:
        writer.close()
    # RFC 9112 section 4: HTTP-version SP status-code SP reason.
    parts = answer.split()
    return len(parts) >= 2 and parts[1][:1] in {b"2", b"3"}


def stop_waves(processes: Sequence[ProcessSpec]) -> list[list[str]]:
    """Names in the order of stopping: first what nothing else comes after, in reverse order."""
    left = list(reversed(processes))
    waves: list[list[str]] = []
    while left:
        needed = {name for item in left for name in item.after}
        wave = [item.name for item in left if item.name not in needed] or [left[0].name]
        waves.append(wave)
        left = [item for item in left if item.name not in wave]
    return waves


async def supervise(spec: GroupSpec, run: Path, token: str, digest: str) -> None:
    """Run the group until SIGTERM or SIGINT."""
    group = _Group(spec, run, token, digest)
    keepers = {item.name: _Keeper(group, item) for item in spec.processes}
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tasks = {name: asyncio.create_task(keeper.keep()) for name, keeper in keepers.items()}
    await stopping.wait()
    for wave in stop_waves(spec.processes):
        stops = (keepers[name].stop(tasks[name], spec.grace_seconds) for name in wave)
        await asyncio.gather(*stops)
    group.forget()


def _leave_session() -> None:
    """Fork and leave the caller's session and terminal; only the child returns."""
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")


def main() -> None:
    """Entry point of `python -m clearline.keeper`."""
    parser = argparse.ArgumentParser(
        prog="python -m clearline.keeper",
        description="Keep a group of processes running (clearline starts this itself).",
        epilog="example: python -m clearline.keeper --spec .clearline/run/network.spec.json",
    )
    parser.add_argument("--spec", type=Path, required=True, help="the group's specification")
    parser.add_argument("--token", default=None, help="marks what this supervisor starts")
    arguments = parser.parse_args()
    path = arguments.spec.resolve()
    raw = json.loads(path.read_text(encoding="utf-8"))
    spec, run = parse_spec(raw), path.parent
    # Held until the end of the process: the lock goes along through the fork.
    lock = lock_file(run, spec.group).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(BUSY)
    _leave_session()
    asyncio.run(supervise(spec, run, arguments.token or uuid.uuid4().hex, spec_digest(raw)))


if __name__ == "__main__":
    main()
