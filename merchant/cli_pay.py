"""`clearline merchant pay | watch | status | list`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import orjson
from rich.console import Console
from rich.table import Column, Table

from clearline import intents
from clearline.canonical import Json
from merchant.attempts import Attempt, OrderStatus, State
from merchant.client import HttpGateways
from merchant.desk import Desk, home_option, opened
from merchant.payrun import Options, PayRun
from merchant.plan import Again, Plan, make_plan, watch_plan
from merchant.progress import choose
from merchant.rota import Rota
from merchant.summary import Summary, to_json, to_lines
from merchant.verify import DisputedError, verify_stored
from merchant.workers import Gateways

_WATCH: Final = 24 * 3600.0  # seconds
_SHOWN: Final = 20  # open orders named one by one
_PIPE_WIDTH: Final = 400  # columns; wider than any row


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


@click.command("list")
@home_option
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in OrderStatus]),
    multiple=True,
    help="Only orders that stand so; may be given several times.",
)
@click.option("--limit", type=click.IntRange(1), help="At most so many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
def list_orders(home: Path, statuses: tuple[str, ...], limit: int | None, as_json: bool) -> None:
    """List the order book.

    Example: clearline merchant list --status declined --status disputed
    """
    with opened(home) as desk:
        states = [s for s in desk.book.states() if not statuses or s.status.value in statuses]
    shown = states[-limit:] if limit else states
    if as_json:
        for state in shown:
            click.echo(orjson.dumps(_row(state)))
        return
    _print_table(shown)
    click.echo(f"{len(shown)} of {len(states)} orders")


def _print_table(states: Sequence[State]) -> None:
    """As wide as the terminal where there is one; the order's number is never cut, for it is what
    the other commands ask for."""
    longest = max((len(state.order.order_no) for state in states), default=0)
    order = Column("order", no_wrap=True, min_width=longest)
    table = Table(order, "amount", "attempt", "status", "reason", "changed")
    for state in states:
        attempt = state.attempt
        table.add_row(
            state.order.order_no,
            str(state.order.money),
            str(attempt.attempt) if attempt else "",
            state.status.value,
            attempt.code if attempt else "",
            attempt.changed_at if attempt else "",
        )
    console = Console()
    if not console.is_terminal:  # a pipe or a file has no width
        console.width = _PIPE_WIDTH
    console.print(table)


def _row(state: State) -> dict[str, Json]:
    order, attempt = state.order, state.attempt
    return {
        "order_no": order.order_no,
        "amount": order.amount,
        "currency": order.currency,
        "status": state.status.value,
        "attempt": attempt.attempt if attempt else 0,
        "code": attempt.code if attempt else "",
        "detail": attempt.detail if attempt else "",
        "tx_id": attempt.tx_id if attempt else "",
        "block_number": attempt.block_number if attempt else None,
        "changed_at": attempt.changed_at if attempt else "",
    }


@click.command()
@home_option
@click.argument("order_no")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(home: Path, order_no: str, as_json: bool) -> None:
    """Show an order with all its attempts and the evidence kept for each.

    The bank-signed result is checked again with the keys pinned today.

    Example: clearline merchant status A-1001
    """
    with opened(home) as desk:
        state = desk.book.state(order_no)
        if state is None:
            raise click.ClickException(
                f"the order book has no order {order_no}; see `clearline merchant list`"
            )
        attempts = [_attempt(desk, attempt) for attempt in desk.book.attempts(order_no)]
    if as_json:
        order: Json = orjson.loads(state.order.to_text())
        click.echo(
            orjson.dumps({"order": order, "status": state.status.value, "attempts": attempts})
        )
        return
    click.echo(f"order {order_no}: {state.order.money}, {state.status}")
    click.echo(f"  order digest {state.order.digest}")
    for shown in attempts:
        _print_attempt(shown)


def _attempt(desk: Desk, attempt: Attempt) -> dict[str, Json]:
    signed = [
        intents.parse(compact).intent
        for compact in desk.book.intents(attempt.order_no, attempt.attempt)
    ]
    result: Json = None
    proof = ""
    for intent in signed if attempt.result else []:
        try:
            result = verify_stored(attempt.result, intent, desk.profile.pins).payload()
            proof = "verified"
            break
        except DisputedError as error:
            proof = str(error)
    return {
        "attempt": attempt.attempt,
        "status": attempt.status.value,
        "code": attempt.code,
        "detail": attempt.detail,
        "gateway": attempt.gateway,
        "expires_at": attempt.expires_at,
        "changed_at": attempt.changed_at,
        "intent": attempt.compact,
        "close": attempt.close or None,
        "intent_digests": [intent.digest() for intent in signed],
        "tx_id": attempt.tx_id,
        "block_number": attempt.block_number,
        "proof": proof,
        "result": result,
        "signed_result": attempt.result,
        "answers": [
            {"at": kept.at, "gateway": kept.gateway, "verdict": kept.verdict, "body": kept.body}
            for kept in desk.book.answers(attempt.order_no, attempt.attempt)
        ],
    }


def _print_attempt(shown: dict[str, Json]) -> None:
    said = " ".join(part for part in (shown["code"], shown["detail"]) if part)
    click.echo(f"  attempt {shown['attempt']}: {shown['status']} {said}".rstrip())
    click.echo(f"    intent {', '.join(shown['intent_digests'])}, expires {shown['expires_at']}")
    if shown["close"]:
        click.echo("    the merchant signed its close")
    if shown["tx_id"]:
        click.echo(f"    transaction {shown['tx_id']} in block {shown['block_number']}")
    if shown["proof"]:
        click.echo(f"    bank-signed result: {shown['proof']}")
    for name, value in (shown["result"] or {}).items():
        if value is not None:
            click.echo(f"      {name}: {value}")
    for kept in shown["answers"]:
        click.echo(f"    {kept['at']} {kept['verdict']} ({kept['gateway']})")
