"""Fabric's own peer as a process, beside the embedded nodes. Needs FABRIC_BIN.

Its settings start from the sample that ships next to Fabric's executables: FABRIC_CFG_PATH names
the folder with core.yaml, else $FABRIC_BIN/../config or $FABRIC_BIN/../src/sampleconfig.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from peer_world import CHANNEL, ORGANIZATIONS, PEERS, World

_BUILDER = """#!{python} -ISE
import os, shutil, sys
if os.path.basename(sys.argv[0]) == "release":
    folder = os.path.join(sys.argv[2], "chaincode", "server")
    os.makedirs(folder, exist_ok=True)
    shutil.copy({connection!r}, os.path.join(folder, "connection.json"))
"""


def executable() -> Path | None:
    folder = os.environ.get("FABRIC_BIN", "")
    path = Path(folder) / "peer"
    return path if folder and path.is_file() and sample() is not None else None


def sample() -> Path | None:
    binaries = Path(os.environ.get("FABRIC_BIN", "."))
    named = os.environ.get("FABRIC_CFG_PATH")
    places = [binaries.parent / "config", binaries.parent / "src" / "sampleconfig"]
    if named:
        places.insert(0, Path(named))
    return next((item / "core.yaml" for item in places if (item / "core.yaml").is_file()), None)


class RealPeer:
    """A peer process of an organisation with its embedded peer's identity, on ports of its own."""

    def __init__(self, world: World, organization: str, folder: Path, ports: list[int]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = ports[0]
        self.endpoint = f"127.0.0.1:{ports[0]}"
        builder = self._builder(world, folder / "builder")
        settings = self._settings(world, organization, ports, builder)
        (folder / "core.yaml").write_text(yaml.safe_dump(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def _builder(self, world: World, folder: Path) -> Path:
        (folder / "bin").mkdir(parents=True)
        connection = folder / "connection.json"
        connection.write_text(
            json.dumps(
                {
                    "address": f"127.0.0.1:{world.chaincode.port}",
                    "dial_timeout": "10s",
                    "tls_required": False,
                }
            )
        )
        text = _BUILDER.format(python=sys.executable, connection=str(connection))
        for name in ("detect", "build", "release"):
            script = folder / "bin" / name
            script.write_text(text)
            script.chmod(0o755)
        return folder

    def _settings(
        self, world: World, organization: str, ports: list[int], builder: Path
    ) -> dict[str, Any]:
        path = sample()
        assert path is not None
        core: dict[str, Any] = yaml.safe_load(path.read_text())
        node = world.home.node(organization, PEERS[organization])
        tls = node / "tls"
        peer = core["peer"]
        peer.update(
            id="real.peer",
            listenAddress=self.endpoint,
            address=self.endpoint,
            chaincodeListenAddress=f"127.0.0.1:{ports[1]}",
            fileSystemPath=str(self.folder / "data"),
            mspConfigPath=str(node / "msp"),
            localMspId=organization,
        )
        roots = [
            str(world.home.organization(name) / "tlsca" / "cert.pem") for name in ORGANIZATIONS
        ]
        peer["tls"] = {
            "enabled": True,
            "clientAuthRequired": True,
            "cert": {"file": str(tls / "cert.pem")},
            "key": {"file": str(tls / "key.pem")},
            "rootcert": {"file": str(tls / "ca.pem")},
            "clientRootCAs": {"files": roots},
            "clientCert": {"file": str(tls / "cert.pem")},
            "clientKey": {"file": str(tls / "key.pem")},
        }
        peer["gossip"].update(
            bootstrap=self.endpoint,
            endpoint=self.endpoint,
            externalEndpoint=self.endpoint,
            useLeaderElection=False,
            orgLeader=True,
        )
        peer["gossip"]["state"]["enabled"] = False
        # The embedded peers hand no approvals on: don't wait a minute for each.
        peer["gossip"]["pvtData"]["pullRetryThreshold"] = "100ms"
        core["operations"]["listenAddress"] = f"127.0.0.1:{ports[2]}"
        core["ledger"]["snapshots"]["rootDir"] = str(self.folder / "data" / "snapshots")
        core["vm"]["endpoint"] = ""
        core["chaincode"]["externalBuilders"] = [
            {"name": "ccaas", "path": str(builder), "propagateEnvironment": []}
        ]
        core["chaincode"]["system"] = dict.fromkeys(
            ("_lifecycle", "cscc", "lscc", "qscc"), "enable"
        )
        return core

    def start(self) -> None:
        program = executable()
        assert program is not None
        environment = {
            "FABRIC_CFG_PATH": str(self.folder),
            "FABRIC_LOGGING_SPEC": "warning",
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
        }
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(program), "node", "start"],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


__all__ = ["CHANNEL", "RealPeer", "executable"]
