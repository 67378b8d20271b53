"""Verification on the command line: from where blocks come, and from which state it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from audit import snapshots
from audit.blocks import read_block
from audit.findings import Finding, Wrong
from audit.snapshots import Snapshot, SnapshotError
from audit.source import SourceError, from_file, from_peer
from audit.verifier import Verifier
from clearline.fabric.profile import Profile, ProfileError

CHAINCODE: Final = "clearline"  # its name, where no profile tells
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
PROFILE = click.option(
    "--profile",
    "profile_path",
    type=_FILE,
    help="Connection profile of an auditor or supervisor.",
)
BLOCKS = click.option(
    "--blocks",
    "blocks_path",
    type=_FILE,
    help="Verify this export instead of asking a peer.",
)
NETWORK = click.option("--network", help="Network name; taken from the profile when there is one.")
SNAPSHOT = click.option(
    "--from-checkpoint",
    "snapshot_path",
    type=_FILE,
    help="Begin after the block of this snapshot, for which a checkpoint must stand.",
)
STATE = click.option("--state", help="State digest (hex) that the snapshot must have.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@dataclass(frozen=True)
class Asked:
    """What to verify: a peer's blocks or an export's, from the first or after a snapshot, of which
    `state` pins the digest; `until` is the last block to take, None: as far as there is."""

    profile_path: Path | None
    blocks_path: Path | None = None
    network: str | None = None
    snapshot_path: Path | None = None
    state: str | None = None
    until: int | None = None

    @classmethod
    def options(cls, command: Callable[..., Any]) -> Callable[..., Any]:
        """The options that say so, but `until`."""
        for option in (STATE, SNAPSHOT, NETWORK, BLOCKS, PROFILE):
            command = option(command)
        return command


@dataclass(frozen=True)
class Verified:
    """What came of it: the verifier, the first thing wrong, and what is wrong with where it began
    (empty: nothing)."""

    verifier: Verifier
    finding: Finding | None
    snapshot: Snapshot | None
    unfounded: str

    @property
    def right(self) -> bool:
        """Whether every check holds, and there was something to check."""
        wrong = self.finding or self.unfounded or self.verifier.checkpoints.wrong
        return not wrong and self.verifier.totals.blocks > 0

    def require(self) -> None:
        """Raise click.ClickException for the first thing wrong."""
        if self.finding is not None:
            raise click.ClickException(f"the first thing wrong: {self.finding}")
        if not self.verifier.totals.blocks:
            raise click.ClickException("there were no blocks to verify")
        if self.unfounded:
            raise click.ClickException(self.unfounded)


def verified(asked: Asked) -> Verified:
    """Verify. Raises click.ClickException when blocks or files can't be read."""
    verifier, snapshot, source = _begun(asked)
    try:
        finding = asyncio.run(_take_all(verifier, source, asked.until))
    except SourceError as error:
        raise click.ClickException(str(error)) from None
    return Verified(verifier, finding, snapshot, _unfounded(verifier, snapshot, asked.state))


def profile(path: Path | None) -> Profile:
    """The connection profile. Raises click.UsageError, click.ClickException."""
    if path is None:
        raise click.UsageError("name a connection profile with --profile")
    try:
        return Profile.load(path)
    except ProfileError as error:
        raise click.ClickException(str(error)) from None


def _begun(asked: Asked) -> tuple[Verifier, Snapshot | None, AsyncIterator[bytes]]:
    if asked.blocks_path is not None:
        if asked.network is None:
            raise click.UsageError("--blocks needs --network, the name intents are signed for")
        verifier, snapshot = _verifier(asked, asked.network, CHAINCODE)
        return verifier, snapshot, from_file(asked.blocks_path)
    known = profile(asked.profile_path)
    verifier, snapshot = _verifier(asked, asked.network or known.network, known.chaincode)
    return verifier, snapshot, from_peer(known, verifier.last + 1)


def _verifier(asked: Asked, network: str, chaincode: str) -> tuple[Verifier, Snapshot | None]:
    if asked.snapshot_path is None:
        if asked.state is not None:
            raise click.UsageError("--state goes with --from-checkpoint")
        return Verifier(network, chaincode), None
    try:
        snapshot = snapshots.read(asked.snapshot_path)
        if snapshot.network != network:
            raise click.ClickException(f"the snapshot is of {snapshot.network}, not {network}")
        return Verifier.resume(snapshot, chaincode), snapshot
    except (SnapshotError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except (Wrong, ValueError) as error:
        raise click.ClickException(f"{asked.snapshot_path} holds no state: {error}") from None


async def _take_all(
    verifier: Verifier, source: AsyncIterator[bytes], until: int | None
) -> Finding | None:
    async for raw in source:
        if until is not None and verifier.last >= until:
            break
        if _is_before(raw, verifier.last):
            continue
        finding = verifier.take(raw)
        if finding is not None:
            return finding
    return None


def _is_before(raw: bytes, last: int) -> bool:
    """Whether a file's block is one that the snapshot stands for."""
    try:
        return last >= 0 and read_block(raw).number <= last
    except Wrong:
        return False  # the verifier names it


def _unfounded(verifier: Verifier, snapshot: Snapshot | None, state: str | None) -> str:
    """Why the snapshot is not what a checkpoint states; empty when it is."""
    if snapshot is None:
        return ""
    digest = snapshot.digest()
    if state is not None:
        pinned = digest == state.lower()
        return "" if pinned else f"the snapshot is {digest}, not the pinned {state}"
    if snapshot.block in verifier.checkpoints.checked:
        return ""
    return (
        f"nothing vouches for the snapshot: no checkpoint of block {snapshot.block} with the "
        f"digest {digest} is in the blocks after it"
    )
