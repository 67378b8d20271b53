"""What `make bench-ledger` compares: our shim, Fabric's Go shim, and the payment contract."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark import deployment, payments_chaincode
from benchmark.deployment import Server
from benchmark.home import BenchHouse
from benchmark.intents import SINK, SubmitIntents
from benchmark.ledger_load import Arguments
from benchmark.payments_chaincode import Pay
from network.home import Home

PYTHON, GO, CONTRACT = "our shim", "Go shim", "payment contract"
_GO_SOURCES = Path(__file__).parent / "go"


@dataclass(frozen=True, slots=True)
class Contender:
    """A chaincode on the channel; servers are its own processes, none for the network's own."""

    name: str
    chaincode: str
    servers: tuple[Server, ...]

    @property
    def processes(self) -> dict[str, int]:
        """Its own servers' pids, named as the network's own are: `chaincode.bankone`."""
        return {f"chaincode.{one.organization}": one.process.pid for one in self.servers}

    def arguments(self, bench: BenchHouse, size: int, transactions: int) -> Arguments:
        """A load of new payments."""
        signing = bench.signing(SINK)
        if self.name == CONTRACT:
            return SubmitIntents(signing, size, transactions)
        return Pay(signing.prefix, size, transactions)


@contextmanager
def contenders(bench: BenchHouse, folder: Path) -> Iterator[tuple[Contender, ...]]:
    """All that can run here, deployed; `folder` for what is built."""
    found = [Contender(CONTRACT, bench.topology.chaincode.name, ())]
    programs = {PYTHON: _python(), GO: _go(folder)}
    started: list[Server] = []
    try:
        for number, (name, program) in enumerate(programs.items()):
            if program is None:
                continue
            servers = _deploy(bench, f"bench{number}", program)
            started += servers
            found.append(Contender(name, f"bench{number}", tuple(servers)))
        yield tuple(found)
    finally:
        deployment.stop(started)


def _deploy(bench: BenchHouse, name: str, program: Sequence[str]) -> list[Server]:
    home, topology = Home(bench.house.home), bench.topology
    servers = [
        deployment.start(home, topology, organization, name, program)
        for organization, _ in topology.peers()
    ]
    try:
        for server in servers:
            deployment.until_ready(server)
        asyncio.run(deployment.deploy(home, topology, name, servers))
    except BaseException:
        deployment.stop(servers)
        raise
    return servers


def _python() -> Sequence[str]:
    return (sys.executable, "-P", str(Path(payments_chaincode.__file__)))


def _go(folder: Path) -> Sequence[str] | None:
    """The Go chaincode, built; None where there is no Go."""
    go = shutil.which("go")
    if go is None:
        return None
    program = folder / "chaincode"
    words = [go, "build", "-mod=readonly", "-trimpath", "-o", str(program), "."]
    subprocess.run(words, cwd=_GO_SOURCES, check=True)
    return (str(program),)
