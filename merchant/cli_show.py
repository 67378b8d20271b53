"""`clearline merchant list` and `status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click
import orjson
from rich.console import Console
from rich.table import Column, Table

from clearline import intents
from clearline.canonical import Json
from clearline.money import Money
from merchant.attempts import Attempt, OrderStatus, State
from merchant.cli_refund import shown_refunds
from merchant.desk import Desk, home_option, opened
from merchant.verify import DisputedError, verify_stored

_PIPE_WIDTH: Final = 400  # columns; wider than any row


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
        given = desk.book.refunds.given_back()
    shown = states[-limit:] if limit else states
    if as_json:
        for state in shown:
            click.echo(orjson.dumps(_row(state, given)))
        return
    _print_table(shown, given)
    click.echo(f"{len(shown)} of {len(states)} orders")


def _print_table(states: Sequence[State], given: Mapping[str, int]) -> None:
    """As wide as the terminal where there is one; the order's number is never cut, for it is what
    the other commands ask for."""
    longest = max((len(state.order.order_no) for state in states), default=0)
    order = Column("order", no_wrap=True, min_width=longest)
    table = Table(order, "amount", "attempt", "status", "reason", "refunded", "changed")
    for state in states:
        attempt = state.attempt
        table.add_row(
            state.order.order_no,
            str(state.order.money),
            str(attempt.attempt) if attempt else "",
            state.status.value,
            attempt.code if attempt else "",
            _refunded(state, given),
            attempt.changed_at if attempt else "",
        )
    console = Console()
    if not console.is_terminal:  # a pipe or a file has no width
        console.width = _PIPE_WIDTH
    console.print(table)


def _refunded(state: State, given: Mapping[str, int]) -> str:
    amount = given.get(state.order.order_no, 0)
    return str(Money(amount, state.order.currency)) if amount else ""


def _row(state: State, given: Mapping[str, int]) -> dict[str, Json]:
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
        "refunded_amount": given.get(order.order_no, 0),
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
    click.echo(f"  order digest {state.order.order_digest}")
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
        "refunds": shown_refunds(desk, attempt),
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
    for refund in shown["refunds"]:
        money = Money(refund["amount"], refund["currency"])
        said = f"{refund['status']} {refund['code']} {refund['detail']}".rstrip()
        click.echo(f"    refund {refund['refund_no']}, {money}: {said}")
        if refund["proof"]:
            click.echo(f"      bank-signed result: {refund['proof']}")
    for kept in shown["answers"]:
        click.echo(f"    {kept['at']} {kept['verdict']} ({kept['gateway']})")
