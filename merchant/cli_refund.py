"""`clearline merchant refund`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click
import orjson

from clearline import refunds, times
from clearline.canonical import Json
from clearline.codes import Refusal
from clearline.money import Money, MoneyError, parse_decimal
from clearline.refunds import RefundIntent
from merchant.attempts import Attempt, OrderStatus, State
from merchant.cli_pay import asked, connected
from merchant.client import HttpGateways
from merchant.desk import Desk, home_option, opened
from merchant.refundbook import RENEWABLE, BookedRefund, RefundChange, RefundStatus
from merchant.refunding import Couriers, asked_of, follow
from merchant.verify import DisputedError
from merchant.verify_refunds import Refunding, verify_stored_refund

_ADVICE: Final = {
    RefundStatus.SUCCEEDED: "",
    RefundStatus.DECLINED: "Nothing was given back. To ask once more: --again.",
    RefundStatus.REFUSED: "It is not on the ledger. Mend the cause and run the command again.",
    RefundStatus.LAPSED: "It expired before a gateway took it: run the same command again.",
    RefundStatus.DISPUTED: "Do not count on it: an answer could not be proven. Tell the bank.",
}
_UNDER_WAY: Final = "It is under way: run the same command again; the same refund is followed."


@click.command()
@home_option
@click.argument("order_no", metavar="ORDER")
@click.option("--amount", help="A decimal such as 5.00; without it, all that is left.")
@click.option(
    "--again", is_flag=True, help="Another refund, though one of the same amount has ended."
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 86_400),
    default=60.0,
    show_default=True,
    help="Seconds its end is waited for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the refund as JSON.")
def refund(
    home: Path, order_no: str, amount: str | None, again: bool, timeout: float, as_json: bool
) -> None:
    """Give back the money of a paid order, or part of it, and wait for the bank's signature.

    Safe to interrupt and to run again: a refund is signed and stored before it is posted, and the
    same bytes are posted again while it is open. One of the same amount that has ended is shown,
    not repeated; --again asks for another.

    Exit code: 0 when the bank has signed that the money was given back, else 1.

    Example: clearline merchant refund A-1001 --amount 5.00
    """
    with opened(home) as desk:
        (state,) = asked(desk, (order_no,))
        attempt = _refundable(state)
        chosen = _choose(desk, state, attempt, amount, again)
        if not chosen.status.final:
            chosen = _follow(desk, attempt, chosen, timeout)
        shown = _shown(chosen)
    if as_json:
        click.echo(orjson.dumps(shown))
    else:
        _print(chosen)
    sys.exit(0 if chosen.status is RefundStatus.SUCCEEDED else 1)


def _refundable(state: State) -> Attempt:
    """The attempt whose money can be given back: one with a bank's result. Of one that did not
    succeed that is what was paid after its end; the ledger says whether there is any."""
    attempt = state.attempt
    if attempt is None or not attempt.status.final:
        raise click.ClickException(
            f"order {state.order.order_no} is {state.status}: nothing of it can be given back; "
            "close it while it is open"
        )
    return attempt


def _choose(
    desk: Desk, state: State, attempt: Attempt, amount: str | None, again: bool
) -> BookedRefund:
    """The refund to be followed: the open one, one that has ended before, or a new one, signed."""
    order = state.order
    all_ = [one for one in desk.book.refunds.of(order.order_no) if one.attempt == attempt.attempt]
    given = sum(one.amount for one in all_ if one.status is RefundStatus.SUCCEEDED)
    left = order.amount - given
    wanted = _wanted(amount, order.currency)
    last = all_[-1] if all_ else None
    if last is not None and not last.status.final and last.status not in RENEWABLE:
        if wanted not in (None, last.amount):
            money = Money(last.amount, last.currency)
            raise click.ClickException(
                f"refund {last.refund_no}, of {money}, is {last.status}: one is open at a time; "
                "run the command without --amount to follow it"
            )
        return last
    if last is not None and last.status.final and not again:
        over = left == 0 or last.status is RefundStatus.DECLINED
        if wanted == last.amount or (wanted is None and over):
            return last
    if wanted is None:
        if state.status is not OrderStatus.PAID:
            raise click.ClickException(
                f"order {order.order_no} is {state.status}: say with --amount what was paid after "
                "its end"
            )
        wanted = left
    if wanted <= 0:
        raise click.ClickException(f"order {order.order_no} was given back whole before")
    renewed = last is not None and last.status in RENEWABLE
    number = 1 if last is None else last.refund_no + (0 if renewed else 1)
    return _sign(desk, attempt, number, Money(wanted, order.currency))


def _wanted(amount: str | None, currency: str) -> int | None:
    if amount is None:
        return None
    try:
        return parse_decimal(amount, currency).amount
    except MoneyError as error:
        raise click.ClickException(str(error)) from None


def _sign(desk: Desk, attempt: Attempt, number: int, money: Money) -> BookedRefund:
    profile, now = desk.profile, times.now()
    intent = RefundIntent(
        network=profile.network,
        merchant_id=profile.merchant_id,
        order_no=attempt.order_no,
        attempt=attempt.attempt,
        refund_no=number,
        amount=money.amount,
        currency=money.currency,
        created=now,
        expires_at=times.after(now, profile.expires_in),
    )
    return desk.book.refunds.store(intent, refunds.sign(intent, desk.signer()))


def _asked(desk: Desk, attempt: Attempt, booked: BookedRefund) -> Refunding:
    try:
        return asked_of(desk.profile, desk.book, attempt, booked)
    except Refusal as error:
        raise click.ClickException(
            f"order {attempt.order_no} has no result to hold a refund against: {error}"
        ) from None


def _follow(desk: Desk, attempt: Attempt, booked: BookedRefund, timeout: float) -> BookedRefund:
    book = desk.book.refunds
    asked_ = _asked(desk, attempt, booked)

    def moved(change: RefundChange) -> None:
        book.record(booked, change)

    with connected(desk) as gateways:
        assert isinstance(gateways.api, HttpGateways)  # noqa: S101 - `connected` makes it
        couriers = Couriers(gateways.api, gateways.urls, gateways.rota)
        change = follow(booked.compact, asked_, couriers, desk.profile.pins, moved, timeout)
    if change is not None:
        return book.record(booked, change)
    return next(
        one
        for one in book.of(booked.order_no)
        if (one.attempt, one.refund_no) == (booked.attempt, booked.refund_no)
    )


def _shown(booked: BookedRefund) -> dict[str, Json]:
    return {
        "order_no": booked.order_no,
        "attempt": booked.attempt,
        "refund_no": booked.refund_no,
        "amount": booked.amount,
        "currency": booked.currency,
        "status": booked.status.value,
        "code": booked.code,
        "detail": booked.detail,
        "gateway": booked.gateway,
        "intent": booked.compact,
        "signed_result": booked.result,
        "tx_id": booked.tx_id,
        "block_number": booked.block_number,
        "changed_at": booked.changed_at,
    }


def shown_refunds(desk: Desk, attempt: Attempt) -> list[dict[str, Json]]:
    """An attempt's refunds for `status`, each result checked again with today's pins."""
    found = []
    for booked in desk.book.refunds.of(attempt.order_no):
        if booked.attempt != attempt.attempt:
            continue
        proof = ""
        if booked.result:
            try:
                asked_ = _asked(desk, attempt, booked)
                verify_stored_refund(booked.result, booked.intent, asked_, desk.profile.pins)
                proof = "verified"
            except DisputedError as error:
                proof = str(error)
        found.append(_shown(booked) | {"proof": proof})
    return found


def _print(booked: BookedRefund) -> None:
    money = Money(booked.amount, booked.currency)
    said = " ".join(part for part in (booked.code, booked.detail) if part)
    line = f"order {booked.order_no} refund {booked.refund_no}, {money}: {booked.status} {said}"
    click.echo(line.rstrip())
    advice = _ADVICE.get(booked.status, _UNDER_WAY)
    if advice:
        click.echo("  " + advice)
