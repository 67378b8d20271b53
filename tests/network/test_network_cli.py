"""`clearline network` with real processes on free ports, and its messages when it can't."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from clearline import supervisor
from clearline.processes import alive
from network import topology as topologies
from network import topology_document, topology_file
from network.topology import DEFAULT_TOPOLOGY

NODES = ("orderer0", "peer0.bankone", "peer0.banktwo", "peer0.supervisor")
SERVERS = ("chaincode.bankone", "chaincode.banktwo", "chaincode.supervisor")


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


def clearline(*words: str | Path, timeout: float = 60) -> Answer:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "clearline", "network", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def state(home: Path, *options: str) -> dict[str, Any]:
    answer = clearline("status", "--home", home, "--json", *options)
    document: dict[str, Any] = json.loads(answer.out)
    assert answer.code == (0 if all(p["ready"] for p in document["processes"]) else 1)
    return document


def pids(home: Path) -> dict[str, int]:
    return {process["name"]: process["pid"] for process in state(home)["processes"]}


@dataclass(frozen=True)
class Running:
    """A network that is up, and how long its first `up` took in seconds."""

    home: Path
    cold_start: float


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("network") / "home"
    began = time.monotonic()
    answer = clearline("up", "--home", home, "--free-ports")
    took = time.monotonic() - began
    try:
        assert answer.code == 0, answer.err
        assert "making certificates and the genesis block" in answer.err
        yield Running(home, took)
    finally:
        clearline("down", "--home", home)


def test_cold_start_and_idle_memory_hold_their_bars(running: Running) -> None:
    assert running.cold_start < 10
    processes = {p["name"]: p for p in state(running.home)["processes"]}
    assert set(processes) == {*NODES, *SERVERS}
    # PSS; where the system has none, what each process has for itself alone.
    assert sum(processes[name]["memory_bytes"] for name in NODES) < 300e6


def test_up_twice_is_harmless(running: Running) -> None:
    before = pids(running.home)
    answer = clearline("up", "--home", running.home, "--free-ports")
    assert answer.code == 0
    assert "was up already" in answer.err
    assert clearline("up", "--home", running.home).code == 0
    assert pids(running.home) == before


def test_heights_are_level(running: Running) -> None:
    processes = {p["name"]: p for p in state(running.home, "--heights")["processes"]}
    heights = {processes[name]["height"] for name in NODES if name.startswith("peer")}
    assert len(heights) == 1
    # genesis, approvals, definition, proof
    assert heights.pop() >= 4


def test_layout_is_the_agreed_one(running: Running) -> None:
    home = running.home
    assert json.loads((home / "home.json").read_text())["network"] == "clearline-dev"
    topology = topology_file.load(home / "network.yaml")
    assert all(use.port > 0 for use in topologies.ports(topology))
    for path in (
        "crypto/BankOne/users/gateway/msp/keystore/key.pem",
        "crypto/BankTwo/services/gateway/tls/ca.pem",
        "profiles/Supervisor/auditor.json",
        "channel/genesis.block",
        "chaincode/clearline.tar.gz",
        "chaincode/BankOne/connection.json",
        "chaincode/BankOne/server.json",
        "nodes/orderer0/node.json",
        "run/network.json",
        "logs/peer0.bankone.log",
    ):
        assert (home / path).is_file(), path
    recorded = json.loads((home / "run" / "network.json").read_text())
    assert set(recorded["supervisor"]) == {"pid", "create_time"}
    assert recorded["processes"]["orderer0"]["ready"] is True


def test_endpoints(running: Running) -> None:
    document = json.loads(clearline("endpoints", "--home", running.home, "--json").out)
    assert set(document["endpoints"]) == {
        *NODES,
        *SERVERS,
        "gateway-bankone",
        "gateway-banktwo",
        "link-bankone",
        "link-banktwo",
        "qr_wallet",
        "unionpay",
    }
    assert Path(document["profiles"]["BankOne/gateway"]).is_file()
    table = clearline("endpoints", "--home", running.home).out
    assert document["endpoints"]["peer0.bankone"] in table


def test_status_table_and_logs(running: Running) -> None:
    table = clearline("status", "--home", running.home)
    assert table.code == 0
    assert all(name in table.out for name in (*NODES, *SERVERS))
    log = clearline("logs", "peer0.bankone", "--home", running.home, "-n", "1")
    assert log.code == 0
    assert len(log.out.splitlines()) == 1
    unknown = clearline("logs", "../home", "--home", running.home)
    assert unknown.code == 2
    assert "peer0.bankone" in unknown.err


def test_logs_follow_what_is_added(running: Running) -> None:
    log = running.home / "logs" / "peer0.bankone.log"
    words = [sys.executable, "-P", "-m", "clearline", "network", "logs", "peer0.bankone"]
    with subprocess.Popen(
        [*words, "--home", running.home, "-n", "1", "-f"], stdout=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        with log.open("a", encoding="utf-8") as file:
            file.write("a new line\n")
        assert follower.stdout.readline() == "a new line\n"
        follower.kill()


def test_other_settings_of_a_running_network_are_refused(running: Running) -> None:
    """As after an edit of the contract's code: the package is another one then."""
    path = running.home / "run" / "network.json"
    original = path.read_text(encoding="utf-8")
    changed = json.loads(original) | {"spec_sha256": "of other settings"}
    path.write_text(json.dumps(changed), encoding="utf-8")
    try:
        answer = clearline("up", "--home", running.home)
    finally:
        path.write_text(original, encoding="utf-8")
    assert answer.code == 1
    assert "[running_differently]" in answer.err
    assert state(running.home)["supervised"]


def test_no_private_key_is_in_a_log(running: Running) -> None:
    for log in (running.home / "logs").glob("*.log"):
        assert "PRIVATE KEY" not in log.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("name", ["peer0.banktwo", "orderer0", "chaincode.bankone"])
def test_a_killed_process_is_back_and_the_network_commits(running: Running, name: str) -> None:
    home = running.home
    before = height(home)
    killed = time.monotonic()
    os.kill(pids(home)[name], signal.SIGKILL)
    until_ready_again(home, name)
    prove(home)
    assert time.monotonic() - killed < 5
    assert height(home) > before


def test_other_topologies_and_engines_are_refused(running: Running, tmp_path: Path) -> None:
    document = yaml.safe_load(DEFAULT_TOPOLOGY.read_text(encoding="utf-8"))
    document["channel"]["batch"]["timeout_ms"] = 500
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(document))
    answer = clearline("up", "--home", running.home, "--topology", changed)
    assert answer.code == 1
    assert "channel.batch.timeout_ms: 20 -> 500" in answer.err
    assert "[topology_changed]" in answer.err

    document["network"] = "another"
    changed.write_text(yaml.safe_dump(document))
    answer = clearline("up", "--home", running.home, "--topology", changed)
    assert answer.code == 1
    assert "[other_network]" in answer.err

    (running.home / "network.yaml").write_text(
        (original := (running.home / "network.yaml").read_text()).replace(
            "timeout_ms: 20", "timeout_ms: 30"
        )
    )
    answer = clearline("status", "--home", running.home)
    (running.home / "network.yaml").write_text(original)
    assert answer.code == 1
    assert "[home_edited]" in answer.err


def test_reset_refuses_while_rooms_run(running: Running) -> None:
    status = supervisor.status(running.home / "run", "network")
    assert status is not None
    rooms = running.home / "run" / "rooms.json"
    shutil.copy(running.home / "run" / "network.json", rooms)
    answer = clearline("reset", "--home", running.home, "--yes")
    rooms.unlink()
    assert answer.code == 1
    assert "[still_running]" in answer.err
    assert (running.home / "home.json").exists()


def test_a_killed_supervisor_is_seen_and_replaced(running: Running) -> None:
    home = running.home
    before = supervisor.status(home / "run", "network")
    assert before is not None
    os.kill(before.supervisor.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while alive(before.supervisor):
        assert time.monotonic() < deadline, "the supervisor survived SIGKILL"
        time.sleep(0.01)
    answer = clearline("status", "--home", home)
    assert answer.code == 1
    assert "supervisor is gone" in answer.out
    assert clearline("up", "--home", home).code == 0
    assert state(home)["supervised"]
    assert not any(process.alive for process in before.processes)


def test_down_keeps_the_ledger_and_reset_deletes_it(running: Running) -> None:
    """Last of this file's tests on the shared network: it ends it."""
    home = running.home
    before = height(home)
    own = pids(home)
    stranger = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        answer = clearline("down", "--home", home)
        assert answer.code == 0
        assert "the network is down" in answer.err
        assert not any(psutil.pid_exists(pid) for pid in own.values())
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    again = clearline("down", "--home", home)
    assert again.code == 0
    assert "was not running" in again.err
    assert clearline("status", "--home", home).code == 1

    assert clearline("up", "--home", home).code == 0
    assert height(home) > before

    (home / "mine.txt").write_text("not Clearline's")
    own = pids(home)
    answer = clearline("reset", "--home", home, "--yes")
    assert answer.code == 0
    assert "kept: mine.txt" in answer.err
    assert [entry.name for entry in home.iterdir()] == ["mine.txt"]
    assert not any(psutil.pid_exists(pid) for pid in own.values())


def height(home: Path) -> int:
    processes = state(home, "--heights")["processes"]
    return max(process["height"] or 0 for process in processes)


def until_ready_again(home: Path, name: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        status = supervisor.status(home / "run", "network")
        assert status is not None
        process = next(item for item in status.processes if item.name == name)
        if process.restarts and process.ready and process.alive:
            return
        time.sleep(0.01)
    raise AssertionError(f"{name} is not back")


def prove(home: Path) -> None:
    import asyncio

    from network.home import Home
    from network.lifecycle import prove as run

    asyncio.run(run(Home(home), topology_file.load(home / "network.yaml")))


# What can't be started says so, and leaves nothing behind.


def free_topology(tmp_path: Path) -> dict[str, Any]:
    from network import ports

    shipped = topology_file.load(DEFAULT_TOPOLOGY)
    resolved = ports.resolve(topologies.map_ports(shipped, lambda host, port: 0))
    return topology_document.document(resolved)


def test_taken_port_names_port_process_and_remedy(tmp_path: Path) -> None:
    document = free_topology(tmp_path)
    path = tmp_path / "network.yaml"
    path.write_text(yaml.safe_dump(document))
    port = document["organizations"][1]["peers"][0]["port"]
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", port))
        taker.listen()
        answer = clearline("up", "--home", tmp_path / "home", "--topology", path)
    assert answer.code == 1
    assert f"port {port} of peer0.banktwo is taken by" in answer.err
    assert f"(pid {os.getpid()})" in answer.err
    assert "--free-ports" in answer.err
    assert "[port_taken]" in answer.err
    assert not (tmp_path / "home" / "crypto").exists()


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for command in ("up", "down", "reset", "status"):
        extra = ("--yes",) if command == "reset" else ()
        answer = clearline(command, "--home", tmp_path, *extra)
        assert answer.code == 1
        assert "[foreign_folder]" in answer.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_broken_marker_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "home.json").write_text("{")
    answer = clearline("up", "--home", tmp_path)
    assert answer.code == 1
    assert "[unreadable_home]" in answer.err
    assert (tmp_path / "home.json").read_text() == "{"


def test_mistakes_in_the_topology_are_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text("format: 1\nnetwork: X\ncolour: red\n")
    answer = clearline("up", "--home", tmp_path / "home", "--topology", path)
    assert answer.code == 1
    assert "colour: is not a setting" in answer.err
    assert "organizations: is missing" in answer.err
    assert not (tmp_path / "home" / "home.json").exists()


@pytest.mark.parametrize("command", ["down", "status", "endpoints"])
def test_no_network_says_so(tmp_path: Path, command: str) -> None:
    answer = clearline(command, "--home", tmp_path / "nowhere")
    assert answer.code == 1
    assert "[no_network]" in answer.err


def test_wrong_command_line_is_2(tmp_path: Path) -> None:
    assert clearline("up", "--engine", "steam").code == 2
    assert clearline("dance").code == 2


@pytest.mark.parametrize("command", ["up", "down", "status", "reset", "logs", "endpoints"])
def test_help_shows_an_example(command: str) -> None:
    answer = clearline(command, "--help")
    assert answer.code == 0
    assert f"Example: clearline network {command}" in answer.out
