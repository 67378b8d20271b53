"""`clearline merchant close`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import orjson

from clearline import intents, times
from clearline.canonical import Json
from clearline.intents import CloseIntent
from clearline.jws import Signer
from merchant.attempts import Attempt, KeptAnswer, OrderStatus, State
from merchant.cli_pay import asked, connected, run
from merchant.closing import Said, Standing, post_close
from merchant.desk import Desk, home_option, opened
from merchant.payrun import Options
from merchant.plan import make_plan
from merchant.summary import Summary
from merchant.workers import Gateways

_FOLLOWED: Final = frozenset({Standing.STANDS, Standing.RECEIVED, Standing.ENDED})
_ADVICE: Final = {
    Standing.UNKNOWN: "Nothing is open as far as the gateways see. Were the intent still under way,"
    " it could arrive until it expires: close it again then.",
    Standing.REFUSED: "Mend the cause and close it again.",
    Standing.UNHEARD: "The close is stored and will be posted again: run the same command.",
}


@dataclass(frozen=True, slots=True)
class _Closed:
    """An order after the command; `said` is None when it had ended before and nothing was sent."""

    state: State
    said: Said | None

    @property
    def attempt(self) -> int:
        return self.state.attempt.attempt if self.state.attempt else 0

    def to_json(self) -> dict[str, Json]:
        shown = {
            "order_no": self.state.order.order_no,
            "attempt": self.attempt,
            "status": self.state.status.value,
            "reason": self.state.attempt.code if self.state.attempt else "",
        }
        if self.said is None:
            return shown | {"close": None}
        said = self.said
        return shown | {
            "close": {
                "standing": said.standing.value,
                "gateway": said.gateway,
                "code": said.code,
                "detail": said.detail,
            }
        }


@click.command()
@home_option
@click.argument("order_nos", nargs=-1, metavar="ORDER...", required=True)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 86_400),
    default=60.0,
    show_default=True,
    help="Seconds the close, and then the payment's end, are waited for.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object an order.")
def close(home: Path, order_nos: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Have open payments closed at the acquirer, and wait until its signature says how they ended.

    The newest attempt of each order is closed. A close is a wish: a payer who was first has paid,
    and the order is then paid. It is signed, stored and posted like an intent to be paid, and safe
    to be repeated; an order that is to be closed is not posted again by `pay`.

    Exit code: 0 when each order has a proven end, closed or other; 1 otherwise.

    Example: clearline merchant close A-1001
    """
    with opened(home) as desk:
        states = list(asked(desk, order_nos))
        for state in states:
            if state.attempt is None:
                raise click.ClickException(
                    f"order {state.order.order_no} was never to be paid: there is nothing to close"
                )
        closed = _close(desk, states, timeout)
    for item in closed:
        if as_json:
            click.echo(orjson.dumps(item.to_json()))
        else:
            _print(item)
    sys.exit(0 if all(item.state.status.final for item in closed) else 1)


def _close(desk: Desk, states: list[State], timeout: float) -> list[_Closed]:
    signer = desk.signer()
    said: dict[str, Said] = {}
    with connected(desk) as gateways:
        for state in states:
            if state.attempt is not None and not state.status.final:
                said[state.order.order_no] = _post(desk, state.attempt, gateways, signer, timeout)
    open_ = [no for no, word in said.items() if word.standing in _FOLLOWED]
    if open_:
        _follow(desk, tuple(open_), timeout)
    now = list(asked(desk, tuple(state.order.order_no for state in states)))
    return [_Closed(state, said.get(state.order.order_no)) for state in now]


def _post(desk: Desk, attempt: Attempt, gateways: Gateways, signer: Signer, timeout: float) -> Said:
    """Sign and store the close, then post it; a receipt for it is kept."""
    profile = desk.profile
    intent = CloseIntent(
        profile.network, profile.merchant_id, attempt.order_no, attempt.attempt, times.now()
    )
    compact = desk.book.store_close(attempt.order_no, attempt.attempt, intents.sign(intent, signer))
    said = post_close(compact, gateways, timeout)
    if said.receipt:
        kept = KeptAnswer(times.now(), said.gateway, "close_received", said.receipt)
        desk.book.keep(attempt.order_no, attempt.attempt, kept)
    return said


def _follow(desk: Desk, order_nos: tuple[str, ...], timeout: float) -> Summary:
    plan = make_plan(asked(desk, order_nos), frozenset())
    return run(desk, plan, Options(concurrency=8, timeout=timeout))


def _print(item: _Closed) -> None:
    order_no, status = item.state.order.order_no, item.state.status
    line = f"order {order_no} attempt {item.attempt}: {status}"
    if item.said is None:
        click.echo(f"{line}; it had ended before")
        return
    if status is OrderStatus.PAID:
        click.echo(f"{line}: the payer was first")
        return
    if status.final:
        reason = item.state.attempt.code if item.state.attempt else ""
        click.echo(f"{line} ({reason})")
        return
    said = item.said
    word = f"{said.standing} {said.code} {said.detail}".strip()
    click.echo(f"{line}; the close: {word}")
    default = "The acquirer has not answered yet: `clearline merchant watch` follows it."
    click.echo("  " + _ADVICE.get(said.standing, default))
