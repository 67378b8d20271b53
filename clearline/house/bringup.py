"""Bringing the house up and down."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearline import ports, records, supervisor
from clearline.house import command, rooms
from clearline.house.layout import MERCHANT_BANK, House, HouseError
from clearline.ports import PortError
from clearline.supervisor import SupervisorError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a caller chooses: where, on which engine, `ports` fixed (`topology`) or `free`, and how
    many `connectors` an acquirer has: with 2 the second stands by."""

    home: Path
    engine: str = "embedded"
    ports: str = "topology"
    connectors: int = 1


def up(choice: Choice, say: Say) -> House:
    """Start the network and the rooms, and register the demonstration merchant.

    Harmless when all of it runs already; what this call started of the network is stopped again
    when a room's port is taken. Raises HouseError.
    """
    ran = _runs(choice.home / "run", "network")
    words: list[str | Path] = ["network", "up", "--home", choice.home, "--engine", choice.engine]
    if choice.ports == "free":
        words.append("--free-ports")
    command.run(*words)
    house = House.of(choice.home)
    try:
        _check_ports(house)
    except PortError as error:
        if not ran:
            command.run("network", "down", "--home", choice.home)
        raise HouseError(f"{error} [{error.code}]") from None
    rooms.furnish(house, choice.connectors)
    register(house, say)
    say("starting the acquirers, the gateways and the connectors")
    try:
        supervisor.start(rooms.specification(house), house.run_dir)
    except SupervisorError as error:
        raise HouseError(f"{error} [{error.code}]") from None
    return house


def _runs(run_dir: Path, group: str) -> bool:
    status = supervisor.status(run_dir, group)
    return status is not None and status.supervised


def _check_ports(house: House) -> None:
    """Raises PortError when another program has a port of the rooms."""
    if _runs(house.run_dir, rooms.GROUP):
        return
    supervisor.stop(house.run_dir, rooms.GROUP)  # what a killed supervisor left holds them
    ports.check(
        house.listening(),
        "Stop that process, or take other ports: `clearline up --free-ports` with a new --home.",
    )


def register(house: House, say: Say) -> None:
    """Have each bank's maker propose and its checker approve its acquirers; the merchant's bank
    comes first, for the others name the merchant."""
    banks = dict.fromkeys((MERCHANT_BANK, *(acquirer.bank for acquirer in house.acquirers)))
    for bank in banks:
        _register(house, bank, rooms.ledger_records(house, bank, account_id(house)), say)


def _register(house: House, bank: str, wanted: list[dict[str, Any]], say: Say) -> None:
    folder = house.home / "bank" / bank
    done = folder / "applied.sha256"
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    if done.exists() and done.read_text() == digest:
        return
    kinds = ", ".join(dict.fromkeys(record["kind"].replace("_", " ") for record in wanted))
    say(f"registering {kinds}: {bank}'s maker proposes, its checker approves")
    path = folder / "records.json"
    path.write_text(json.dumps(wanted, indent=2) + "\n")
    command.output(
        "bank", "apply", path,
        "--maker", house.profile(bank, "maker"),
        "--checker", house.profile(bank, "checker"),
    )  # fmt: skip
    done.write_text(digest)


def account_id(house: House) -> str:
    """The keyed hash of the demonstration merchant's account; the banks' secret is made once."""
    secret = house.home / "bank" / "account.secret"
    if not secret.exists():
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.touch(mode=0o600)
        secret.write_bytes(secrets.token_bytes(32))
    return records.account_id(secret.read_bytes(), "BKONCNBJ", "3100000000000017")


def down(home: Path, say: Say = lambda _: None) -> None:
    """Stop the rooms, then the network: only what `up` in this home started."""
    say("stopping the gateways, the connectors and the acquirers")
    try:
        supervisor.stop(home / "run", rooms.GROUP, grace_seconds=10.0)
    except SupervisorError as error:
        raise HouseError(f"{error} [{error.code}]") from None
    command.run("network", "down", "--home", home)
