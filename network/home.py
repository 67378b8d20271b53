"""The home folder: where everything of one network on this machine lives, and whose it is.

`home.json` marks a folder as ours. Nothing is ever written into, started from or removed out of a
folder that holds other things without it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from network import topology as topologies
from network import topology_document, topology_file
from network.topology import Engine, Topology, TopologyError

FORMAT: Final = 1
# What the home layout knows, the rooms' folders among it: their data speak of this ledger.
_KNOWN: Final = (
    "crypto", "profiles", "channel", "chaincode", "nodes", "network.yaml", "acquirers", "bank",
    "merchant", "rooms", "logs", "run",
)  # fmt: skip


class HomeError(Exception):
    """A home folder that can't be used: stable `code`, reason and what to do in the text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Marker:
    """home.json. topology_sha256: of the resolved topology. source: the topology file it was made
    from, "default" for the one that ships. free_ports: whether its ports were ignored."""

    network: str
    engine: Engine
    topology_sha256: str
    free_ports: bool
    source: str


@dataclass(frozen=True)
class Home:
    """Paths below one home folder (the layout that all rooms read)."""

    root: Path

    @property
    def marker_file(self) -> Path:
        return self.root / "home.json"

    @property
    def topology_file(self) -> Path:
        return self.root / "network.yaml"

    @property
    def genesis_block(self) -> Path:
        return self.root / "channel" / "genesis.block"

    @property
    def package_file(self) -> Path:
        return self.root / "chaincode" / "clearline.tar.gz"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def organization(self, name: str) -> Path:
        return self.root / "crypto" / name

    def node(self, organization: str, node: str) -> Path:
        """A node's certificates: msp/ and tls/ below it."""
        return self.organization(organization) / "nodes" / node

    def user(self, organization: str, user: str) -> Path:
        return self.organization(organization) / "users" / user

    def service(self, organization: str, service: str) -> Path:
        return self.organization(organization) / "services" / service

    def chaincode(self, organization: str) -> Path:
        return self.root / "chaincode" / organization

    def node_settings(self, node: str) -> Path:
        return self.root / "nodes" / node / "node.json"

    def profile(self, organization: str, user: str) -> Path:
        return self.root / "profiles" / organization / f"{user}.json"

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).chmod(0o644)
    Path(name).replace(path)


def read_marker(home: Home) -> Marker | None:
    """The home's marker; None when the folder is missing or empty.

    Raises HomeError: `foreign_folder` when it holds something else, `nested_home` when it lies in
    another home, `unreadable_home` when the marker can't be understood.
    """
    _refuse_nested(home)
    if not home.root.exists():
        return None
    if not home.root.is_dir():
        raise HomeError("foreign_folder", f"{home.root} is a file: choose another --home")
    try:
        text = home.marker_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        # Logs and locks may be there before the first `up`; anything else is somebody's data.
        if all(_ours_before_up(entry) for entry in home.root.iterdir()):
            return None
        raise HomeError(
            "foreign_folder",
            f"{home.root} holds files but no home.json: it is not a Clearline home. "
            "Nothing was touched. Choose another folder with --home.",
        ) from None
    return _parse_marker(home, text)


def _ours_before_up(entry: Path) -> bool:
    """`run` may also be another home's name: then it isn't this one's folder of locks."""
    return entry.name in {"logs", "run"} and not (entry / "home.json").exists()


def _refuse_nested(home: Home) -> None:
    """A home in a home would be deleted with it, or mistaken for its folder of locks."""
    around = next((up for up in home.root.parents if (up / "home.json").exists()), None)
    if around is not None:
        raise HomeError(
            "nested_home",
            f"{home.root} lies in {around}, which is a Clearline home itself: "
            "choose a folder outside it with --home.",
        )


def _parse_marker(home: Home, text: str) -> Marker:
    try:
        raw: dict[str, Any] = json.loads(text)
        found = raw["format"]
        if found == FORMAT:
            return Marker(
                network=str(raw["network"]),
                engine=Engine(raw["engine"]),
                topology_sha256=str(raw["topology_sha256"]),
                free_ports=bool(raw["free_ports"]),
                source=str(raw["source"]),
            )
    except (ValueError, KeyError, TypeError) as error:
        raise HomeError(
            "unreadable_home",
            f"{home.marker_file} can't be understood ({error!r}). If nothing in {home.root} "
            "matters, remove the folder and start again.",
        ) from error
    raise HomeError(
        "unreadable_home",
        f"{home.marker_file} has format {found!r}, this version reads {FORMAT}: "
        "use the version that made it, or another --home.",
    )


def write_marker(home: Home, marker: Marker) -> None:
    """Mark the folder as ours."""
    raw = {
        "format": FORMAT,
        "network": marker.network,
        "engine": marker.engine.value,
        "topology_sha256": marker.topology_sha256,
        "free_ports": marker.free_ports,
        "source": marker.source,
    }
    write_text(home.marker_file, json.dumps(raw, indent=2) + "\n")


def resolved_topology(home: Home, marker: Marker) -> Topology:
    """The topology that the home was made from. Raises HomeError when it was edited."""
    try:
        topology = topology_file.load(home.topology_file, marker.engine)
    except TopologyError as error:
        raise HomeError(
            "unreadable_home", f"{home.topology_file} can't be read: {error}"
        ) from error
    if topology_document.digest(topology) != marker.topology_sha256:
        raise HomeError(
            "home_edited",
            f"{home.topology_file} was changed by hand after the network was made from it. "
            "Undo that, or `clearline network reset` and start again from your own file.",
        )
    return topology


def same_network(home: Home, marker: Marker, wanted: Topology) -> Topology:
    """The home's own topology, if `wanted` describes the same network.

    Raises HomeError: `other_network` for another name, `topology_changed` with the differences.
    """
    if marker.network != wanted.network:
        raise HomeError(
            "other_network",
            f'{home.root} belongs to network "{marker.network}", not "{wanted.network}": '
            "choose another folder with --home.",
        )
    current = resolved_topology(home, marker)
    asked = wanted
    if marker.free_ports:
        asked = topologies.map_ports(wanted, lambda host, port: 0)
    changes = topology_document.differences(current, asked)
    if changes:
        listed = "\n".join(f"  {change}" for change in changes[:8])
        more = f"\n  and {len(changes) - 8} more" if len(changes) > 8 else ""
        raise HomeError(
            "topology_changed",
            f"the topology differs from the one {home.root} was made from:\n{listed}{more}\n"
            "A running channel isn't changed by editing the file. Undo the edit, use another "
            "--home, or `clearline network reset` (it deletes the ledger) and start again.",
        )
    return current


def contents(home: Home) -> tuple[str, ...]:
    """Names in the home that `remove` deletes."""
    return tuple(name for name in _KNOWN if (home.root / name).exists())


def remove(home: Home) -> tuple[str, ...]:
    """Delete what the home layout knows; names of what is left, which is somebody else's."""
    for name in _KNOWN:
        path = home.root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # The marker goes last, so that an interrupted reset can be run again.
    home.marker_file.unlink(missing_ok=True)
    left = tuple(sorted(entry.name for entry in home.root.iterdir()))
    if not left:
        home.root.rmdir()
    return left
