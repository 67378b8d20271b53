"""`clearline audit rules`: run the supervisor's rules in force."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from audit.supervision.cases import Case, Version
from audit.supervision.run import review
from audit.verifying import JSON, Asked, verified

FOUND = 3  # the exit status when rules found something; 1 is an error, 2 a wrong command line


@click.command()
@Asked.options
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Date on which what is late counts as late (default: the ledger's last clearing date).",
)
@JSON
def rules(as_of: datetime | None, as_json: bool, **asked: Any) -> None:
    """Verify the ledger, then run the rules in force; exit 3 when they find something, else 0.

    A ledger on which anything is wrong is not looked at: that is named, and it exits 1.

    Example: clearline audit rules --profile profiles/Supervisor/auditor.json
    """
    done = verified(Asked(**asked))
    done.require()
    verifier = done.verifier
    day = None if as_of is None else as_of.date().isoformat()
    found = review(verifier.records, day)
    blocks = verifier.history.ids
    if as_json:
        report = {
            "as_of": found.as_of,
            "last_block": verifier.last,
            "rules": [_version(one) for one in found.versions],
            "findings": [one.to_json(blocks) for one in found.cases],
        }
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        for one in found.versions:
            limits = ", ".join(f"{name} {value}" for name, value in sorted(one.parameters.items()))
            click.echo(f"rule          {_name(one)} from {one.since}: {limits}")
        for case in found.cases:
            click.echo("\n".join(_lines(case, blocks)))
        said = f"{len(found.cases)} findings of {len(found.versions)} rules"
        click.echo(f"{said} as of {found.as_of or 'the beginning'}, block {verifier.last}")
    if found.cases:
        raise click.exceptions.Exit(FOUND)


def _version(version: Version) -> dict[str, object]:
    return {
        "rule": version.rule_id,
        "version": version.version,
        "kind": version.kind,
        "parameters": dict(version.parameters),
        "since": version.since,
        "until": version.until if version.ends else None,
    }


def _name(one: Version | Case) -> str:
    return f"{one.rule_id} {one.version} ({one.kind})"


def _lines(case: Case, blocks: Mapping[str, int]) -> list[str]:
    shown = case.to_json(blocks)
    return [
        f"finding       {_name(case)}: {case.merchant_id}: {case.detail}",
        *(f"    {key}" for key in case.about),
        *(f"    block {one['block']}, transaction {one['tx_id']}" for one in shown["evidence"]),
    ]
