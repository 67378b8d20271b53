"""`clearline connector`: run a bank's connector, look into its outbox."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.table import Table

from clearline import garbage, logs
from clearline.fabric.blocks import BlockError
from clearline.fabric.errors import FabricError
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import IdentityError
from clearline.fabric.profile import Profile, ProfileError
from clearline.fabric.store import StoreError
from clearline.jws import JwsError
from clearline.records import Lease
from clearline.signers.opening import open_signer
from clearline.signers.settings import SignerSettingsError
from connector import adapters, memory, outbox, settings, takeover
from connector.database import DatabaseError
from connector.entries import Entry
from connector.fabric import opener
from connector.lease import Candidate, Claims
from connector.link import LinkError, LinkSettings
from connector.service import Connector, Parts
from connector.settings import ConnectorSettings, SettingsError
from connector.states import Phase
from connector.takeover import TakeoverError
from connector.verification import Place
from connector.watcher import Pace

_STANDBY = "standby"
_CONFIG = click.option(
    "--config", required=True, type=click.Path(path_type=Path), help="The settings file."
)


@click.group()
def connector() -> None:
    """The acquiring bank's daemon between its peer and an acquirer.

    Example: clearline connector serve --config connector.json
    """


@connector.command()
@_CONFIG
@click.option("--standby", "role", flag_value=_STANDBY, help="Only follow, until it takes over.")
def serve(config: Path, role: str | None) -> None:
    """Run the connector until SIGTERM.

    With --standby it follows the ledger and does nothing else until `take-over` gave it the lease.

    Example: clearline connector serve --config connector.json
    """
    logs.configure()
    try:
        loaded = settings.load(config)
        parts = _parts(loaded, Candidate(loaded.name, stands_by=role == _STANDBY))
        uvloop.run(_serve(parts))
    except (
        SettingsError, ProfileError, IdentityError, JwsError, DatabaseError, StoreError,
        BlockError, LinkError, SignerSettingsError, OSError,
    ) as error:  # fmt: skip
        raise click.ClickException(str(error)) from None


@connector.command("take-over")
@_CONFIG
def take_over(config: Path) -> None:
    """Take the acquirer's lease: from now on this connector forwards and reports, no other.

    Whatever the one before may have sent is asked about or reversed first, never sent.

    Example: clearline connector take-over --config standby.json
    """
    try:
        loaded = settings.load(config)
        lease = asyncio.run(_take_over(loaded))
    except (
        SettingsError,
        ProfileError,
        IdentityError,
        TakeoverError,
        ValueError,
        OSError,
    ) as error:
        raise click.ClickException(str(error)) from None
    except FabricError as error:
        raise click.ClickException(f"{error}\nGive the same command again.") from None
    click.echo(f"{lease.holder} holds epoch {lease.epoch} of {lease.acquirer_id}")


@connector.command()
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def status(config: Path, as_json: bool) -> None:
    """Show how many payments stand where, and those that people must look at.

    Example: clearline connector status --config connector.json
    """
    try:
        path = settings.load(config).outbox
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            counts = outbox.counts(db)
            block = outbox.get_meta(db, "block")
            stands_by = bool(outbox.get_meta(db, memory.STOOD_BY))
            epoch = int(outbox.get_meta(db, memory.EPOCH) or 0)
            unsigned = outbox.get_meta(db, memory.UNSIGNED) or ""
            stuck = outbox.in_phases(db, Phase.STUCK)
            notes = {entry.key: outbox.get_note(db, entry.key) for entry in stuck}
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    except sqlite3.Error as error:
        raise click.ClickException(
            f"the outbox can't be read ({error}); has the connector run yet?"
        ) from None
    if as_json:
        shown = {
            "block": int(block) if block else None,
            "epoch": None if stands_by else epoch,
            "payments": counts,
            "stuck": notes,
            "unsigned": unsigned,
        }
        click.echo(json.dumps(shown, indent=1))
    else:
        table = _table(counts, block, stuck, notes)
        if unsigned:
            table.add_row("reports wait to be signed", unsigned)
        Console().print(table)


async def _serve(parts: Parts) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    garbage.settle()
    await Connector(parts).run(stop)


async def _take_over(config: ConnectorSettings) -> Lease:
    profile = Profile.load(config.profile)
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    claims = Claims(config.claim)
    async with Gateway.connect(profile) as gateway:
        contract = gateway.network(profile.channel).contract(profile.chaincode)
        return await takeover.take_over(contract, config.acquirer_id, config.name, claims)


def _parts(config: ConnectorSettings, candidate: Candidate) -> Parts:
    profile = Profile.load(config.profile)
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Parts(
        place=Place(config.network, config.acquirer_id),
        chaincode=profile.chaincode,
        outbox=config.outbox,
        adapter=adapters.build(config),
        signer=open_signer(config.signer),
        open_ledger=opener(profile, config.data_dir / "queue.db"),
        candidate=candidate,
        in_flight=config.in_flight,
        stop_seconds=config.stop_seconds,
        pace=Pace(first=config.inquiry_seconds),
        ready_file=config.data_dir / "ready",
        standby_file=config.data_dir / "standby",
        link=_link(config, profile),
    )


def _link(config: ConnectorSettings, profile: Profile) -> LinkSettings | None:
    if not config.gateways:
        return None
    return LinkSettings(
        config.network,
        config.acquirer_id,
        config.name,
        profile.tls_certificate,
        profile.tls_private_key,
        config.gateways,
    )


def _table(
    counts: dict[str, int], block: str | None, stuck: list[Entry], notes: dict[str, str]
) -> Table:
    table = Table(title=f"Outbox at block {block or '-'}")
    table.add_column("state")
    table.add_column("payments", justify="right")
    for phase, count in counts.items():
        table.add_row(phase, str(count))
    for entry in stuck:
        table.add_row(f"stuck: {entry.payment}", notes[entry.key])
    return table
