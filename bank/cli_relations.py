"""`clearline bank relate` and `relations`: who else may be settled to an account, and why."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Final

import click
import orjson

from bank import desk
from bank.connection import connected
from bank.documents import DocumentError, Draft, draft
from bank.patience import Ledger
from clearline import canonical
from clearline.canonical import Json
from clearline.codes import Outcome
from clearline.relations import Relationship

PAGE: Final = 200
_profile = click.option(
    "--profile",
    required=True,
    envvar="CLEARLINE_BANK_PROFILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The clerk's connection profile (or $CLEARLINE_BANK_PROFILE).",
)


@click.command()
@click.option("--account", required=True, help="The account's id (clearline bank account-id).")
@click.option("--owner", required=True, help="The entity whose account it is.")
@click.option("--entity", required=True, help="The entity whose merchants are settled to it.")
@click.option(
    "--as",
    "relationship",
    required=True,
    type=click.Choice([one.value for one in Relationship]),
    help="What the account's owner is to that entity.",
)
@click.option("--since", required=True, help="First clearing date, YYYY-MM-DD: a day to come.")
@click.option("--until", required=True, help="Last clearing date, YYYY-MM-DD: three years at most.")
@click.option(
    "--document",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="What attests it; its SHA-256 goes onto the ledger, and it stays at the bank.",
)
@click.option("--licence-no", help="The agent's licence: with `--as licensed_agent`, and only so.")
@_profile
@click.option("--id", "proposal_id", help="The proposal's id (default: made of its content).")
def relate(profile: Path, document: Path, proposal_id: str | None, **said: str | None) -> None:
    """Propose, as the maker of the account's bank, that another entity be settled to an account.

    The bank's checker approves it, which attests it; it is in force when the supervisor has
    countersigned as well, before its first day. To end it early: `propose relation_end`.

    Example: clearline bank relate --account 3f9a... --owner E-1 --entity E-2 --as franchisor
    --since 2026-12-01 --until 2028-11-30 --document contract.pdf --profile maker.json
    """
    try:
        digest = hashlib.sha256(document.read_bytes()).hexdigest()
    except OSError as error:
        raise click.ClickException(f"can't read {document}: {error.strerror}") from None
    named = {"account": "account_id", "owner": "owner_id", "entity": "entity_id"}
    body = {named.get(name, name): value for name, value in said.items() if value is not None}
    try:
        item = draft("relation", body | {"document_digest": digest}, proposal_id)
    except DocumentError as error:
        raise click.ClickException(str(error)) from None
    outcome = asyncio.run(_propose(profile, item))
    click.echo(f"proposal/{item.proposal_id}: {outcome.code} {outcome.status} {outcome.detail}")
    if not outcome.code.taken:
        raise SystemExit(1)
    click.echo(
        f"next: clearline bank approve {item.proposal_id} --profile CHECKER; then the supervisor:"
        f" clearline supervisor relations countersign {item.proposal_id} --profile SUPERVISOR",
        err=True,
    )


@click.command("relations")
@click.option("--entity", help="Only those in which this entity is either side.")
@_profile
def list_relations(entity: str | None, profile: Path) -> None:
    """List relations, one JSON line each: whose account, who else is settled to it, and its terms.

    Those that wait for the supervisor are proposals: `list --status attested`.

    Example: clearline bank relations --entity E-2 --profile maker.json
    """
    for record in asyncio.run(_relations(profile, entity)):
        click.echo(orjson.dumps(record))


COMMANDS: Final = (relate, list_relations)


async def relations(ledger: Ledger, entity_id: str | None) -> list[Json]:
    """All, or those of an entity, by id. Raises FabricError, DeskError."""
    found: list[Json] = []
    while True:
        after = f"{found[-1]['account_id']}/{found[-1]['entity_id']}" if found else None
        query = {"entity_id": entity_id, "start_after": after, "limit": PAGE}
        page = desk.listed(await ledger.evaluate("ListRelations", canonical.dumps(query)))
        found += page
        if len(page) < PAGE:
            return found


async def _propose(profile: Path, item: Draft) -> Outcome:
    async with connected(profile) as ledger:
        return (await desk.propose(ledger, [item]))[0]


async def _relations(profile: Path, entity_id: str | None) -> list[Json]:
    async with connected(profile) as ledger:
        return await relations(ledger, entity_id)
