"""`clearline merchant pay | watch`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import orjson

from merchant.attempts import State
from merchant.client import HttpGateways
from merchant.desk import Desk, home_option, opened
from merchant.payrun import Options, PayRun
from merchant.plan import Again, Plan, make_plan, watch_plan
from merchant.progress import choose
from merchant.rota import Rota
from merchant.summary import Summary, to_json, to_lines
from merchant.workers import Gateways

_WATCH: Final = 24 * 3600.0  # seconds
_SHOWN: Final = 20  # open orders named one by one


def asked(desk: Desk, order_nos: tuple[str, ...]) -> Iterator[State]:
    """The orders named, each once. Raises click.UsageError for one the book does not hold."""
    for order_no in dict.fromkeys(order_nos):
        state = desk.book.state(order_no)
        if state is None:
            raise click.UsageError(
                f"the order book has no order {order_no}; see `clearline merchant list`"
            )
        yield state


def _check_asked(context: click.Context) -> None:
    if bool(context.params["every"]) == bool(context.params["order_nos"]):
        raise click.UsageError("name orders, or say --all")


@contextmanager
def connected(desk: Desk) -> Iterator[Gateways]:
    """The profile's gateways. Raises click.ClickException when a CA file is missing."""
    profile = desk.profile
    for gateway in profile.gateways:
        if not gateway.ca.is_file():
            raise click.ClickException(
                f"the CA file {gateway.ca} of {gateway.url} is not there; mend merchant.json"
            )
    http = HttpGateways(profile, desk.signer())
    urls = tuple(gateway.url for gateway in profile.gateways)
    try:
        yield Gateways(http, urls, Rota(len(urls)))
    finally:
        http.close()


def run(desk: Desk, plan: Plan, options: Options) -> Summary:
    """Carry out a plan."""
    with connected(desk) as gateways:
        payrun = PayRun(desk.book, desk.profile, gateways, options, choose())
        return payrun.run(plan, desk.signer())


def _print_json(summary: Summary) -> None:
    click.echo(orjson.dumps(to_json(summary)))


def _print_lines(summary: Summary) -> None:
    for line in to_lines(summary):
        click.echo(line)
    for item in summary.open[:_SHOWN]:
        reason = f"{item.code} {item.detail}".rstrip()
        click.echo(f"  {item.order_no} attempt {item.attempt}: {item.status} {reason}")
    if len(summary.open) > _SHOWN:
        click.echo(f"  and {len(summary.open) - _SHOWN} more: `clearline merchant list`")


@click.command()
@home_option
@click.argument("order_nos", nargs=-1, metavar="[ORDER]...")
@click.option("--all", "every", is_flag=True, help="Every order of the book.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=16, show_default=True)
@click.option(
    "--batch",
    type=click.IntRange(1, 200),
    default=1,
    show_default=True,
    help="Intents a post; 1 posts each alone.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 86_400),
    default=120.0,
    show_default=True,
    help="Seconds an order gets in this run.",
)
@click.option("--retry-declined", is_flag=True, help="A new attempt where the last one failed.")
@click.option("--renew", is_flag=True, help="A new intent for what lapsed or was refused.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def pay(
    context: click.Context,
    home: Path,
    order_nos: tuple[str, ...],
    every: bool,
    concurrency: int,
    batch: int,
    timeout: float,
    retry_declined: bool,
    renew: bool,
    as_json: bool,
) -> None:
    """Request payment of orders and wait until a bank's signature says how each ended.

    Safe to interrupt and to run again: an intent is stored before it is posted, and what is
    posted again are the same bytes. Exit code 0 when every asked order has a proven end and none
    is disputed, else 1.

    Example: clearline merchant pay --all --concurrency 16
    """
    _check_asked(context)
    chosen = {Again.RETRY_DECLINED: retry_declined, Again.RENEW: renew}
    again = frozenset(name for name, wanted in chosen.items() if wanted)
    with opened(home) as desk:
        plan = make_plan(desk.book.states() if every else asked(desk, order_nos), again)
        summary = run(desk, plan, Options(concurrency, batch, timeout))
    (_print_json if as_json else _print_lines)(summary)
    sys.exit(summary.exit_code)


@click.command()
@home_option
@click.argument("order_nos", nargs=-1, metavar="[ORDER]...")
@click.option("--all", "every", is_flag=True, help="Every order of the book.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, _WATCH),
    default=_WATCH,
    help="Seconds after which to stop watching (default: a day).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def watch(
    context: click.Context,
    home: Path,
    order_nos: tuple[str, ...],
    every: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Follow orders that are under way until each has a proven end. Posts nothing.

    Example: clearline merchant watch --all
    """
    _check_asked(context)
    with opened(home) as desk:
        plan = watch_plan(desk.book.states() if every else asked(desk, order_nos))
        summary = run(desk, plan, Options(concurrency=8, timeout=timeout))
    (_print_json if as_json else _print_lines)(summary)
    sys.exit(summary.exit_code)
