"""Engine `fabric` with Fabric's own processes: the same commands, and strangers stay outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest
from fabric_programs import needs_fabric

from clearline import supervisor
from clearline.processes import alive
from network import lifecycle
from network import topology as topologies

pytestmark = [needs_fabric, pytest.mark.slow]

NODES = {
    "orderer0", "orderer1", "orderer2",
    "peer0.bankone", "peer0.banktwo", "peer0.supervisor",
    "chaincode.bankone", "chaincode.banktwo", "chaincode.supervisor",
}  # fmt: skip


FIRST_COMMIT_SECONDS = 5.0
"""From `up` in an empty folder to a commit, held by the median of three; idle it is about 2 s."""
BUSY_SECONDS = 15.0
"""For any one start, on a machine that does other things."""


def clearline(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "clearline", "network", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def processes(home: Path) -> dict[str, dict[str, Any]]:
    done = clearline("status", "--home", home, "--heights", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return {process["name"]: process for process in json.loads(done.stdout)["processes"]}


def test_reset_deletes_everything_and_the_first_commit_comes_soon(
    fabric_network: Any, tmp_path: Path
) -> None:
    """Three networks' starts; two of them are deleted again."""
    took = [fabric_network.cold_start]
    for number in range(2):
        home = tmp_path / f"home{number}"
        began = time.monotonic()
        try:
            done = clearline("up", "--home", home, "--engine", "fabric", "--free-ports")
            took.append(time.monotonic() - began)
            assert done.returncode == 0, done.stderr
            reset(home)
        finally:
            clearline("down", "--home", home)
    said = "first commit: " + ", ".join(f"{seconds:.1f} s" for seconds in took)
    print(said)
    assert median(took) <= FIRST_COMMIT_SECONDS, said
    assert max(took) <= BUSY_SECONDS, said


def reset(home: Path) -> None:
    """Nothing of the network is left, no process and no file; what is not its own stays."""
    found = processes(home)
    assert set(found) == NODES
    (home / "mine.txt").write_text("not Clearline's")
    done = clearline("reset", "--home", home, "--yes")
    assert done.returncode == 0, done.stderr
    assert "kept: mine.txt" in done.stderr
    assert [entry.name for entry in home.iterdir()] == ["mine.txt"]
    assert not any(psutil.pid_exists(process["pid"]) for process in found.values())


def test_all_nodes_are_there_at_one_height(fabric_network: Any) -> None:
    found = processes(fabric_network.home.root)
    assert set(found) == NODES
    heights = {found[name]["height"] for name in NODES if name.startswith("peer")}
    # genesis, approvals, definition, proof
    assert len(heights) == 1
    assert heights.pop() >= 4


def test_an_orderer_at_each_organisation(fabric_network: Any) -> None:
    members = [organization.name for organization, _ in fabric_network.topology.orderers()]
    assert sorted(members) == ["BankOne", "BankTwo", "Supervisor"]


def test_up_twice_is_harmless(fabric_network: Any) -> None:
    home = fabric_network.home.root
    before = {name: process["pid"] for name, process in processes(home).items()}
    done = clearline("up", "--home", home, "--engine", "fabric")
    assert done.returncode == 0, done.stderr
    assert "was up already" in done.stderr
    assert {name: process["pid"] for name, process in processes(home).items()} == before


def test_the_embedded_engine_leaves_it_alone(fabric_network: Any) -> None:
    done = clearline("up", "--home", fabric_network.home.root)
    assert done.returncode == 1
    assert "[other_engine]" in done.stderr


def test_endpoints_and_logs(fabric_network: Any) -> None:
    home = fabric_network.home.root
    document = json.loads(clearline("endpoints", "--home", home, "--json").stdout)
    assert {"orderer0", "orderer0 admin", "orderer1 admin", "peer0.banktwo"} <= set(
        document["endpoints"]
    )
    log = clearline("logs", "orderer1", "--home", home, "-n", "200").stdout
    assert "orderer.consensus.etcdraft" in log
    assert "\x1b[" not in log


def test_no_port_takes_a_stranger(fabric_network: Any) -> None:
    """Mutual TLS on every hop: without a certificate nothing answers, the handshake ends."""
    uses = [use for use in topologies.ports(fabric_network.topology) if use.owner in NODES]
    assert len(uses) == 12
    found = {(name, port) for name, port in listening(fabric_network.home)}
    assert {(use.owner, use.port) for use in uses} <= found
    # Beside them: each node's operations port, and a peer's for chaincode that dials it.
    assert len(found) == len(uses) + 3 + 2 * 3
    for name, port in found:
        assert not answers("127.0.0.1", port), f"{port} of {name}"


def listening(home: Any) -> list[tuple[str, int]]:
    """Every port that a process of the network listens on, whatever it is for."""
    status = supervisor.status(home.run, "network")
    assert status is not None
    return [
        (process.name, connection.laddr.port)
        for process in status.processes
        if process.id is not None
        for connection in psutil.Process(process.id.pid).net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]


def answers(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((host, port), timeout=5) as raw:
        try:
            with context.wrap_socket(raw) as connection:
                # TLS 1.3 tells of the missing certificate with the first read.
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return connection.recv(1) != b""
        except (ssl.SSLError, ConnectionError):
            return False


def test_no_private_key_is_in_a_log(fabric_network: Any) -> None:
    logs = list(fabric_network.home.logs.glob("*.log"))
    assert len(logs) >= len(NODES)
    for log in logs:
        assert "PRIVATE KEY" not in log.read_text(encoding="utf-8", errors="replace"), log.name


@pytest.mark.parametrize("name", ["peer0.bankone", "chaincode.bankone"])
def test_a_killed_process_is_back_and_the_network_commits(fabric_network: Any, name: str) -> None:
    home = fabric_network.home
    before = supervisor.status(home.run, "network")
    assert before is not None
    process = next(item for item in before.processes if item.name == name)
    assert process.id is not None
    killed = time.monotonic()
    os.kill(process.id.pid, signal.SIGKILL)
    while alive(process.id):
        time.sleep(0.01)
    asyncio.run(lifecycle.prove(home, fabric_network.topology))
    assert time.monotonic() - killed < 10


def test_down_keeps_the_ledger(fabric_network: Any) -> None:
    """Ends the network and starts it again, with what another network's shell might hold."""
    home = fabric_network.home.root
    before = processes(home)
    assert clearline("down", "--home", home).returncode == 0
    status = clearline("status", "--home", home)
    assert status.returncode == 1
    environment = {
        "CORE_PEER_LISTENADDRESS": "127.0.0.1:1",
        "CORE_PEER_LOCALMSPID": "Org1MSP",
        "ORDERER_GENERAL_LISTENPORT": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(key, value)
        done = clearline("up", "--home", home, "--engine", "fabric")
    assert done.returncode == 0, done.stderr
    after = processes(home)
    assert after["peer0.bankone"]["height"] > before["peer0.bankone"]["height"]
    assert not {p["pid"] for p in before.values()} & {p["pid"] for p in after.values()}
