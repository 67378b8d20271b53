"""`clearline supervisor relations`: what a bank attested, to be seen and countersigned.

The supervisor's word is one of three: a bank's maker and checker have said the same before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from audit import desk
from audit.jose import canonical
from clearline.codes import Code
from clearline.fabric.contract import Contract
from clearline.fabric.errors import FabricError
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import IdentityError
from clearline.fabric.profile import Profile, ProfileError

_PAGE: Final = 200
_Answer = TypeVar("_Answer")
_profile = click.option(
    "--profile",
    "profile",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Connection profile of the supervisor.",
)


@click.group()
def relations() -> None:
    """Relations by which an entity is settled to another's account: see, countersign, end them.

    Example: clearline supervisor relations list --waiting --profile supervisor.json
    """


@relations.command("list")
@click.option("--waiting", is_flag=True, help="Those that banks attested and nobody countersigned.")
@click.option("--entity", help="Only those in which this entity is either side.")
@_profile
def list_relations(profile: Path, entity: str | None, waiting: bool) -> None:
    """List relations on the ledger, or with --waiting what is to be countersigned, as JSON lines.

    Example: clearline supervisor relations list --entity E-1 --profile supervisor.json
    """
    work = _waiting if waiting else _relations
    for one in _at(profile, lambda contract: work(contract, entity)):
        click.echo(json.dumps(one, ensure_ascii=False))


@relations.command()
@click.argument("proposal_ids", nargs=-1, required=True, metavar="ID...")
@_profile
def countersign(proposal_ids: tuple[str, ...], profile: Path) -> None:
    """Let attested relations take effect, each from its first day on.

    Example: clearline supervisor relations countersign relation-8f2d6c1e90ab34cd --profile supervisor.json
    """  # noqa: E501
    _decide(profile, proposal_ids, "approve")


@relations.command()
@click.argument("proposal_ids", nargs=-1, required=True, metavar="ID...")
@_profile
def refuse(proposal_ids: tuple[str, ...], profile: Path) -> None:
    """Refuse attested relations, for good: a bank proposes anew.

    Example: clearline supervisor relations refuse relation-8f2d6c1e90ab34cd --profile supervisor.json
    """  # noqa: E501
    _decide(profile, proposal_ids, "reject")


@relations.command()
@click.argument("relation", metavar="ACCOUNT/ENTITY")
@click.option("--until", required=True, help="The new last clearing date; one gone by as well.")
@_profile
def end(relation: str, until: str, profile: Path) -> None:
    """End a relation: no clearing date after this one is settled by it any more.

    What is held back goes to an account of its own entity that the merchant signs for.

    Example: clearline supervisor relations end 3f9a/E-2 --until 2026-11-23 --profile s.json
    """
    account_id, _, entity_id = relation.partition("/")
    item = {"account_id": account_id, "entity_id": entity_id, "until": until}
    _tell(_at(profile, lambda contract: _submit(contract, "EndRelations", [item])))


def _decide(profile: Path, proposal_ids: tuple[str, ...], decision: str) -> None:
    items = [{"proposal_id": one, "decision": decision} for one in dict.fromkeys(proposal_ids)]
    _tell(_at(profile, lambda contract: _submit(contract, "CountersignRelations", items)))


def _tell(outcomes: list[dict[str, Any]]) -> None:
    for one in outcomes:
        name = "/".join(map(str, one["key"])) or "-"
        said = (one["code"], one["status"], one["detail"])
        click.echo(f"{name}: {' '.join(part for part in said if part)}")
    if not all(Code(one["code"]).taken for one in outcomes):
        raise SystemExit(1)


async def _relations(contract: Contract, entity: str | None) -> list[Any]:
    def after(last: Any) -> str:
        return f"{last['account_id']}/{last['entity_id']}"

    return await _pages(contract, "ListRelations", {"entity_id": entity}, after)


async def _waiting(contract: Contract, entity: str | None) -> list[Any]:
    def after(last: Any) -> str:
        return str(last["proposal_id"])

    found = await _pages(contract, "ListProposals", {"status": "attested"}, after)
    sides = ("owner_id", "entity_id")
    return [
        one for one in found if entity is None or entity in [one["body"][side] for side in sides]
    ]


async def _pages(
    contract: Contract, function: str, query: dict[str, Any], after: Callable[[Any], str]
) -> list[Any]:
    found: list[Any] = []
    while True:
        start = after(found[-1]) if found else None
        asked = query | {"start_after": start, "limit": _PAGE}
        page = json.loads(await contract.evaluate(function, json.dumps(asked)))
        found += page
        if len(page) < _PAGE:
            return found


async def _submit(contract: Contract, function: str, items: list[dict[str, str]]) -> list[Any]:
    outcomes: list[Any] = json.loads(await desk.submitted(contract, function, canonical(items)))
    return outcomes


def _at(path: Path, work: Callable[[Contract], Awaitable[_Answer]]) -> _Answer:
    """Do it as this profile's identity. Raises click.ClickException that says what is known."""

    async def connected() -> _Answer:
        profile = Profile.load(path)
        async with Gateway.connect(profile) as gateway:
            return await work(gateway.network(profile.channel).contract(profile.chaincode))

    try:
        return asyncio.run(connected())
    except (ProfileError, IdentityError) as error:
        raise click.ClickException(str(error)) from None
    except FabricError as error:
        known = "Nothing was changed" if error.outcome == "not_applied" else "It may have happened"
        raise click.ClickException(
            f"{error}\n{known}. The same command again does no harm."
        ) from None
