"""`clearline supervisor`: what the supervisor puts on the ledger.

Rules, by two persons; and its word on relations (audit/cli_relations.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from audit import cards, desk
from audit.cli_relations import relations
from audit.desk import Answered, DeskError
from audit.jose import JoseError, strict_json
from audit.supervision_forms import rule_fault
from audit.verifying import profile as load
from clearline.codes import Code

_Answer = TypeVar("_Answer")
_FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_PROFILE = click.option(
    "--profile",
    "profile_path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Connection profile of role supervisor.",
)


@click.group()
def supervisor() -> None:
    """The supervisor's desk: rules, proposed by one person and confirmed by another; relations.

    Example: clearline supervisor propose rule.json --profile supervisor.json
    """


supervisor.add_command(relations)


@supervisor.command()
@_FILE
@_PROFILE
def propose(file: Path, profile_path: Path) -> None:
    """Propose a rule's version. FILE holds rule_id, version, kind, parameters, valid_from, action.

    `action` is enforce or withdraw; docs/audit.md has the kinds and their parameters. Another
    content under the number of one that is only proposed takes its place.

    Example: clearline supervisor propose rule.json --profile supervisor.json
    """
    item = _read(file)
    answer = _run(desk.submit(load(profile_path), "SubmitRules", item))
    _tell(item, answer)
    if answer.status == "proposed":
        click.echo(f"next: clearline supervisor confirm {file} --profile OTHER", err=True)


@supervisor.command()
@_FILE
@_PROFILE
def confirm(file: Path, profile_path: Path) -> None:
    """Say the same as the proposal, as another person: then it is decided.

    What stands on the ledger must be what FILE says; nobody confirms what they have not read.

    Example: clearline supervisor confirm rule.json --profile supervisor2.json
    """
    item, known = _read(file), load(profile_path)
    there = _run(desk.record(known, "rule", f"{item['rule_id']}/{item['version']:04d}"))
    if there is None:
        raise click.ClickException("nobody has proposed this version: propose it first")
    differs = sorted(name for name in item if there[name] != item[name])
    if differs:
        raise click.ClickException(f"the proposal has another {', '.join(differs)}")
    answer = _run(desk.submit(known, "SubmitRules", item))
    _tell(item, answer)
    if answer.status == "proposed":
        raise click.ClickException("the proposal is this same person's: another must confirm it")


@supervisor.command()
@click.argument("rule_id")
@click.argument("version", type=click.IntRange(1, 9999))
@_PROFILE
def show(rule_id: str, version: int, profile_path: Path) -> None:
    """Print a rule's version as the ledger holds it.

    Example: clearline supervisor show R-SPLIT 1 --profile supervisor.json
    """
    found = _run(desk.record(load(profile_path), "rule", f"{rule_id}/{version:04d}"))
    if found is None:
        raise click.ClickException(
            f"{Code.NOT_FOUND}: the ledger holds no rule {rule_id} {version}"
        )
    click.echo(json.dumps(found, indent=2))


def _read(file: Path) -> dict[str, Any]:
    try:
        item = strict_json(file.read_bytes())
    except (OSError, JoseError) as error:
        raise click.ClickException(f"{file}: {error}") from None
    fault = rule_fault(item)
    if fault is not None:
        raise click.ClickException(f"{file}: {Code.MALFORMED}: {fault}")
    if cards.held(item["rule_id"]):
        raise click.ClickException(f"{file}: {Code.CARD_DATA_REFUSED}: rule_id")
    found: dict[str, Any] = item
    return found


def _tell(item: dict[str, Any], answer: Answered) -> None:
    name = f"rule/{item['rule_id']}/{item['version']}"
    click.echo(" ".join(filter(None, (f"{name}:", answer.code, answer.status, answer.detail))))
    if not answer.code.taken:
        raise click.exceptions.Exit(1)


def _run(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    try:
        return asyncio.run(work)
    except DeskError as error:
        raise click.ClickException(str(error)) from None
