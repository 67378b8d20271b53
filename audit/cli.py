"""`clearline audit`: verify the ledger, show a payment's evidence, export blocks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import click

from audit.cli_relations import relations
from audit.evidence import evidence, lines
from audit.findings import Finding
from audit.source import Export, SourceError, from_file, from_peer
from audit.verifier import Verifier
from clearline.fabric.profile import Profile, ProfileError

_PROFILE = click.option(
    "--profile",
    "profile_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Connection profile of an auditor or supervisor.",
)
_BLOCKS = click.option(
    "--blocks",
    "blocks_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Verify this export instead of asking a peer.",
)
_NETWORK = click.option("--network", help="Network name; taken from the profile when there is one.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def audit() -> None:
    """Re-check the ledger with code of its own.

    Example: clearline audit verify --profile .clearline/dev/profiles/Supervisor/auditor.json
    """


audit.add_command(relations)


@audit.command()
@_PROFILE
@_BLOCKS
@_NETWORK
@click.option("--genesis", help="Header hash (hex) that block 0 must have.")
@_JSON
def verify(
    profile_path: Path | None,
    blocks_path: Path | None,
    network: str | None,
    genesis: str | None,
    as_json: bool,
) -> None:
    """Verify every block; name the first thing wrong exactly and exit 1, or exit 0.

    Example: clearline audit verify --profile profiles/Supervisor/auditor.json
    """
    started = time.monotonic()
    verifier, finding = _verify(profile_path, blocks_path, network)
    totals = verifier.totals
    pinned = genesis is None or totals.genesis == genesis.lower()
    report = {
        "ok": finding is None and pinned and totals.blocks > 0,
        "finding": None if finding is None else str(finding),
        "blocks": totals.blocks,
        "transactions": totals.transactions,
        "invalid": totals.invalid,
        "payments": verifier.payments.counts(),
        "refunds": verifier.payments.refund_counts(),
        "exceptions": verifier.payments.exceptions(),
        "settlements": verifier.balances.counts(),
        "left_out": verifier.balances.left_out(),
        "records": verifier.registry.counts(),
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
    if not totals.blocks and finding is None:
        raise click.ClickException("there were no blocks to verify")
    if finding is not None:
        raise click.ClickException(f"the first thing wrong: {finding}")


@audit.command()
@click.argument("merchant")
@click.argument("order")
@_PROFILE
@_BLOCKS
@_NETWORK
@_JSON
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
    verifier, finding = _verify(profile_path, blocks_path, network)
    payments = verifier.payments
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
    if finding is not None:
        raise click.ClickException(f"the ledger is not right from here on: {finding}")
    if not shown:
        raise click.ClickException(f"no payment {merchant}/{order} is on the ledger")


@audit.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@_PROFILE
def export(out: Path, profile_path: Path | None) -> None:
    """Write every block of a peer to a new file, for verification elsewhere.

    Example: clearline audit export blocks.bin --profile auditor.json
    """
    if out.exists():
        raise click.ClickException(f"{out} exists: name another file")
    try:
        count = asyncio.run(_export(_profile(profile_path), out))
    except SourceError as error:
        out.unlink(missing_ok=True)
        raise click.ClickException(str(error)) from None
    click.echo(f"{count} blocks written to {out}")


def _verify(
    profile_path: Path | None, blocks_path: Path | None, network: str | None
) -> tuple[Verifier, Finding | None]:
    if blocks_path is not None:
        if network is None:
            raise click.UsageError("--blocks needs --network, the name intents are signed for")
        verifier, source = Verifier(network, "clearline"), from_file(blocks_path)
    else:
        profile = _profile(profile_path)
        verifier = Verifier(network or profile.network, profile.chaincode)
        source = from_peer(profile)
    try:
        return verifier, asyncio.run(_take_all(verifier, source))
    except SourceError as error:
        raise click.ClickException(str(error)) from None


async def _take_all(verifier: Verifier, source: AsyncIterator[bytes]) -> Finding | None:
    async for raw in source:
        finding = verifier.take(raw)
        if finding is not None:
            return finding
    return None


async def _export(profile: Profile, out: Path) -> int:
    written, count = Export(out), 0
    try:
        async for raw in from_peer(profile):
            written.add(raw)
            count += 1
    finally:
        written.close()
    return count


def _profile(path: Path | None) -> Profile:
    if path is None:
        raise click.UsageError("name a connection profile with --profile")
    try:
        return Profile.load(path)
    except ProfileError as error:
        raise click.ClickException(str(error)) from None


def _print(report: Mapping[str, object]) -> None:
    click.echo(f"blocks        {report['blocks']}, the last {report['tip']}")
    click.echo(f"genesis       {report['genesis']}")
    click.echo(f"transactions  {report['transactions']}, of them {report['invalid']} rejected")
    names = ("payments", "refunds", "exceptions", "settlements", "records", "endorsements")
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
