"""`clearline audit`: verify the ledger, show a payment's evidence, export blocks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from audit.cli_checkpoint import checkpoint, snapshot
from audit.cli_rules import rules
from audit.evidence import evidence, lines
from audit.source import Export, SourceError, from_peer
from audit.verifying import BLOCKS, JSON, NETWORK, PROFILE, Asked, profile, verified
from clearline.fabric.profile import Profile


@click.group()
def audit() -> None:
    """Re-check the ledger with code of its own.

    Example: clearline audit verify --profile .clearline/dev/profiles/Supervisor/auditor.json
    """


for _command in (rules, checkpoint, snapshot):
    audit.add_command(_command)


@audit.command()
@Asked.options
@click.option("--genesis", help="Header hash (hex) that block 0 must have.")
@JSON
def verify(genesis: str | None, as_json: bool, **asked: Any) -> None:
    """Verify every block; name the first thing wrong exactly and exit 1, or exit 0.

    A checkpoint that is wrong is named beside it: verification goes on, and exits 1. With
    --from-checkpoint it begins after a snapshot's block (`clearline audit snapshot` makes one).

    Example: clearline audit verify --profile profiles/Supervisor/auditor.json
    """
    started = time.monotonic()
    done = verified(Asked(**asked))
    if done.unfounded:
        done.require()  # of a state that nobody has stated there is nothing to report
    verifier, totals = done.verifier, done.verifier.totals
    pinned = genesis is None or totals.genesis == genesis.lower()
    wrong = [str(one) for one in verifier.checkpoints.wrong]
    report = {
        "ok": done.right and pinned,
        "finding": None if done.finding is None else str(done.finding),
        "from_block": 0 if done.snapshot is None else done.snapshot.block + 1,
        "blocks": totals.blocks,
        "transactions": totals.transactions,
        "invalid": totals.invalid,
        "payments": verifier.payments.counts(),
        "refunds": verifier.payments.refund_counts(),
        "exceptions": verifier.payments.exceptions(),
        "settlements": verifier.balances.counts(),
        "left_out": verifier.balances.left_out(),
        "records": verifier.registry.counts(),
        "checkpoints": {"right": len(verifier.checkpoints.checked), "wrong": len(wrong)},
        "wrong_checkpoints": wrong,
        "endorsements": totals.endorsements,
        "genesis": totals.genesis,
        "tip": totals.tip,
        "seconds": round(time.monotonic() - started, 3),
    }
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print(report)
    if not pinned:
        raise click.ClickException(f"block 0 is {totals.genesis}, not the pinned {genesis}")
    done.require()
    if wrong:
        raise click.ClickException(f"a checkpoint is wrong: {wrong[0]}")


@audit.command()
@click.argument("merchant")
@click.argument("order")
@PROFILE
@BLOCKS
@NETWORK
@JSON
def payment(
    merchant: str,
    order: str,
    profile_path: Path | None,
    blocks_path: Path | None,
    network: str | None,
    as_json: bool,
) -> None:
    """Print one order's evidence: each attempt's intent, reports, blocks, endorsers.

    Example: clearline audit payment M-0001 20261123-0002 --profile auditor.json
    """
    done = verified(Asked(profile_path, blocks_path, network))
    payments = done.verifier.payments
    prefix = f"payment/{merchant}/{order}/"
    shown = [
        evidence(payments.records[key], payments.steps[key])
        for key in sorted(payments.records)
        if key.startswith(prefix)
    ]
    if as_json:
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        for one in shown:
            click.echo("\n".join(lines(one)))
    if done.finding is not None:
        raise click.ClickException(f"the ledger is not right from here on: {done.finding}")
    if not shown:
        raise click.ClickException(f"no payment {merchant}/{order} is on the ledger")


@audit.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@PROFILE
@click.option(
    "--first", type=click.IntRange(min=0), default=0, show_default=True, help="Its first block."
)
def export(out: Path, profile_path: Path | None, first: int) -> None:
    """Write every block of a peer to a new file, for verification elsewhere.

    One that begins later is verified from a snapshot (`verify --from-checkpoint`).

    Example: clearline audit export blocks.bin --profile auditor.json
    """
    if out.exists():
        raise click.ClickException(f"{out} exists: name another file")
    try:
        count = asyncio.run(_export(profile(profile_path), out, first))
    except SourceError as error:
        out.unlink(missing_ok=True)
        raise click.ClickException(str(error)) from None
    click.echo(f"{count} blocks written to {out}")


async def _export(known: Profile, out: Path, first: int) -> int:
    written, count = Export(out), 0
    try:
        async for raw in from_peer(known, first):
            written.add(raw)
            count += 1
    finally:
        written.close()
    return count


def _print(report: Mapping[str, object]) -> None:
    click.echo(f"blocks        {report['blocks']}, the last {report['tip']}")
    click.echo(f"genesis       {report['genesis']}")
    click.echo(f"transactions  {report['transactions']}, of them {report['invalid']} rejected")
    names = (
        *("payments", "refunds", "exceptions", "settlements", "records", "checkpoints"),
        "endorsements",
    )
    for name in names:
        counts = report[name]
        assert isinstance(counts, dict)  # noqa: S101 - made above
        shown = ", ".join(f"{key} {value}" for key, value in sorted(counts.items()))
        click.echo(f"{name:13} {shown or 'none'}")
    left_out = report["left_out"]
    assert isinstance(left_out, list)  # noqa: S101 - made above
    for key in left_out:
        click.echo(f"left out      {key}: it succeeded, and its day is settled without it")
    if report["ok"]:
        click.echo(f"verified      every check holds ({report['seconds']} s)")
