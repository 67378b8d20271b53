"""`clearline acquirer`: make, run and read an acquirer of the sandbox."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import ssl
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.table import Table

from acquirers import delivery
from acquirers import settings as acquirer_settings
from acquirers.authority import FolderTakenError
from acquirers.kinds import KINDS, Kind, Line, Returned, Settings
from acquirers.settings import SettingsError
from clearline import garbage, logs, times

_KIND = click.argument("kind", type=click.Choice(list(KINDS)))
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
@click.option("--listen", help="Host and port; else 127.0.0.1 and the kind's usual port.")
@click.option("--network", default="clearline-dev", show_default=True)
def init(kind: str, folder: Path, listen: str | None, network: str) -> None:
    """Make a new acquirer: TLS certificate, keys, settings.json, partner.json.

    Example: clearline acquirer init unionpay_iso8583 --dir unionpay --listen 127.0.0.1:8583
    """
    try:
        host, port = acquirer_settings.listen_address(listen or KINDS[kind].listen)
        path = KINDS[kind].create(folder, host, port, network)
    except (SettingsError, FolderTakenError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{kind}: made {path}\nNext: clearline acquirer serve {kind} --config {path}")


@acquirer.command()
@_KIND
@_CONFIG
def serve(kind: str, config: Path) -> None:
    """Run the acquirer until SIGTERM.

    Example: clearline acquirer serve unionpay_iso8583 --config unionpay/settings.json
    """
    settings = _load(kind, config)
    logs.configure()
    try:
        uvloop.run(_serve(KINDS[kind], settings))
    except (OSError, ssl.SSLError, sqlite3.Error) as error:
        raise click.ClickException(
            f"{kind} can't run on {settings.place.host}:{settings.place.port}: {error}"
        ) from None


@acquirer.command()
@_KIND
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def book(kind: str, config: Path, as_json: bool) -> None:
    """Show the acquirer's own book: charges, reversals and net of each reference, and refunds.

    Example: clearline acquirer book unionpay_iso8583 --config unionpay/settings.json --json
    """
    settings = _load(kind, config)
    try:
        lines = KINDS[kind].read(settings.place.book)
        returned = KINDS[kind].refunds(settings.place.book)
    except sqlite3.Error as error:
        raise _unread(settings, error) from None
    if as_json:
        click.echo(json.dumps(_as_json(lines, returned), indent=1))
    else:
        Console().print(_table(kind, lines))
        if returned:
            Console().print(_refund_table(returned))


@acquirer.command("file")
@_KIND
@_CONFIG
@click.option("--date", "day", required=True, help="The clearing date, YYYY-MM-DD.")
def daily_file(kind: str, config: Path, day: str) -> None:
    """Close a clearing date and make its files, one for each merchant code and currency.

    They lie in the delivery folder beside the book, where the bank fetches them; their paths are
    printed. Asked for again, they are the same files.

    Example: clearline acquirer file unionpay_iso8583 --config unionpay/settings.json --date 2026-11-23
    """  # noqa: E501
    settings = _load(kind, config)
    try:
        times.parse_date(day)
        made = delivery.deliver(KINDS[kind], settings.place, day, datetime.now(UTC))
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except sqlite3.Error as error:
        raise _unread(settings, error) from None
    for path in made:
        click.echo(path)
    if not made:
        click.echo(f"nothing was cleared on {day}", err=True)


@acquirer.command()
@_KIND
@_CONFIG
@click.option("--reference", required=True, help="The payment's reference, as the book shows it.")
@click.option("--amount", type=click.IntRange(0), default=0, help="Minor units (default: all).")
def chargeback(kind: str, config: Path, reference: str, amount: int) -> None:
    """Take a payment's money back from its merchant: an adjustment in the open day's file.

    Example: clearline acquirer chargeback qr_wallet --config qr/settings.json --reference 5d41...
    """
    settings = _load(kind, config)
    try:
        made = delivery.charge_back(
            KINDS[kind], settings.place, reference, amount, datetime.now(UTC)
        )
    except delivery.DeliveryError as error:
        raise click.ClickException(str(error)) from None
    except sqlite3.Error as error:
        raise _unread(settings, error) from None
    click.echo(made)


def _unread(settings: Settings, error: sqlite3.Error) -> click.ClickException:
    return click.ClickException(
        f"{settings.place.book} can't be read ({error}); has the acquirer run yet?"
    )


async def _serve(kind: Kind, settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    garbage.settle()
    await kind.serve(settings, stop)


def _load(kind: str, config: Path) -> Settings:
    try:
        return KINDS[kind].load(config)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


def _as_json(lines: Sequence[Line], returned: Sequence[Returned]) -> dict[str, object]:
    return {
        "references": [line.more | {"code": line.code, "net": line.net} for line in lines],
        "refunds": [asdict(one) for one in returned],
        "totals": {
            "references": len(lines),
            "charges": sum(line.charges for line in lines),
            "reversals": sum(line.reversals for line in lines),
            "net_charges": sum(line.charges - line.reversals for line in lines),
        },
    }


def _table(kind: str, lines: Sequence[Line]) -> Table:
    table = Table(title=f"The book of {kind}")
    for name in ("reference", "merchant", "amount", "cur", "code", "charges", "reversals", "net"):
        table.add_column(name)
    for line in lines:
        table.add_row(
            line.reference, line.merchant_code, str(line.amount), line.currency,
            line.code or "-", str(line.charges), str(line.reversals), str(line.net),
        )  # fmt: skip
    return table


def _refund_table(returned: Sequence[Returned]) -> Table:
    table = Table(title="Its refunds")
    for name in ("reference", "payment", "merchant", "amount", "cur", "code", "given back"):
        table.add_column(name)
    for one in returned:
        table.add_row(
            one.reference, one.payment, one.merchant_code, str(one.amount), one.currency,
            one.code or "-", str(one.given),
        )  # fmt: skip
    return table
