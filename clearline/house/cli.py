"""`clearline up`, `down` and `run`: the whole house by one command."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clearline.house import bringup
from clearline.house.bringup import Choice
from clearline.house.demonstration import demonstrate, keep
from clearline.house.layout import House, HouseError
from clearline.house.status import healthy, statuses

_HOME = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".clearline/dev"),
    envvar="CLEARLINE_HOME",
    show_default=True,
    help="Folder for everything the house makes.",
)
_ENGINE = click.option(
    "--engine",
    type=click.Choice(["embedded", "fabric"]),
    default="embedded",
    show_default=True,
    help="What runs the peers and the orderer.",
)
console = Console()


def _say(text: str) -> None:
    console.print(f"[bold]·[/bold] {escape(text)}", highlight=False, soft_wrap=True)


@click.command()
@_HOME
@_ENGINE
@click.option("--free-ports", is_flag=True, help="Take free ports instead of the topology's.")
@click.option(
    "--standby",
    "connectors",
    flag_value=2,
    type=int,
    default=1,
    help="Give each acquirer a second connector that stands by; it stays in this home.",
)
def up(home: Path, engine: str, free_ports: bool, connectors: int) -> None:
    """Start the network and every room, and leave them running.

    Example: clearline up --home .clearline/dev
    """
    try:
        keep(home)
        ports = "free" if free_ports else "topology"
        house = bringup.up(Choice(home, engine, ports, connectors), _say)
    except HouseError as error:
        raise click.ClickException(str(error)) from None
    click.echo(_what_to_try(house))


@click.command()
@_HOME
def down(home: Path) -> None:
    """Stop what `up` started in this home, and nothing else.

    Example: clearline down --home .clearline/dev
    """
    try:
        bringup.down(home, _say)
    except HouseError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@_HOME
@click.option("--json", "as_json", is_flag=True, help="One JSON object a process.")
def status(home: Path, as_json: bool) -> None:
    """Show the rooms' processes, and which connector of each acquirer acts.

    Exit code 1 when one of them is not ready, or an acquirer has none that acts.

    Example: clearline status --home .clearline/dev
    """
    try:
        rows = statuses(House.of(home))
    except HouseError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        for row in rows:
            click.echo(json.dumps(asdict(row)))
    else:
        table = Table("process", "state", "restarts", "acquirer", "role", "epoch", "open")
        for row in rows:
            shown = (row.process, row.state, row.restarts, row.acquirer, row.role, row.epoch)
            table.add_row(*("" if one is None else str(one) for one in (*shown, row.open)))
        console.print(table)
    sys.exit(0 if healthy(rows) else 1)


@click.command()
@_ENGINE
@click.option(
    "--orders",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    default=(Path("examples/orders.csv"), Path("examples/wallet-orders.csv")),
    show_default=True,
    help="Order file, CSV or JSONL; may be given more than once.",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".clearline/run"),
    show_default=True,
    help="Folder for the run: a new one, or an earlier run's, which is removed.",
)
def run(engine: str, orders: tuple[Path, ...], home: Path) -> None:
    """Start everything on free ports, pay an order file, verify the ledger, stop.

    A bad row stops nothing else. Exit code 1 when a row was not taken, a payment has no proven
    end, or a check failed.

    Example: clearline run --orders examples/orders.csv
    """
    try:
        demonstrate(Choice(home, engine, "free"), orders, _say)
    except HouseError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; everything was stopped") from None


def _what_to_try(house: House) -> str:
    """Commands for a shell, as they stand: the tests take them out of here and run them."""
    quote = shlex.quote
    merchant = quote(str(house.merchant_dir))
    gateway = house.gateways[0]
    ca = quote(str(house.tls_ca(gateway.bank)))
    home = quote(str(house.home))
    log = quote(str(house.home / "logs" / "connector-unionpay.log"))
    auditor = quote(str(house.profile("Supervisor", "auditor")))
    clearline = _shown(Path(sys.argv[0]))
    return f"""
Everything runs. The acquirers are sandboxes: the payer token chooses the outcome.

Pay an order file, then look at one payment through the bank's gateway:
  {clearline} merchant --home {merchant} import examples/orders.csv
  {clearline} merchant --home {merchant} pay --all
  curl -s --cacert {ca} \\
    -H "Authorization: Bearer $({clearline} merchant --home {merchant} token)" \\
    {gateway.url}/v1/payments/20261123-0002

See it as the supervisor does:
  {clearline} audit verify --profile {auditor}
  {clearline} audit payment M-0001 20261123-0002 \\
    --profile {auditor}

Processes and logs, and the end:
  {clearline} network status --home {home}
  {clearline} status --home {home}
  tail -f {log}
  {clearline} down --home {home}
"""


def _shown(program: Path) -> str:
    """This program for a shell, as short as it can be called from here."""
    if program.name == "__main__.py":  # python -m clearline
        return f"{shlex.quote(sys.executable)} -P -m clearline"
    found = shutil.which(program.name)
    if found is not None and program.exists() and Path(found).samefile(program):
        return shlex.quote(program.name)
    # A fresh clone has it in .venv only, not on the path.
    path, here = program.absolute(), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
