"""The identities of an organisation as rows: those of this machine, or those at its CA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from clearline.times import render
from network.ca import keys, registry, store
from network.ca.client import Profile, Registered
from network.ca.enrolment import Member
from network.certificates import ROLE_ATTRIBUTE


@dataclass(frozen=True)
class LocalRow:
    """An identity of this machine. expires: RFC 3339. issued_by: the CA's address, or
    "development". state: valid, expired or revoked (by the CRL that was fetched last)."""

    name: str
    type: str
    role: str
    expires: str
    days_left: int
    issued_by: str
    state: str
    serial: str


@dataclass(frozen=True)
class RegisteredRow:
    """An identity that the CA knows. enrollments: how many it may make, -1 for no limit."""

    name: str
    type: str
    role: str
    affiliation: str
    enrollments: int


Row = LocalRow | RegisteredRow


def names(member: Member) -> tuple[str, ...]:
    """Users and nodes of the organisation that this machine has a folder of."""
    root = member.home.organization(member.organization.name)
    return tuple(
        sorted(
            entry.name
            for inner in ("nodes", "users")
            if (root / inner).is_dir()
            for entry in (root / inner).iterdir()
            if entry.is_dir()
        )
    )


def enrolled_names(member: Member, profile: Profile) -> tuple[str, ...]:
    """Those that were enrolled at a CA."""
    found = (store.load(member.place(name, profile)) for name in names(member))
    return tuple(item.place.name for item in found if item is not None and item.authority)


def on_machine(member: Member, profile: Profile) -> tuple[LocalRow, ...]:
    """Raises IdentityCommandError for a folder that can't be read."""
    revoked = registry.revoked_serials(member)
    now = datetime.now(UTC)
    rows = []
    for name in names(member):
        found = store.load(member.place(name, profile))
        if found is None:
            continue
        about = keys.describe(found.certificate)
        left = about.expires - now
        state = "valid" if left.total_seconds() > 0 else "expired"
        if about.serial in revoked and profile is Profile.IDENTITY:
            state = "revoked"
        rows.append(
            LocalRow(
                name=name,
                type=about.unit,
                role=about.role or "",
                expires=render(about.expires),
                days_left=left.days,
                issued_by="development" if found.authority is None else found.authority.url,
                state=state,
                serial=f"{about.serial:x}",
            )
        )
    return tuple(rows)


def at_authority(found: Iterable[Registered]) -> tuple[RegisteredRow, ...]:
    """The CA's registered identities as rows."""
    return tuple(
        RegisteredRow(
            name=item.name,
            type=item.kind,
            role=item.attributes.get(ROLE_ATTRIBUTE, ""),
            affiliation=item.affiliation,
            enrollments=item.max_enrollments,
        )
        for item in found
    )


def document(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For --json."""
    return [asdict(row) for row in rows]


def print_table(rows: Sequence[Row], title: str) -> None:
    """For people; --json has all."""
    if not rows:
        Console().print(f"{title}: no identities", markup=False)
        return
    # The days that are left say it to people; both are in --json.
    shown = [item.name for item in fields(rows[0]) if item.name not in {"serial", "expires"}]
    table = Table(title=title)
    for name in shown:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(str(getattr(row, name)) for name in shown))
    Console().print(table)
