"""`clearline network`: up, down, status, reset, logs, endpoints.

Exit codes: 0 done, 1 an error (its code in square brackets), 2 a wrong command line.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import click
from rich.console import Console
from rich.status import Status
from rich.table import Table

from clearline import supervisor
from clearline.processes import GroupStatus, ProcessStatus
from clearline.supervisor import SupervisorError
from network import home as homes
from network import topology as topologies
from network.home import Home, HomeError
from network.topology import Engine, Topology, TopologyError

_Command = TypeVar("_Command", bound=Callable[..., Any])

GROUP: Final = "network"
_FOLLOW_SECONDS: Final = 0.1
_TAIL_BYTES: Final = 256 * 1024


def _home_option(command: _Command) -> _Command:
    return click.option(
        "--home",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="CLEARLINE_HOME",
        default=".clearline/dev",
        show_default=True,
        help="The network's folder (environment: CLEARLINE_HOME).",
    )(command)


@contextmanager
def _errors() -> Iterator[None]:
    """What can go wrong, as one line or a few on standard error, and exit code 1."""
    try:
        yield
    except TopologyError as error:
        count = len(error.problems)
        lines = "\n".join(f"  {problem}" for problem in error.problems)
        raise click.ClickException(
            f"{count} mistake{'s' if count > 1 else ''} in the topology:\n{lines}"
        ) from error
    except (HomeError, SupervisorError) as error:
        raise click.ClickException(f"{error} [{error.code}]") from error


@contextmanager
def _network_errors() -> Iterator[None]:
    """Those of setting a network up: they need gRPC, which only `up` and `status` load."""
    from clearline.fabric.identity import IdentityError
    from clearline.fabric.profile import ProfileError
    from clearline.ports import PortError
    from network.administration import AdministrationError
    from network.engine import EngineError
    from network.genesis import GenesisError
    from network.package import PackageError

    try:
        yield
    except (EngineError, PortError) as error:
        raise click.ClickException(f"{error} [{error.code}]") from error
    except AdministrationError as error:
        raise click.ClickException(
            f"{error} [setup_failed]\nThe nodes keep running: look at `clearline network logs "
            f"{error.node}`, run `up` again to continue, or `down` to end them."
        ) from error
    except (IdentityError, ProfileError, GenesisError, PackageError) as error:
        raise click.ClickException(f"{error} [setup_failed]") from error


class _Steps:
    """Progress: a spinner on a terminal, plain lines with seconds elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._began = time.monotonic()
        self._spinner: Status | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._spinner = self._console.status("")
            self._spinner.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._spinner is not None:
            self._spinner.stop()

    def __call__(self, text: str) -> None:
        self._console.print(f"{time.monotonic() - self._began:6.2f} s  {text}", markup=False)
        if self._spinner is not None:
            self._spinner.update(text)


@click.group()
def network() -> None:
    """Run the blockchain network: its nodes, certificates and channel.

    Example: clearline network up && clearline network status
    """


@network.command()
@_home_option
@click.option(
    "--topology",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What the network consists of; default: the one that ships (network/network.yaml).",
)
@click.option("--free-ports", is_flag=True, help="Choose free ports instead of the topology's.")
@click.option(
    "--engine",
    type=click.Choice([item.value for item in Engine]),
    default=Engine.EMBEDDED.value,
    show_default=True,
    help="Which programs run the nodes; fabric: Hyperledger Fabric's own, found in FABRIC_BIN.",
)
def up(folder: Path, topology: Path | None, free_ports: bool, engine: str) -> None:
    """Start the network; the first time, make its certificates and channel too.

    Harmless when it runs already.

    \b
    Example: clearline network up
             clearline network up --home /tmp/trial --free-ports
             FABRIC_BIN=~/fabric/bin clearline network up --engine fabric
    """
    from network.bringup import PortChoice, UpRequest
    from network.bringup import up as run

    choice = PortChoice.FREE if free_ports else PortChoice.TOPOLOGY
    request = UpRequest(Home(folder.absolute()), topology, Engine(engine), choice)
    with _errors(), _network_errors(), _Steps() as steps:
        result = run(request, steps)
        what = "is up" if result.started else "was up already"
        steps(f"network {result.topology.network} {what}")


@network.command()
@_home_option
def down(folder: Path) -> None:
    """Stop the network's processes, and no others. The ledger stays.

    Example: clearline network down
    """
    home = Home(folder.absolute())
    with _errors(), _Steps() as steps:
        if homes.read_marker(home) is None:
            raise click.ClickException(f"there is no network in {home.root} [no_network]")
        stopped = supervisor.stop(
            home.run, GROUP, progress=lambda process: steps(f"{process.name} stopped")
        )
        steps("the network is down" if stopped else "the network was not running")


@network.command()
@_home_option
@click.option("--heights", is_flag=True, help="Ask each peer for its block height.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(folder: Path, heights: bool, as_json: bool) -> None:
    """Show the network's processes. Exits with 1 unless all of them are ready.

    Example: clearline network status --heights
    """
    home = Home(folder.absolute())
    with _errors(), _network_errors():
        topology = _topology(home)
        current = supervisor.status(home.run, GROUP)
        asked = _heights(home, topology) if heights and current is not None else {}
    rows = [_row(process, asked) for process in current.processes] if current else []
    healthy = current is not None and current.supervised and all(row.ready for row in rows)
    if as_json:
        click.echo(json.dumps(_status_document(current, rows), indent=2))
    else:
        _print_status(home, current, rows)
    if not healthy:
        raise SystemExit(1)


@network.command()
@_home_option
@click.option("--yes", is_flag=True, help="Don't ask.")
def reset(folder: Path, yes: bool) -> None:
    """Stop the network and delete its data: ledger, certificates, the rooms' data in the home.

    Example: clearline network reset --yes
    """
    from network.bringup import reset as run

    home = Home(folder.absolute())
    with _errors(), _Steps() as steps:
        if homes.read_marker(home) is None:
            steps(f"there is no network in {home.root}: nothing to delete")
            return
    listed = ", ".join(homes.contents(home))
    if not yes:
        click.confirm(f"Delete {listed} in {home.root}?", abort=True, err=True)
    with _errors(), _Steps() as steps:
        left = run(home, steps)
        steps("deleted" if not left else f"deleted; not ours and kept: {', '.join(left)}")


@network.command()
@_home_option
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Keep printing what is added.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    help="How many lines at first.",
)
def logs(folder: Path, name: str, follow: bool, lines: int) -> None:
    """Print the log of a process.

    \b
    Example: clearline network logs peer0.bankone -f
    """
    home = Home(folder.absolute())
    with _errors():
        if homes.read_marker(home) is None:
            raise click.ClickException(f"there is no network in {home.root} [no_network]")
    path = home.log(name)
    if path.parent != home.logs or not path.is_file():
        known = ", ".join(sorted(found.stem for found in home.logs.glob("*.log"))) or "none yet"
        raise click.UsageError(f'there is no log "{name}". Logs: {known}')
    _print_log(path, lines, until_interrupted=follow)


@network.command()
@_home_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def endpoints(folder: Path, as_json: bool) -> None:
    """Show where everything listens, and the connection profiles of the users.

    Example: clearline network endpoints --json
    """
    home = Home(folder.absolute())
    with _errors():
        topology = _topology(home)
    uses = topologies.ports(topology)
    profiles = [
        (organization.name, user.name, home.profile(organization.name, user.name))
        for organization in topology.organizations
        for user in organization.users
    ]
    if as_json:
        document = {
            "network": topology.network,
            "channel": topology.channel.id,
            "chaincode": topology.chaincode.name,
            "endpoints": {use.name: f"{use.host}:{use.port}" for use in uses},
            "profiles": {f"{org}/{user}": str(path) for org, user, path in profiles},
        }
        click.echo(json.dumps(document, indent=2))
        return
    table = Table("name", "endpoint", title=f"{topology.network}, channel {topology.channel.id}")
    for use in uses:
        table.add_row(use.name, f"{use.host}:{use.port}")
    people = Table("user", "connection profile")
    for organization, user, path in profiles:
        people.add_row(f"{organization}/{user}", os.path.relpath(path))
    console = Console()
    console.print(table)
    console.print(people)


@dataclass(frozen=True)
class _Row:
    """A process as `status` shows it. memory: PSS in bytes, USS where the system has no PSS."""

    process: ProcessStatus
    state: str
    memory: int | None
    height: int | None

    @property
    def ready(self) -> bool:
        return self.process.ready and self.process.alive


def _topology(home: Home) -> Topology:
    marker = homes.read_marker(home)
    if marker is None or not home.topology_file.exists():
        raise click.ClickException(
            f"there is no network in {home.root}: run `clearline network up` [no_network]"
        )
    return homes.resolved_topology(home, marker)


def _heights(home: Home, topology: Topology) -> dict[str, int | None]:
    import asyncio

    from network.lifecycle import heights as ask

    return asyncio.run(ask(home, topology))


def _row(process: ProcessStatus, heights: dict[str, int | None]) -> _Row:
    state = process.state.value
    if process.id is not None and not process.alive:
        state = "dead"
    return _Row(process, state, _memory(process), heights.get(process.name))


def _memory(process: ProcessStatus) -> int | None:
    import psutil

    if process.id is None or not process.alive:
        return None
    try:
        full = psutil.Process(process.id.pid).memory_full_info()
    except psutil.Error:
        return None
    return int(getattr(full, "pss", full.uss))


def _status_document(current: GroupStatus | None, rows: list[_Row]) -> dict[str, Any]:
    return {
        "supervised": current is not None and current.supervised,
        "processes": [
            {
                "name": row.process.name,
                "state": row.state,
                "ready": row.ready,
                "pid": row.process.id.pid if row.process.id else None,
                "ports": dict(row.process.ports),
                "restarts": row.process.restarts,
                "last_exit": row.process.last_exit,
                "memory_bytes": row.memory,
                "height": row.height,
            }
            for row in rows
        ],
    }


def _print_status(home: Home, current: GroupStatus | None, rows: list[_Row]) -> None:
    console = Console()
    if current is None:
        console.print(f"The network in {home.root} is not running: `clearline network up`.")
        return
    table = Table("process", "state", "pid", "port", "restarts", "height", "memory")
    for row in rows:
        table.add_row(
            row.process.name,
            row.state,
            str(row.process.id.pid) if row.process.id else "-",
            ", ".join(str(port) for port in row.process.ports.values()),
            str(row.process.restarts),
            "-" if row.height is None else str(row.height),
            "-" if row.memory is None else f"{row.memory / 1e6:.0f} MB",
        )
    console.print(table)
    if not current.supervised:
        console.print(
            "Its supervisor is gone: nothing is restarted. `clearline network up` starts it anew."
        )


def _print_log(path: Path, lines: int, *, until_interrupted: bool) -> None:
    """The last lines; then what is added, also after the log was put aside for a new one."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        for line in file.read().splitlines()[-lines:]:
            click.echo(line.decode(errors="replace"))
        position = file.tell()
    while until_interrupted:
        time.sleep(_FOLLOW_SECONDS)
        size = path.stat().st_size if path.exists() else 0
        position = 0 if size < position else position
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                added = file.read()
            click.echo(added.decode(errors="replace"), nl=False)
            position += len(added)
