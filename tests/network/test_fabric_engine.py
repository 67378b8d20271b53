"""Engine `fabric` as far as it goes without Fabric: executables, settings, builder, join."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from network import identities, ports, topology_file
from network import package as packages
from network import topology as topologies
from network.administration import AdministrationError
from network.engine import EngineError
from network.fabric import executables
from network.fabric.engine import FabricEngine, _interpreter_line
from network.fabric.participation import OrdererAdministration
from network.home import Home
from network.topology import DEFAULT_TOPOLOGY, Engine, Topology

GUIDE = "https://hyperledger-fabric.readthedocs.io"


def program(folder: Path, name: str, version: str, answers_as: str | None = None) -> Path:
    """A stand-in that knows one word: version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    title = answers_as or name
    path.write_text(f"#!/bin/sh\nprintf '{title}:\\n Version: {version}\\n Go version: go1\\n'\n")
    path.chmod(0o755)
    return path


def both(folder: Path, version: str) -> dict[str, str]:
    """An environment whose FABRIC_BIN has both programs."""
    program(folder, "peer", version)
    program(folder, "orderer", version)
    return {"FABRIC_BIN": str(folder), "PATH": ""}


@pytest.mark.parametrize("version", ["3.1.5", "v3.1.0", "3.1.0-rc1"])
def test_supported_versions(tmp_path: Path, version: str) -> None:
    found = executables.find(both(tmp_path, version))
    assert found == executables.Executables(tmp_path / "peer", tmp_path / "orderer")
    assert executables.check(found) == (f"Hyperledger Fabric {version.removeprefix('v')}",)


def test_a_build_without_a_number_is_taken_and_said(tmp_path: Path) -> None:
    (remark,) = executables.check(executables.find(both(tmp_path, "latest")))
    assert "without a number" in remark


@pytest.mark.parametrize("version", ["3.0.0", "3.2.0", "3.10.1", "2.4.9", "1.4.12", "3.1x"])
def test_other_versions_are_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(EngineError) as refused:
        executables.check(executables.find(both(tmp_path, version)))
    assert refused.value.code == "fabric_version"
    for part in (str(tmp_path / "peer"), version, "3.1.x", GUIDE):
        assert part in str(refused.value)
    assert "not supported yet" not in str(refused.value)


def test_the_long_term_version_is_not_supported_yet(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"2\.5 is not supported yet") as refused:
        executables.check(executables.find(both(tmp_path, "v2.5.12")))
    assert refused.value.code == "fabric_version"


def test_versions_that_differ_are_refused(tmp_path: Path) -> None:
    environment = both(tmp_path, "3.1.5")
    program(tmp_path, "orderer", "3.1.4")
    with pytest.raises(EngineError, match=r"peer is version 3\.1\.5 but .*orderer is 3\.1\.4"):
        executables.check(executables.find(environment))


def test_the_named_folder_comes_before_the_path(tmp_path: Path) -> None:
    environment = both(tmp_path / "named", "3.1.5")
    both(tmp_path / "other", "2.5.1")
    environment["PATH"] = str(tmp_path / "other")
    assert executables.find(environment).peer == tmp_path / "named" / "peer"
    (tmp_path / "named" / "orderer").unlink()
    assert executables.find(environment).orderer == tmp_path / "other" / "orderer"
    del environment["FABRIC_BIN"]
    assert executables.find(environment).peer == tmp_path / "other" / "peer"


@pytest.mark.parametrize(
    ("there", "missing"), [((), "peer and orderer were"), (("peer",), "orderer was")]
)
def test_missing_programs_are_named(tmp_path: Path, there: tuple[str, ...], missing: str) -> None:
    for name in there:
        program(tmp_path, name, "3.1.5")
    with pytest.raises(EngineError) as refused:
        executables.find({"FABRIC_BIN": str(tmp_path), "PATH": "/nowhere"})
    assert refused.value.code == "fabric_missing"
    for part in (f"{missing} not found", f"FABRIC_BIN ({tmp_path})", "then in PATH", GUIDE):
        assert part in str(refused.value)
    with pytest.raises(EngineError, match=r"FABRIC_BIN \(not set\)"):
        executables.find({})


def test_a_program_of_that_name_that_is_not_fabric(tmp_path: Path) -> None:
    environment = both(tmp_path, "3.1.5")
    program(tmp_path, "peer", "3.1.5", answers_as="pear")
    with pytest.raises(EngineError, match=r"is not Fabric's peer.*pear") as refused:
        executables.check(executables.find(environment))
    assert refused.value.code == "fabric_unusable"
    (tmp_path / "peer").write_text("\x7fELF of another machine")
    with pytest.raises(EngineError) as refused:
        executables.check(executables.find(environment))
    assert refused.value.code == "fabric_unusable"


@pytest.mark.parametrize("environment", [{}, {"FABRIC_BIN": "/nowhere"}])
def test_up_says_so_and_leaves_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    words = ["network", "up", "--home", str(tmp_path / "home"), "--engine", "fabric"]
    bare = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "clearline", *words],
        env={**bare, "PATH": "/nowhere", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "[fabric_missing]" in done.stderr
    assert GUIDE in done.stderr.replace("\n", "")
    assert not (tmp_path / "home").exists()


@dataclass(frozen=True)
class Prepared:
    home: Home
    topology: Topology
    package: packages.Package


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Everything that is written before Fabric's programs start."""
    home = Home(tmp_path_factory.mktemp("fabric") / "home")
    shipped = topology_file.load(DEFAULT_TOPOLOGY, Engine.FABRIC)
    topology = ports.resolve(topologies.map_ports(shipped, lambda host, port: 0))
    identities.create(home, topology)
    package = packages.create(topology.chaincode.label, packages.distribution_root())
    FabricEngine().prepare(home, topology, package)
    return Prepared(home, topology, package)


def test_every_file_that_settings_name_is_there(prepared: Prepared) -> None:
    documents = [
        json.loads(path.read_text())
        for name in ("core.yaml", "orderer.yaml")
        for path in prepared.home.root.rglob(name)
    ]
    assert len(documents) == 6
    named = {Path(text) for document in documents for text in texts(document) if "/" in text}
    assert named
    for path in named:
        assert path.is_absolute()
        assert path.exists() or "data" in path.parts, path


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def test_every_hop_wants_a_certificate(prepared: Prepared) -> None:
    home = prepared.home
    for organization, peer in prepared.topology.peers():
        core = json.loads((home.root / "nodes" / peer.name / "core.yaml").read_text())
        tls = core["peer"]["tls"]
        assert tls["enabled"]
        assert tls["clientAuthRequired"]
        assert len(tls["clientRootCAs"]["files"]) == 3
        connection = json.loads((home.chaincode(organization.name) / "connection.json").read_text())
        assert connection["tls_required"]
        assert connection["client_auth_required"]
    for _, orderer in prepared.topology.orderers():
        settings = json.loads((home.root / "nodes" / orderer.name / "orderer.yaml").read_text())
        for tls in (settings["General"]["TLS"], settings["Admin"]["TLS"]):
            assert tls["Enabled"]
            assert tls["ClientAuthRequired"]


def test_a_second_prepare_changes_nothing(prepared: Prepared) -> None:
    def written() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in prepared.home.root.rglob("*") if path.is_file()}

    before = written()
    FabricEngine().prepare(prepared.home, prepared.topology, prepared.package)
    assert written() == before


def test_nodes_get_an_environment_of_their_own(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FABRIC_BIN", both(tmp_path, "3.1.5")["FABRIC_BIN"])
    processes = FabricEngine().processes(prepared.home, prepared.topology, prepared.package)
    assert len(processes) == 9
    for spec, words in ((processes[0], "start"), (processes[3], "node start")):
        show = tmp_path / Path(spec.argv[7]).name
        assert str(show) == spec.argv[7]
        show.write_text('#!/bin/sh\necho "words $*"\nexec env\n')
        stray = {"CORE_PEER_ADDRESS": "127.0.0.1:1", "ORDERER_GENERAL_LISTENPORT": "1"}
        environment = {**stray, "PATH": os.environ["PATH"], "CLEARLINE_SUPERVISED": "token"}
        shown = subprocess.run(
            spec.argv, env=environment, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert shown[0] == f"words {words}"
        names = {line.partition("=")[0] for line in shown[1:]} - {"PWD", "SHLVL", "_", "OLDPWD"}
        assert names == {
            "CLEARLINE_SUPERVISED", "FABRIC_CFG_PATH", "FABRIC_LOGGING_FORMAT",
            "FABRIC_LOGGING_SPEC", "HOME", "PATH",
        }  # fmt: skip
        assert f"FABRIC_CFG_PATH={spec.cwd}" in shown
        assert "CLEARLINE_SUPERVISED=token" in shown


def run_builder(folder: Path, word: str, *arguments: Path) -> int:
    done = subprocess.run(
        [folder / "bin" / word, *arguments], env={}, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode


def test_the_builder_releases_what_lies_beside_it(prepared: Prepared, tmp_path: Path) -> None:
    organization = prepared.home.chaincode("BankTwo")
    builder, metadata, output = organization / "builder", tmp_path / "meta", tmp_path / "out"
    metadata.mkdir()
    output.mkdir()
    for kind, code in (("ccaas", 0), ("golang", 1)):
        (metadata / "metadata.json").write_text(json.dumps({"type": kind, "label": "x_1"}))
        assert run_builder(builder, "detect", tmp_path, metadata) == code
    assert run_builder(builder, "build", tmp_path, metadata, output) == 0
    assert list(output.iterdir()) == []
    assert run_builder(builder, "release", tmp_path, output) == 0
    released = output / "chaincode" / "server" / "connection.json"
    assert released.read_bytes() == (organization / "connection.json").read_bytes()
    assert stat.S_IMODE(released.stat().st_mode) & 0o077 == 0


def test_the_builder_prefers_the_packages_own_connection(
    prepared: Prepared, tmp_path: Path
) -> None:
    builder = prepared.home.chaincode("BankOne") / "builder"
    source, built, output = (tmp_path / name for name in ("source", "built", "output"))
    for folder in (source, built, output):
        folder.mkdir()
    (source / "connection.json").write_text('{"address": "its own"}')
    assert run_builder(builder, "build", source, tmp_path, built) == 0
    assert run_builder(builder, "release", built, output) == 0
    released = output / "chaincode" / "server" / "connection.json"
    assert released.read_text() == '{"address": "its own"}'


def test_an_interpreter_in_an_awkward_folder(prepared: Prepared, tmp_path: Path) -> None:
    folder = tmp_path / ("a long name with spaces " * 8)
    folder.mkdir()
    interpreter = folder / "python"
    interpreter.symlink_to(sys.executable)
    source = (prepared.home.chaincode("BankOne") / "builder" / "bin" / "detect").read_text()
    script = tmp_path / "builder" / "bin" / "build"
    script.parent.mkdir(parents=True)
    script.write_text(_interpreter_line(str(interpreter)) + source.partition("\n")[2])
    script.chmod(0o755)
    steps = (tmp_path / "source", tmp_path / "metadata", tmp_path / "output")
    assert run_builder(script.parent.parent, "build", *steps) == 0


class Participation(BaseHTTPRequestHandler):
    """An orderer's admin endpoint, as far as joining needs it."""

    seen: Seen

    def do_GET(self) -> None:
        self.seen.lines.append(self.requestline)
        self._answer(200 if self.seen.joined else 404, {"error": "cannot find"})

    def do_POST(self) -> None:
        self.seen.lines.append(self.requestline)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"genesis" not in body or b'name="config-block"' not in body:
            self._answer(400, {"error": "cannot read form from request body"})
            return
        self.seen.joined = True
        self._answer(201, {"name": "payments"})

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _answer(self, status: int, document: dict[str, str]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@dataclass
class Seen:
    joined: bool = False
    lines: list[str] = field(default_factory=list)


@contextmanager
def admin_endpoint(home: Home, seen: Seen) -> Iterator[OrdererAdministration]:
    tls = home.node("Supervisor", "orderer0") / "tls"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
    context.load_verify_locations(tls / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    handler = type("Handler", (Participation,), {"seen": seen})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield OrdererAdministration("orderer0", "127.0.0.1", server.server_port, tls)
        finally:
            server.shutdown()
            thread.join()


def test_join_asks_first_and_posts_once(prepared: Prepared) -> None:
    seen = Seen()
    with admin_endpoint(prepared.home, seen) as orderer:
        assert asyncio.run(orderer.join("payments", b"the genesis block"))
        assert not asyncio.run(orderer.join("payments", b"the genesis block"))
    channels = "/participation/v1/channels"
    get = f"GET {channels}/payments HTTP/1.1"
    assert seen.lines == [get, f"POST {channels} HTTP/1.1", get]


def test_a_refused_join_carries_the_orderers_reason(prepared: Prepared) -> None:
    with (
        admin_endpoint(prepared.home, Seen()) as orderer,
        pytest.raises(AdministrationError, match=r"orderer0: join channel payments: cannot read"),
    ):
        asyncio.run(orderer.join("payments", b"something else"))
