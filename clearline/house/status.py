"""How the rooms of a house are: their processes, and which connector of an acquirer acts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from clearline import supervisor
from clearline.house import command, rooms
from clearline.house.layout import Connector, House, HouseError
from clearline.processes import ProcessStatus
from clearline.supervisor import SupervisorError

ACTS: Final = "acts"
STANDS_BY: Final = "stands by"
STARTING: Final = "not level yet"
_OPEN: Final = ("pending", "sending", "doubtful", "accepted", "late")


@dataclass(frozen=True, slots=True)
class Row:
    """A process; of a connector also its acquirer, its role, the epoch it acts under (None when it
    does not act) and how many payments are open in its outbox (None likewise)."""

    process: str
    state: str
    ready: bool
    restarts: int
    acquirer: str = ""
    role: str = ""
    epoch: int | None = None
    open: int | None = None


def statuses(house: House) -> list[Row]:
    """A row a process, in the order they are started. Raises HouseError when none runs."""
    try:
        group = supervisor.status(house.run_dir, rooms.GROUP)
    except SupervisorError as error:
        raise HouseError(str(error)) from None
    if group is None:
        raise HouseError(f"no rooms run in {house.home}: run `clearline up` first")
    connectors = {
        connector.name: connector
        for acquirer in house.acquirers
        for connector in house.connectors(acquirer)
    }
    return [_row(house, process, connectors.get(process.name)) for process in group.processes]


def healthy(rows: Sequence[Row]) -> bool:
    """Whether every process is ready and each acquirer has exactly one connector that acts."""
    acting = [row.acquirer for row in rows if row.role == ACTS]
    acquirers = {row.acquirer for row in rows if row.acquirer}
    return all(row.ready for row in rows) and sorted(acting) == sorted(acquirers)


def _row(house: House, process: ProcessStatus, connector: Connector | None) -> Row:
    row = Row(process.name, process.state.value, process.ready, process.restarts)
    if connector is None:
        return row
    data = house.room_dir(connector.name) / "data"
    role = STARTING
    if process.ready:  # the files of one that was killed are still there
        role = ACTS if (data / "ready").exists() else STANDS_BY
    said = _said(house, connector) if role == ACTS else {}
    return Row(
        row.process,
        row.state,
        row.ready,
        row.restarts,
        connector.acquirer.acquirer_id,
        role,
        said.get("epoch"),
        sum(said["payments"].get(phase, 0) for phase in _OPEN) if said else None,
    )


def _said(house: House, connector: Connector) -> dict[str, Any]:
    """What the connector's own command says; nothing before it has run."""
    try:
        shown = command.output(
            "connector", "status", "--config", house.settings(connector), "--json"
        )
    except HouseError:
        return {}
    said: dict[str, Any] = json.loads(shown)
    return said
