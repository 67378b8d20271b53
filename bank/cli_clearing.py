"""`clearline bank file`, `settle`, `settlement` and `payout`: what follows the acquirer's file."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import orjson

from bank import acquirer_file, settling
from bank.acquirer_file import DailyFile
from bank.connection import connected
from bank.documents import DocumentError
from bank.settling import Clerk, Stated
from clearline import times
from clearline.clearing_records import Settlement
from clearline.clearing_schema import Paid
from clearline.codes import Outcome
from clearline.fabric.profile import Profile, ProfileError
from clearline.jws import JwsError, KeySigner

_profile = click.option(
    "--profile",
    required=True,
    envvar="CLEARLINE_BANK_PROFILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The clerk's connection profile (or $CLEARLINE_BANK_PROFILE).",
)
_key = click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The acquirer's signing key, as the connector has it (PEM).",
)
_acquirer = click.option("--acquirer", help="The acquirer's id (default: the name in the file).")


@click.group("file")
def files() -> None:
    """The acquirer's daily files.

    Example: clearline bank file import unionpay-2026-11-23-898310148990001-CNY.csv
    """


@files.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="FILE...",
                type=click.Path(path_type=Path, dir_okay=False))  # fmt: skip
@_profile
@_key
@_acquirer
def import_files(paths: tuple[Path, ...], profile: Path, key: Path, acquirer: str | None) -> None:
    """Put a file's digest, control totals and adjustments onto the ledger, as the bank's maker.

    A file that does not add up is refused, and another file of the same code, currency and day.
    Importing it again does no harm.

    Example: clearline bank file import unionpay-*.csv --profile maker.json --key unionpay.pem
    """
    good = True
    for path in paths:
        file = _read(path)
        outcomes = asyncio.run(_import(profile, key, acquirer, file))
        _report(outcomes)
        good = good and _all_taken(outcomes)
    sys.exit(0 if good else 1)


@click.command()
@click.option("--date", "day", required=True, help="The clearing date, YYYY-MM-DD.")
@click.option(
    "--files",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The folder with the acquirer's files.",
)
@_profile
@_key
@_acquirer
def settle(day: str, folder: Path, profile: Path, key: Path, acquirer: str | None) -> None:
    """State the settlements of a clearing date, by its imported files, as the bank's maker.

    File and ledger are compared line by line first. What differs is printed, and a file that
    differs is not settled. The payee is the merchant's account of that day, as the registry has it.

    Exit code: 0 when each file is settled; 1 otherwise.

    Example: clearline bank settle --date 2026-11-23 --files delivery --profile maker.json --key up.pem
    """  # noqa: E501
    found = [file for file in map(_read, sorted(folder.glob("*.csv"))) if file.clearing_date == day]
    if not found:
        raise click.ClickException(f"{folder} has no file of {day}")
    good = True
    for file in found:
        stated = asyncio.run(_settle(profile, key, acquirer, file))
        _tell(stated)
        good = good and not stated.differences and _all_taken(stated.outcomes)
    sys.exit(0 if good else 1)


@click.group()
def settlement() -> None:
    """Settlements: look at them, and decide them as the checker.

    Example: clearline bank settlement list --acquirer unionpay --profile checker.json
    """


@settlement.command("list")
@click.option("--acquirer", required=True, help="The acquirer's id.")
@click.option("--date", "day", help="The clearing date.")
@_profile
def list_settlements(acquirer: str, day: str | None, profile: Path) -> None:
    """List an acquirer's settlements, one JSON line each.

    Example: clearline bank settlement list --acquirer unionpay --date 2026-11-23
    """
    for one in asyncio.run(_list(profile, acquirer)):
        if day in (None, one.clearing_date):
            click.echo(orjson.dumps(_shown(one)))


@settlement.command()
@click.argument("names", nargs=-1, required=True, metavar="ID...")
@_profile
def approve(names: tuple[str, ...], profile: Path) -> None:
    """Approve settlements as the bank's checker: they are stated, and due to be paid out.

    Example: clearline bank settlement approve unionpay/898310148990001/CNY/2026-11-23/01
    """
    _decide(profile, names, "approve")


@settlement.command()
@click.argument("names", nargs=-1, required=True, metavar="ID...")
@_profile
def reject(names: tuple[str, ...], profile: Path) -> None:
    """Reject settlements as the bank's checker: their lines are free for another run.

    Example: clearline bank settlement reject unionpay/898310148990001/CNY/2026-11-23/01
    """
    _decide(profile, names, "reject")


@click.command()
@click.argument("name", metavar="ID")
@click.option("--paid", "status", flag_value=Paid.PAID.value, help="It went to the payee.")
@click.option("--returned", "status", flag_value=Paid.RETURNED.value, help="It came back.")
@click.option("--reference", required=True, help="The transfer's reference at the bank.")
@click.option("--value-date", help="YYYY-MM-DD (default: today).")
@_profile
@_key
def payout(
    name: str, status: str | None, reference: str, value_date: str | None, profile: Path, key: Path
) -> None:
    """Record, signed by the paying bank, that a settlement was paid or came back.

    The ledger records money, it does not move it. What came back is carried forward to the next
    settlement at this code.

    Example: clearline bank payout unionpay/898310148990001/CNY/2026-11-23/01 --paid
    --reference TRF-0001 --profile maker.json --key unionpay.pem
    """
    if status is None:
        raise click.UsageError("say --paid or --returned")
    day = value_date or times.now()[:10]
    work = _pay_out(profile, key, name, (status, reference, day))
    outcome = asyncio.run(work)
    _report([outcome])
    sys.exit(0 if outcome.code.taken else 1)


COMMANDS: Sequence[click.Command] = (files, settle, settlement, payout)


@asynccontextmanager
async def _clerk(profile: Path, key: Path, acquirer_id: str) -> AsyncIterator[Clerk]:
    try:
        signer = KeySigner.load(key)
        network = Profile.load(profile).network
    except (JwsError, OSError, ProfileError) as error:
        raise click.ClickException(str(error)) from None
    async with connected(profile) as ledger:
        yield Clerk(ledger, network, acquirer_id, signer)


async def _import(profile: Path, key: Path, acquirer: str | None, file: DailyFile) -> list[Outcome]:
    async with _clerk(profile, key, acquirer or file.name) as clerk:
        return await settling.bring_in(clerk, file)


async def _settle(profile: Path, key: Path, acquirer: str | None, file: DailyFile) -> Stated:
    async with _clerk(profile, key, acquirer or file.name) as clerk:
        return await settling.settle(clerk, file)


async def _pay_out(profile: Path, key: Path, name: str, said: tuple[str, str, str]) -> Outcome:
    status, reference, day = said
    async with _clerk(profile, key, name.partition("/")[0]) as clerk:
        return await settling.pay_out(clerk, name, Paid(status), reference, day)


async def _list(profile: Path, acquirer_id: str) -> list[Settlement]:
    async with connected(profile) as ledger:
        return await settling.settlements(ledger, acquirer_id)


async def _decided(profile: Path, names: Sequence[str], decision: str) -> list[Outcome]:
    async with connected(profile) as ledger:
        return await settling.decide(ledger, names, decision)


def _decide(profile: Path, names: Sequence[str], decision: str) -> None:
    outcomes = asyncio.run(_decided(profile, list(dict.fromkeys(names)), decision))
    _report(outcomes)
    sys.exit(0 if _all_taken(outcomes) else 1)


def _read(path: Path) -> DailyFile:
    try:
        return acquirer_file.read(path)
    except DocumentError as error:
        raise click.ClickException(str(error)) from None


def _shown(one: Settlement) -> dict[str, Any]:
    names = ("merchant_id", "status", "account_id", "lines", "payments", "refunds", "fees",
             "adjustments", "carried", "net", "currency", "clearing_date")  # fmt: skip
    return {"settlement": one.id} | {name: getattr(one, name) for name in names}


def _tell(stated: Stated) -> None:
    for difference in stated.differences:
        click.echo(f"{stated.settlement}: {difference}")
    if stated.differences:
        click.echo(
            f"{stated.settlement}: not settled, {len(stated.differences)} differ; ask the acquirer",
            err=True,
        )
        return
    _report([one for one in stated.outcomes if not one.code.taken])
    click.echo(f"{stated.settlement}: {stated.status or 'not settled'}")
    if stated.status == "proposed":
        told = f"clearline bank settlement approve {stated.settlement} --profile CHECKER"
        click.echo(f"next: {told}", err=True)


def _all_taken(outcomes: Sequence[Outcome]) -> bool:
    return all(outcome.code.taken for outcome in outcomes)


def _report(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        name = "/".join(str(part) for part in outcome.key) or "-"
        said = " ".join(part for part in (outcome.status, outcome.detail) if part)
        click.echo(f"{name}: {outcome.code} {said}".rstrip())
