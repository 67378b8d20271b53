"""The supervisor with real processes: restarts, its own death, other people's pids."""

from __future__ import annotations

import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clearline import free_ports, supervisor
from clearline.keeper import next_wait, stop_waves
from clearline.processes import (
    GroupSpec,
    GroupStatus,
    Probe,
    ProcessId,
    ProcessSpec,
    State,
    alive,
    identify,
    parse_spec,
    send_signal,
    spec_document,
    status_document,
    write_json,
)
from clearline.supervisor import SupervisorError
from network import identities
from network.certificates import create_authority, issue_tls

_LISTENER = textwrap.dedent(
    """
    import os, signal, socket, sys
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen()
    print("listening as", os.getpid(), flush=True)
    signal.pause()
    """
)
_STUBBORN = textwrap.dedent(
    """
    import pathlib, signal, subprocess, sys
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    pathlib.Path(sys.argv[1]).write_text(str(child.pid))
    signal.pause()
    """
)


def until(condition: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "run"
    folder.mkdir()
    yield folder
    supervisor.stop(folder, "test", grace_seconds=1)


def listener(tmp_path: Path, name: str, after: tuple[str, ...] = ()) -> ProcessSpec:
    port = free_ports.choose()
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-c", _LISTENER, str(port)),
        log=str(tmp_path / "logs" / f"{name}.log"),
        cwd=str(tmp_path),
        probes=(Probe("tcp", f"127.0.0.1:{port}"),),
        ports={"main": port},
        after=after,
    )


def group(*processes: ProcessSpec) -> GroupSpec:
    return GroupSpec("test", processes, grace_seconds=1.0)


def pid_of(status: GroupStatus | None, name: str) -> ProcessId:
    assert status is not None
    found = next(item.id for item in status.processes if item.name == name)
    assert found is not None
    return found


def now(run: Path) -> GroupStatus:
    status = supervisor.status(run, "test")
    assert status is not None
    return status


def test_starts_in_order_reports_progress_and_stops(tmp_path: Path, run: Path) -> None:
    first, second = listener(tmp_path, "first"), listener(tmp_path, "second", after=("first",))
    seen: list[tuple[str, State]] = []
    status = supervisor.start(
        group(first, second), run, lambda process: seen.append((process.name, process.state))
    )
    assert status.supervised
    assert status.ready
    assert ("first", State.READY) in seen
    assert seen.index(("first", State.READY)) < seen.index(("second", State.READY))
    assert "listening as" in Path(first.log).read_text(encoding="utf-8")
    pids = [pid_of(status, name) for name in ("first", "second")]
    # The supervisor is nobody's child here: it has left this process's session.
    assert os.getsid(status.supervisor.pid) != os.getsid(0)

    assert supervisor.stop(run, "test")
    assert not any(alive(pid) for pid in (*pids, status.supervisor))
    assert supervisor.status(run, "test") is None
    assert not supervisor.stop(run, "test")


def test_starting_twice_changes_nothing(tmp_path: Path, run: Path) -> None:
    spec = group(listener(tmp_path, "one"))
    before = supervisor.start(spec, run)
    after = supervisor.start(spec, run)
    assert after.supervisor == before.supervisor
    assert pid_of(after, "one") == pid_of(before, "one")


def test_two_starts_at_once_make_one_group(tmp_path: Path, run: Path) -> None:
    spec = group(listener(tmp_path, "one"))
    found: list[GroupStatus] = []
    threads = [
        threading.Thread(target=lambda: found.append(supervisor.start(spec, run))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0].supervisor == found[1].supervisor


def test_another_specification_is_refused_while_running(tmp_path: Path, run: Path) -> None:
    supervisor.start(group(listener(tmp_path, "one")), run)
    with pytest.raises(SupervisorError) as refused:
        supervisor.start(group(listener(tmp_path, "two")), run)
    assert refused.value.code == "running_differently"
    assert now(run).ready


def test_killed_child_is_started_again_at_once(tmp_path: Path, run: Path) -> None:
    before = pid_of(supervisor.start(group(listener(tmp_path, "one")), run), "one")
    killed = time.monotonic()
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: now(run).processes[0].restarts == 1, "the death is noticed")
    until(lambda: now(run).ready, "it is ready again")
    assert time.monotonic() - killed < 3
    again = now(run).processes[0]
    assert again.id not in {None, before}
    assert again.last_exit == "killed by SIGKILL"


@pytest.mark.parametrize(
    ("before", "ready", "longest", "wait"),
    [
        (0.0, 0.0, 2.0, 0.1),  # its first death
        (0.1, 0.0, 2.0, 0.2),  # it dies while it starts, again and again
        (1.6, 0.5, 2.0, 2.0),
        (0.2, 0.0, 0.2, 0.2),  # no longer than its group says
        (2.0, 3.5, 2.0, 0.1),  # it was well in between
    ],
)
def test_what_keeps_dying_waits_longer(
    before: float, ready: float, longest: float, wait: float
) -> None:
    assert next_wait(before, ready, longest) == wait


def test_stop_ends_the_children_of_a_killed_supervisor(tmp_path: Path, run: Path) -> None:
    status = supervisor.start(group(listener(tmp_path, "one"), listener(tmp_path, "two")), run)
    bystander = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        os.kill(status.supervisor.pid, signal.SIGKILL)
        until(lambda: not alive(status.supervisor), "the supervisor is gone")
        assert not now(run).supervised
        assert all(alive(pid_of(status, name)) for name in ("one", "two"))
        assert supervisor.stop(run, "test", grace_seconds=2)
        assert not any(alive(pid_of(status, name)) for name in ("one", "two"))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_start_after_a_killed_supervisor_takes_over(tmp_path: Path, run: Path) -> None:
    spec = group(listener(tmp_path, "one"))
    before = supervisor.start(spec, run)
    os.kill(before.supervisor.pid, signal.SIGKILL)
    until(lambda: not alive(before.supervisor), "the supervisor is gone")
    after = supervisor.start(spec, run)
    assert after.supervised
    assert not alive(pid_of(before, "one"))
    assert alive(pid_of(after, "one"))


def test_what_was_started_but_never_recorded_is_ended_too(tmp_path: Path, run: Path) -> None:
    status = supervisor.start(group(listener(tmp_path, "one")), run)
    child = pid_of(status, "one")
    os.kill(status.supervisor.pid, signal.SIGKILL)
    until(lambda: not alive(status.supervisor), "the supervisor is gone")
    forgotten = replace(status, processes=(replace(status.processes[0], id=None),))
    write_json(supervisor.state_file(run, "test"), status_document(forgotten))
    supervisor.stop(run, "test", grace_seconds=2)
    assert not alive(child)


def test_a_stale_pid_of_somebody_else_is_not_signalled(tmp_path: Path, run: Path) -> None:
    status = supervisor.start(group(listener(tmp_path, "one")), run)
    supervisor.stop(run, "test")
    stranger = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        owner = identify(stranger.pid)
        assert owner is not None
        stale = ProcessId(owner.pid, owner.create_time - 1)
        forged = replace(
            status,
            supervisor=stale,
            processes=(replace(status.processes[0], id=stale),),
        )
        write_json(supervisor.state_file(run, "test"), status_document(forged))
        assert not supervisor.stop(run, "test", grace_seconds=0.2)
        assert stranger.poll() is None
        assert not send_signal(stale, signal.SIGKILL)
        assert stranger.poll() is None
        # The same call does reach it under its right start: the check is what protected it.
        assert send_signal(owner, signal.SIGKILL)
        assert stranger.wait() == -signal.SIGKILL
    finally:
        stranger.kill()
        stranger.wait()


def test_a_state_of_an_earlier_boot_names_nobody(tmp_path: Path, run: Path) -> None:
    status = supervisor.start(group(listener(tmp_path, "one")), run)
    write_json(supervisor.state_file(run, "test"), status_document(replace(status, boot="before")))
    assert not supervisor.stop(run, "test", grace_seconds=0.2)
    assert alive(pid_of(status, "one"))
    write_json(supervisor.state_file(run, "test"), status_document(status))


def test_a_process_that_will_not_stop_is_killed_with_its_children(
    tmp_path: Path, run: Path
) -> None:
    marker = tmp_path / "grandchild"
    spec = ProcessSpec(
        name="stubborn",
        argv=(sys.executable, "-c", _STUBBORN, str(marker)),
        log=str(tmp_path / "stubborn.log"),
        cwd=str(tmp_path),
        probes=(Probe("file", str(marker)),),
    )
    status = supervisor.start(replace(group(spec), grace_seconds=0.2), run)
    until(lambda: marker.read_text() != "", "the grandchild's pid is written")
    grandchild = identify(int(marker.read_text()))
    assert grandchild is not None
    supervisor.stop(run, "test")
    assert not alive(pid_of(status, "stubborn"))
    until(lambda: not alive(grandchild), "the grandchild is gone")


def test_either_of_a_probes_files_will_do_and_neither_is_an_old_one(
    tmp_path: Path, run: Path
) -> None:
    """As of two connectors: one says that it acts, or that it stands by."""
    names = [tmp_path / "acts", tmp_path / "stands-by"]
    for name in names:
        name.write_text("of an earlier life")
    script = (
        "import pathlib, signal, sys; files = [pathlib.Path(name) for name in sys.argv[1:]]\n"
        "assert not any(file.exists() for file in files); files[1].touch(); signal.pause()"
    )
    spec = ProcessSpec(
        name="either",
        argv=(sys.executable, "-c", script, *map(str, names)),
        log=str(tmp_path / "either.log"),
        cwd=str(tmp_path),
        probes=(Probe("file", "\n".join(map(str, names))),),
    )
    status = supervisor.start(group(spec), run)
    assert [process.ready for process in status.processes] == [True]
    assert [name.exists() for name in names] == [False, True]


def test_a_process_that_cannot_start_is_reported_with_its_log(tmp_path: Path, run: Path) -> None:
    spec = ProcessSpec(
        name="broken",
        argv=(sys.executable, "-c", "raise SystemExit('no such setting: colour')"),
        log=str(tmp_path / "broken.log"),
        cwd=str(tmp_path),
        probes=(Probe("file", str(tmp_path / "never")),),
    )
    with pytest.raises(SupervisorError) as failed:
        supervisor.start(group(listener(tmp_path, "fine"), spec), run)
    assert failed.value.code == "not_ready"
    assert "no such setting: colour" in str(failed.value)
    # Nothing half started stays behind.
    assert supervisor.status(run, "test") is None


def test_a_process_that_never_answers_is_reported(tmp_path: Path, run: Path) -> None:
    spec = ProcessSpec(
        name="mute",
        argv=(sys.executable, "-c", "import signal; signal.pause()"),
        log=str(tmp_path / "mute.log"),
        cwd=str(tmp_path),
        probes=(Probe("tcp", f"127.0.0.1:{free_ports.choose()}"),),
        ready_seconds=0.3,
    )
    waiting = listener(tmp_path, "waiting", after=("mute",))
    with pytest.raises(SupervisorError, match=r"mute is not ready after 0\.3 s"):
        supervisor.start(group(spec, waiting), run)
    assert not Path(waiting.log).exists()


def test_http_probe_waits_for_a_good_answer(tmp_path: Path, run: Path) -> None:
    answers = [503, 503, 200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        spec = ProcessSpec(
            name="web",
            argv=(sys.executable, "-c", "import signal; signal.pause()"),
            log=str(tmp_path / "web.log"),
            cwd=str(tmp_path),
            probes=(Probe("http", f"http://127.0.0.1:{server.server_port}/readyz"),),
        )
        supervisor.start(group(spec), run)
        server.shutdown()
        thread.join()
    assert answers == [200]


def test_https_probe_checks_the_certificate(tmp_path: Path, run: Path) -> None:
    authority, stranger = create_authority("Org", "ca"), create_authority("Org", "ca")
    identities.write_credential(tmp_path, issue_tls(authority, "Org", "web", ()))
    for name, issuer in (("ca", authority), ("stranger", stranger)):
        (tmp_path / f"{name}.pem").write_bytes(issuer.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that doesn't trust it is what is tested."""

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def web(ca: str, ready_seconds: float) -> GroupSpec:
            url = f"https://127.0.0.1:{server.server_port}/readyz"
            argv = (sys.executable, "-c", "import signal; signal.pause()")
            probe = Probe("http", url, str(tmp_path / ca))
            log = str(tmp_path / "web.log")
            spec = ProcessSpec("web", argv, log, str(tmp_path), probes=(probe,))
            return group(replace(spec, ready_seconds=ready_seconds))

        try:
            with pytest.raises(SupervisorError, match="web is not ready"):
                supervisor.start(web("stranger.pem", 0.4), run)
            supervisor.start(web("ca.pem", 30), run)
        finally:
            server.shutdown()
            thread.join()


def test_large_log_is_put_aside_at_the_next_start(tmp_path: Path, run: Path) -> None:
    spec = listener(tmp_path, "one")
    log = Path(spec.log)
    log.parent.mkdir()
    log.write_bytes(b"x" * (11 * 1024 * 1024))
    supervisor.start(group(spec), run)
    assert log.stat().st_size < 1024
    assert log.with_name("one.log.1").stat().st_size == 11 * 1024 * 1024


def test_unreadable_state_is_an_error_with_a_code(run: Path) -> None:
    state = supervisor.state_file(run, "test")
    state.write_text("{", encoding="utf-8")
    with pytest.raises(SupervisorError) as failed:
        supervisor.status(run, "test")
    assert failed.value.code == "unreadable_state"
    state.unlink()


def test_specification_survives_the_file(tmp_path: Path) -> None:
    spec = group(replace(listener(tmp_path, "one"), env={"A": "b"}, after=("two",)))
    spec = replace(spec, longest_backoff_seconds=0.5)
    assert parse_spec(json.loads(json.dumps(spec_document(spec)))) == spec


def test_what_others_come_after_is_stopped_last(tmp_path: Path) -> None:
    def item(name: str, *after: str) -> ProcessSpec:
        return ProcessSpec(name, ("x",), "log", str(tmp_path), after=after)

    processes = (item("node"), item("gateway", "node"), item("web", "gateway"), item("other"))
    assert stop_waves(processes) == [["other", "web"], ["gateway"], ["node"]]
