"""Up, down, status and reset of one home: what the command line does, without its words."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from clearline import supervisor
from clearline.processes import GroupSpec, GroupStatus, ProcessStatus, State, spec_document
from network import genesis, identities, lifecycle, ports, topology_document, topology_file
from network import home as homes
from network import package as packages
from network import topology as topologies
from network.engines import engine
from network.home import Home, HomeError, Marker
from network.package import Package
from network.topology import DEFAULT_TOPOLOGY, Engine, Topology

GROUP: Final = "network"
DEFAULT_SOURCE: Final = "default"
_GRACE_SECONDS: Final = 5.0

Progress = Callable[[str], None]


class PortChoice(Enum):
    """Where a new network's ports come from."""

    TOPOLOGY = "topology"
    FREE = "free"


@dataclass(frozen=True)
class UpRequest:
    """What `up` is asked for. topology: None means the home's own, or the one that ships."""

    home: Home
    topology: Path | None
    engine: Engine
    ports: PortChoice


@dataclass(frozen=True)
class UpResult:
    """What is running now. started: whether this call started it."""

    topology: Topology
    sequence: int
    started: bool


def up(request: UpRequest, progress: Progress) -> UpResult:
    """Bring the network up; harmless when it is up.

    Raises TopologyError, HomeError, EngineError, PortError, SupervisorError, AdministrationError.
    """
    home, chosen = request.home, engine(request.engine)
    remarks = chosen.check()
    homes.read_marker(home)  # refuses a foreign folder before the lock would write into it
    with _alone(home):
        for remark in remarks:
            progress(remark)
        topology = make_home(request, progress)
        package = packages.create(topology.chaincode.label, packages.distribution_root())
        spec = GroupSpec(GROUP, chosen.processes(home, topology, package), _GRACE_SECONDS)
        running = supervisor.status(home.run, GROUP)
        supervised = running is not None and running.supervised
        if running is not None and supervised:
            _same_processes(running, spec)
        else:
            down(home)  # what a killed supervisor left behind holds the ports
            _check_ports(topology, spec)
            chosen.prepare(home, topology, package)
            _write_package(home, package)
            progress("starting the nodes")
        supervisor.start(spec, home.run, lambda process: _report(process, progress))
        asyncio.run(chosen.join_orderers(home, topology))
        done = asyncio.run(lifecycle.bring_up(home, topology, package, progress))
        if done.changed or not supervised:
            progress("proving that the network commits")
            asyncio.run(lifecycle.prove(home, topology))
    return UpResult(topology, done.sequence, started=not supervised)


def down(home: Home, progress: Progress = lambda _: None) -> bool:
    """End the home's own node processes; False when none ran. Raises SupervisorError."""
    return supervisor.stop(
        home.run, GROUP, _GRACE_SECONDS, lambda process: progress(f"{process.name} stopped")
    )


def reset(home: Home, progress: Progress = lambda _: None) -> tuple[str, ...]:
    """Stop the network and delete the home's data; names of foreign things left in the folder.

    Raises HomeError `still_running` while another group of this home runs.
    """
    if homes.read_marker(home) is None:
        return ()
    for state in sorted(home.run.glob("*.json")):
        group = state.name.removesuffix(".json")
        if group == GROUP or group.endswith(".spec"):
            continue
        other = supervisor.status(home.run, group)
        if other is not None and (other.supervised or any(p.alive for p in other.processes)):
            raise HomeError(
                "still_running",
                f'the group "{group}" of {home.root} still runs and its data would be deleted: '
                "run `clearline down` first",
            )
    down(home, progress)
    progress(f"deleting {home.root}")
    return homes.remove(home)


def make_home(request: UpRequest, progress: Progress) -> Topology:
    """The home's topology, after making what is missing of certificates and genesis block.

    Raises TopologyError, HomeError, EngineError, PortError.
    """
    home = request.home
    marker = homes.read_marker(home)
    if marker is not None and marker.engine is not request.engine:
        raise HomeError(
            "other_engine",
            f"{home.root} was made for the {marker.engine.value} engine: "
            f"use --engine {marker.engine.value} or another --home",
        )
    source = _source(request, marker)
    # The genesis block is written last: a home without it was cut off before anything ran.
    if marker is not None and home.genesis_block.exists():
        if source is None:
            return homes.resolved_topology(home, marker)
        return homes.same_network(home, marker, topology_file.load(source, request.engine))
    wanted = topology_file.load(source or DEFAULT_TOPOLOGY, request.engine)
    if marker is not None and marker.network != wanted.network:
        homes.same_network(home, marker, wanted)
    return _create(request, wanted, progress)


def _source(request: UpRequest, marker: Marker | None) -> Path | None:
    """The topology file that counts; None when the one the home was made from is gone."""
    if request.topology is not None:
        return request.topology
    if marker is None or marker.source == DEFAULT_SOURCE:
        return DEFAULT_TOPOLOGY
    recorded = Path(marker.source)
    return recorded if recorded.exists() else None


def _create(request: UpRequest, wanted: Topology, progress: Progress) -> Topology:
    home = request.home
    if request.ports is PortChoice.FREE:
        wanted = topologies.map_ports(wanted, lambda host, port: 0)
    topology = ports.resolve(wanted)
    # A folder that is never written to when something is wrong: ports and engine first.
    package = packages.create(topology.chaincode.label, packages.distribution_root())
    processes = engine(request.engine).processes(home, topology, package)
    _check_ports(topology, GroupSpec(GROUP, processes))
    progress("making certificates and the genesis block")
    source = DEFAULT_SOURCE if request.topology is None else str(request.topology.resolve())
    homes.write_marker(
        home,
        Marker(
            network=topology.network,
            engine=request.engine,
            topology_sha256=topology_document.digest(topology),
            free_ports=request.ports is PortChoice.FREE,
            source=source,
        ),
    )
    for name in ("crypto", "profiles", "channel", "chaincode", "nodes"):
        shutil.rmtree(home.root / name, ignore_errors=True)
    homes.write_text(home.topology_file, topology_document.dump(topology))
    identities.create(home, topology)
    _write_bytes(home.genesis_block, genesis.create(home, topology))
    return topology


def _check_ports(topology: Topology, spec: GroupSpec) -> None:
    """Only the network's own ports: the rooms' are theirs to look after."""
    own = {process.name for process in spec.processes}
    uses = [use for use in topologies.ports(topology) if use.owner in own]
    ports.check(uses)


def _same_processes(running: GroupStatus, spec: GroupSpec) -> None:
    if running.spec_sha256 != supervisor.spec_digest(spec_document(spec)):
        raise HomeError(
            "running_differently",
            "the network runs with other settings or another version of the contract's code: "
            "run `clearline down` (or `clearline network down`), then up again",
        )


def _write_package(home: Home, package: Package) -> None:
    _write_bytes(home.package_file, package.content)


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _report(process: ProcessStatus, progress: Progress) -> None:
    """Tell what an operator wants to know of a start: who is ready, and who fell over."""
    if process.state is State.READY:
        progress(f"{process.name} ready")
    elif process.state is State.BACKOFF:
        progress(f"{process.name} ended ({process.last_exit}), starting it again")


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """One `up` at a time in a home; another one waits for it."""
    home.run.mkdir(parents=True, exist_ok=True)
    with (home.run / "up.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
