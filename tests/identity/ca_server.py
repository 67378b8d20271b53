"""A real fabric-ca-server for tests: built from tools/ca, run on a free port of the loopback."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests
from builds import MissingToolError, build

from clearline import free_ports
from network.ca.client import CAAddress
from network.certificates import Authority, issue_tls
from network.identities import write_credential

ROOT = Path(__file__).parents[2]
TOOL = ROOT / ".clearline" / "bin" / "fabric-ca-server"
START_SECONDS = 30.0
TLS_CA = "tlsca"
SECRET = "the-registrar's-secret"


def built() -> Path:
    """What `make ca` builds, made now when it isn't there: a minute or two, once.

    Raises MissingToolError, ProgramError.
    """
    TOOL.parent.mkdir(parents=True, exist_ok=True)
    with (TOOL.parent / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not TOOL.exists():
            for program in ("go", "cc"):
                if shutil.which(program) is None:
                    raise MissingToolError(
                        f"no fabric-ca-server, and {program} isn't here to build it (`make ca`)"
                    )
            build(["make", "ca"], ROOT, {})
    return TOOL


@dataclass(frozen=True)
class Server:
    """A running server with two CAs: the default one for identities, `tlsca` for TLS."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    tls_ca: Path

    def address(self, name: str = "") -> CAAddress:
        return CAAddress(f"https://localhost:{self.port}", name, self.tls_ca)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(tool: Path, folder: Path, identity: Authority, tls: Authority) -> Server:
    """Start a server whose two CAs issue with these authorities' keys, and wait until it serves."""
    folder.mkdir(parents=True)
    own = issue_tls(tls, "BankOne", "ca.bankone", ())
    write_credential(folder / "server", own)
    trusted = folder / "tls-root.pem"
    trusted.write_bytes(tls.pem)
    port = free_ports.choose()
    inner = folder / TLS_CA
    _configure(inner, TLS_CA, tls, {})
    _configure(
        folder,
        "ca-bankone",
        identity,
        {
            "port": port,
            "address": "127.0.0.1",
            "tls": {
                "enabled": True,
                "certfile": str(folder / "server" / "cert.pem"),
                "keyfile": str(folder / "server" / "key.pem"),
            },
            "operations": {"listenAddress": "127.0.0.1:0"},
            "cafiles": [str(inner / "fabric-ca-server-config.yaml")],
        },
    )
    log = folder / "server.log"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [tool, "start", "--home", folder], cwd=folder, env=environment,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    server = Server(process, port, log, trusted)
    _wait(server)
    return server


def _configure(folder: Path, name: str, authority: Authority, more: Mapping[str, Any]) -> None:
    """JSON is YAML. The server's documented settings, those that differ from its defaults."""
    write_credential(folder / "issuer", authority.credential)
    registrar = {
        "name": "registrar",
        "pass": SECRET,
        "type": "client",
        "affiliation": "",
        "maxenrollments": -1,
        "attrs": {
            "hf.Registrar.Roles": "*",
            "hf.Registrar.DelegateRoles": "*",
            "hf.Registrar.Attributes": "*",
            "hf.Revoker": "true",
            "hf.GenCRL": "true",
        },
    }
    signing = {
        "default": {"usage": ["digital signature"], "expiry": "8760h"},
        "profiles": {
            "tls": {
                "usage": ["signing", "server auth", "client auth"],
                "expiry": "8760h",
            }
        },
    }
    settings = {
        "version": "1.5.21",
        "ca": {
            "name": name,
            "certfile": str(folder / "issuer" / "cert.pem"),
            "keyfile": str(folder / "issuer" / "key.pem"),
        },
        "crl": {"expiry": "24h"},
        "registry": {"maxenrollments": -1, "identities": [registrar]},
        "db": {"type": "sqlite3", "datasource": str(folder / "ca.db")},
        "affiliations": {"bankone": ["branch"]},
        "signing": signing,
        **more,
    }
    path = folder / "fabric-ca-server-config.yaml"
    path.touch(mode=0o600)
    path.write_text(json.dumps(settings), encoding="utf-8")


def _wait(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        while True:
            if server.process.poll() is not None or time.monotonic() > deadline:
                server.stop()
                raise AssertionError(f"the CA did not start:\n{server.log.read_text()[-3000:]}")
            try:
                url = f"https://localhost:{server.port}/healthz"
                session.get(url, verify=str(server.tls_ca), timeout=2)
                return
            except requests.exceptions.RequestException:
                time.sleep(0.05)
