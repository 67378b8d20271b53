"""`clearline acquirer`: make, run and read an acquirer of the sandbox."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import ssl
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from acquirers import settings as acquirer_settings
from acquirers.settings import AcquirerSettings, SettingsError
from acquirers.unionpay_iso8583 import create as unionpay_create
from acquirers.unionpay_iso8583.book import Entry, read_entries
from acquirers.unionpay_iso8583.server import AcquirerServer
from clearline import logs

_KIND = click.argument("kind", type=click.Choice(["unionpay_iso8583"]))
_CONFIG = click.option(
    "--config", required=True, type=click.Path(path_type=Path), help="The settings file."
)


@click.group()
def acquirer() -> None:
    """An acquiring channel: stand-in for the company behind a protocol.

    Example: clearline acquirer init unionpay_iso8583 --dir unionpay
    """


@acquirer.command()
@_KIND
@click.option("--dir", "folder", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--listen", default="127.0.0.1:8583", show_default=True, help="Host and port.")
@click.option("--network", default="clearline-dev", show_default=True)
def init(kind: str, folder: Path, listen: str, network: str) -> None:
    """Make a new acquirer: TLS certificate, MAC key, settings.json, partner.json.

    Example: clearline acquirer init unionpay_iso8583 --dir unionpay --listen 127.0.0.1:8583
    """
    try:
        host, port = acquirer_settings.listen_address(listen)
        path = unionpay_create.create(folder, host, port, network)
    except (SettingsError, unionpay_create.FolderTakenError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{kind}: made {path}\nNext: clearline acquirer serve {kind} --config {path}")


@acquirer.command()
@_KIND
@_CONFIG
def serve(kind: str, config: Path) -> None:
    """Run the acquirer until SIGTERM.

    Example: clearline acquirer serve unionpay_iso8583 --config unionpay/settings.json
    """
    settings = _load(config)
    logs.configure()
    try:
        asyncio.run(_serve(settings))
    except (OSError, ssl.SSLError, sqlite3.Error) as error:
        raise click.ClickException(
            f"{kind} can't run on {settings.host}:{settings.port}: {error}"
        ) from None


@acquirer.command()
@_KIND
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def book(kind: str, config: Path, as_json: bool) -> None:
    """Show the acquirer's own book: charges, reversals and net of each reference.

    Example: clearline acquirer book unionpay_iso8583 --config unionpay/settings.json --json
    """
    settings = _load(config)
    try:
        entries = read_entries(settings.book)
    except sqlite3.Error as error:
        raise click.ClickException(
            f"{settings.book} can't be read ({error}); has the acquirer run yet?"
        ) from None
    if as_json:
        click.echo(json.dumps(_as_json(entries), indent=1))
    else:
        Console().print(_table(kind, entries))


async def _serve(settings: AcquirerSettings) -> None:
    server = AcquirerServer(settings)
    await server.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop()


def _load(config: Path) -> AcquirerSettings:
    try:
        return acquirer_settings.load(config)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


def _as_json(entries: list[Entry]) -> dict[str, object]:
    return {
        "references": [asdict(entry) | {"net": entry.net} for entry in entries],
        "totals": {
            "references": len(entries),
            "charges": sum(entry.charges for entry in entries),
            "reversals": sum(entry.reversals for entry in entries),
            "net_charges": sum(entry.charges - entry.reversals for entry in entries),
        },
    }


def _table(kind: str, entries: list[Entry]) -> Table:
    table = Table(title=f"The book of {kind}")
    for name in ("reference", "merchant", "amount", "cur", "code", "charges", "reversals", "net"):
        table.add_column(name)
    for entry in entries:
        table.add_row(
            entry.reference, entry.merchant_code, str(entry.amount), entry.currency,
            entry.code or "-", str(entry.charges), str(entry.reversals), str(entry.net),
        )  # fmt: skip
    return table
