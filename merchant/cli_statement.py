"""`clearline merchant statement`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import click
import orjson

from clearline import intents, refunds, times
from clearline.canonical import Json
from clearline.intents import PayIntent
from clearline.money import Money
from clearline.settlement_answers import DECIDED, SettlementAnswer
from merchant.attempts import OrderStatus, State
from merchant.client import HttpGateways, Request, Response
from merchant.desk import Desk, home_option, opened
from merchant.refundbook import BookedRefund, RefundStatus
from merchant.statements import Book, Booked, Differing, compare
from merchant.verify import DisputedError, verify_stored
from merchant.verify_refunds import Refunding, verify_stored_refund


@click.command()
@home_option
@click.option("--date", "day", required=True, help="The clearing date, YYYY-MM-DD.")
@click.option("--account", "account_id", help="The account id that the money must go to.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def statement(home: Path, day: str, account_id: str | None, as_json: bool) -> None:
    """Hold a clearing date's settlements against the order book, line by line.

    A settlement counts when the acquiring bank's signatures check against pinned keys and its
    lines add up. Each line must be a payment that the book has as paid, and each payment that the
    book has as paid on that day must be a line. What differs is printed.

    Exit code: 0 when they are equal; 1 otherwise.

    Example: clearline merchant statement --date 2026-11-23
    """
    try:
        times.parse_date(day)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with opened(home) as desk:
        settlements = _read(desk, day)
        found = compare(day, settlements, _book(desk), desk.profile, account_id)
    if as_json:
        click.echo(orjson.dumps(_to_json(day, settlements, found)))
    else:
        _print(day, settlements, found)
    sys.exit(1 if found else 0)


def _read(desk: Desk, day: str) -> list[SettlementAnswer]:
    """The decided settlements of that day, whole, from the first gateway that answers.

    Raises click.ClickException when none does.
    """
    http = HttpGateways(desk.profile, desk.signer())
    reasons = []
    try:
        for number, gateway in enumerate(desk.profile.gateways):
            try:
                return _from(http, number, day)
            except ValueError as error:
                reasons.append(f"{gateway.url}: {error}")
    finally:
        http.close()
    raise click.ClickException("no gateway shows the settlements: " + "; ".join(reasons))


def _from(http: HttpGateways, gateway: int, day: str) -> list[SettlementAnswer]:
    """Raises ValueError when this gateway does not show them all."""
    listed: list[SettlementAnswer] = []
    cursor: str | None = None
    while True:
        query = {"clearing_date": day} | ({} if cursor is None else {"cursor": cursor})
        page = _get(http, gateway, f"/v1/settlements?{urlencode(query)}")
        listed += [SettlementAnswer.from_json(one) for one in page["settlements"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    decided = [one for one in listed if one.status in DECIDED and one.clearing_date == day]
    return [
        SettlementAnswer.from_json(_get(http, gateway, f"/v1/settlements/{one.id}"))
        for one in decided
    ]


def _get(http: HttpGateways, gateway: int, path: str) -> Json:
    reply = http.read(gateway, Request("GET", path, {}))
    if not isinstance(reply, Response):
        raise ValueError(reply.reason)
    if reply.status != 200:
        raise ValueError(f"HTTP {reply.status}")
    try:
        found = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("an answer that is no object")
    return found


def _book(desk: Desk) -> Book:
    """Every order's newest attempt - no attempt is taken after one that succeeded - and refunds."""
    found: dict[tuple[str, int, int], Booked] = {}
    for state in desk.book.states():
        if state.attempt is not None:
            payment = _booked(desk, state)
            found[payment.order_no, payment.attempt, 0] = payment
            pay = intents.parse(state.attempt.compact).intent
            for refund in desk.book.refunds.of(payment.order_no):
                key = (refund.order_no, refund.attempt, refund.refund_no)
                found[key] = _refunded(desk, refund, payment, pay)
    return found


def _refunded(desk: Desk, refund: BookedRefund, payment: Booked, pay: PayIntent) -> Booked:
    """A refund as the book has it; its result counts when it checks against today's pins."""
    name = (refund.order_no, refund.attempt, refund.status.value)
    if refund.status is not RefundStatus.SUCCEEDED or payment.report is None:
        return Booked(*name)
    intent = refunds.parse(refund.compact).intent
    asked = Refunding(intent.key, {}, pay, payment.report.acquirer_id)
    try:
        report = verify_stored_refund(refund.result, intent, asked, desk.profile.pins)
    except DisputedError as error:
        return Booked(*name[:2], f"refunded, disputed: {error.code}")
    return Booked(*name, payment.merchant_code, report)


def _booked(desk: Desk, state: State) -> Booked:
    attempt = state.attempt
    assert attempt is not None  # noqa: S101 - the caller has looked
    name = (attempt.order_no, attempt.attempt, attempt.status.value)
    if attempt.status is not OrderStatus.PAID:
        return Booked(*name)
    intent = intents.parse(attempt.compact).intent
    try:
        report = verify_stored(attempt.result, intent, desk.profile.pins)
    except DisputedError as error:
        return Booked(*name[:2], f"paid, disputed: {error.code}")
    route = intent.route(report.acquirer_id)
    return Booked(*name, "" if route is None else route.merchant_code, report)


def _print(day: str, settlements: Sequence[SettlementAnswer], found: Sequence[Differing]) -> None:
    for one in settlements:
        net, carried = Money(one.net, one.currency), Money(one.carried, one.currency)
        click.echo(f"{one.id}: {one.status}, {one.lines} lines, carried {carried}, net {net}")
    for differing in found:
        click.echo(str(differing))
    word = "equal to the order book" if not found else f"{len(found)} differences"
    click.echo(f"{day}: {len(settlements)} settlements, {word}")


def _to_json(day: str, settlements: Sequence[SettlementAnswer], found: Sequence[Differing]) -> Json:
    return {
        "clearing_date": day,
        "settlements": [one.to_json() for one in settlements],
        "differences": [
            {"kind": one.kind.value, "about": one.about, "detail": one.detail} for one in found
        ],
    }
