"""`clearline audit snapshot` and `checkpoint`: a stated state, for who begins later."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from audit import desk, snapshots
from audit.desk import DeskError
from audit.snapshots import Snapshot
from audit.verifying import PROFILE, Asked, profile, verified

_OUT = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("out", type=_OUT)
@Asked.options
@click.option(
    "--block",
    "until",
    type=click.IntRange(min=1),
    help="The state after this block (default: last).",
)
def snapshot(out: Path, until: int | None, **asked: Any) -> None:
    """Verify the ledger as far as a block, and write the state after it to a new file.

    Whoever verifies later can begin there (`verify --from-checkpoint`), when the supervisor's
    checkpoint of that block states the same digest. It is printed.

    Example: clearline audit snapshot state.snapshot --block 120 --profile auditor.json
    """
    done = verified(Asked(**asked, until=until))
    done.require()
    made = done.verifier.snapshot()
    if until is not None and made.block != until:
        raise click.ClickException(f"the last block is {made.block}, there is no {until} yet")
    _write(made, out)
    click.echo(_told(made))


@click.command()
@PROFILE
@click.option("--snapshot", "out", type=_OUT, help="Write the state to this new file as well.")
def checkpoint(profile_path: Path | None, out: Path | None) -> None:
    """Verify the whole ledger, and state on it what its last block and the state after it are.

    The profile is of role `supervisor`. Every auditor holds the statement against the chain.

    Example: clearline audit checkpoint --profile profiles/Supervisor/supervisor.json
    """
    known = profile(profile_path)
    done = verified(Asked(profile_path))
    done.require()
    made = done.verifier.snapshot()
    if out is not None:
        _write(made, out)
    item = {"block": made.block, "header_hash": made.header_hash, "state_digest": made.digest()}
    try:
        answer = asyncio.run(desk.submit(known, "SubmitCheckpoints", item))
    except DeskError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{_told(made)}: {answer.code} {answer.detail}".rstrip())
    if not answer.code.taken:
        raise click.exceptions.Exit(1)


def _told(made: Snapshot) -> str:
    return f"block {made.block}, header {made.header_hash}, state {made.digest()}"


def _write(made: Snapshot, out: Path) -> None:
    try:
        snapshots.write(made, out)
    except FileExistsError:
        raise click.ClickException(f"{out} exists: name another file") from None
    except OSError as error:
        raise click.ClickException(f"can't write {out}: {error.strerror}") from None
