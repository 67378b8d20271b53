"""`clearline merchant close`: every ending, every race, and what is kept of it."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from merchant_world import Fault, World, answer_for, problem

from clearline import intents, times
from clearline.answers import Receipt, sign_receipt
from clearline.codes import Code
from clearline.intents import CloseIntent
from clearline.jws import Algorithm, KeySigner
from clearline.statuses import Status
from merchant.attempts import OrderStatus
from merchant.client import Busy, Refused, Reply, Unreachable
from merchant.closing import Standing, post_close
from merchant.desk import opened
from merchant.orderbook import OrderBook
from merchant.rota import Rota
from merchant.workers import Gateways


def open_payment(world: World, order_no: str, token: str = "tok_never") -> None:
    """On the ledger, and the merchant has given up waiting for its end."""
    world.orders(order_no, payer_token=token)
    with opened(world.home) as desk:
        from merchant.attempts import NewIntent
        from merchant.orders import intent_for

        state = desk.book.state(order_no)
        assert state is not None
        intent = intent_for(state.order, 1, desk.profile, times.now())
        compact = intents.sign(intent, desk.signer())
        desk.book.store([NewIntent(order_no, 1, intent.digest(), compact, intent.expires_at)])
    world.ledger.submit(compact)


def closed(world: World, *arguments: str) -> list[dict[str, Any]]:
    result = world.run("close", *arguments, "--json")
    assert result.exit_code in (0, 1), result.output
    return [json.loads(line) | {"exit": result.exit_code} for line in result.stdout.splitlines()]


def closes_posted(world: World) -> list[str]:
    """Every close any gateway was sent, in order."""
    return [
        compact
        for gateway in world.gateways
        for _, compact in gateway.posts
        if isinstance(intents.parse_any(compact).intent, CloseIntent)
    ]


def test_an_open_payment_is_closed_and_the_banks_word_ends_it(world: World) -> None:
    open_payment(world, "A-1")
    (shown,) = closed(world, "A-1")
    assert (shown["status"], shown["reason"]) == ("closed", "closed_by_merchant")
    assert (shown["close"]["standing"], shown["exit"]) == ("stands", 0)
    status = json.loads(world.run("status", "A-1", "--json").stdout)
    (attempt,) = status["attempts"]
    assert attempt["proof"] == "verified"
    assert [attempt["close"]] == closes_posted(world)
    people = world.run("close", "A-1")
    assert people.output.strip() == "order A-1 attempt 1: closed; it had ended before"


def test_the_payer_was_first(world: World) -> None:
    open_payment(world, "A-1", "tok_approve")
    (shown,) = closed(world, "A-1")
    assert (shown["status"], shown["close"]["standing"]) == ("paid", "stands")
    # The ledger had ended it before the close came.
    open_payment(world, "A-2", "tok_approve")
    world.ledger.view(world.ledger.entries["A-2", 1])
    (shown,) = closed(world, "A-2")
    assert (shown["status"], shown["close"]["standing"]) == ("paid", "ended")
    assert shown["exit"] == 0
    open_payment(world, "A-3", "tok_approve")
    assert "A-3 attempt 1: paid: the payer was first" in world.run("close", "A-3").output


def test_twice_is_the_same_bytes(world: World) -> None:
    open_payment(world, "A-1")
    world.ledger.asks = 10**6
    world.ledger.entries["A-1", 1].asks = 10**6
    for _ in range(2):
        (shown,) = closed(world, "A-1", "--timeout", "1")
        assert (shown["status"], shown["close"]["standing"]) == ("requested", "stands")
        assert shown["exit"] == 1
    posted = closes_posted(world)
    assert len(posted) == 2
    assert len(set(posted)) == 1


def test_what_was_never_to_be_paid_or_is_not_in_the_book(world: World) -> None:
    world.orders("A-1")
    assert "nothing to close" in world.run("close", "A-1").output
    unknown = world.run("close", "A-9")
    assert unknown.exit_code == 2
    assert "no order A-9" in unknown.output
    assert closes_posted(world) == []


def test_a_gateway_that_fails_costs_nothing(world: World) -> None:
    open_payment(world, "A-1")
    open_payment(world, "A-2")
    world.gateways[0].behave = lambda method, _: Fault("reset", after=True)
    for order_no in ("A-1", "A-2"):
        (shown,) = closed(world, order_no)
        assert (shown["status"], shown["exit"]) == ("closed", 0)
    assert len(set(closes_posted(world))) == 2


def test_a_payment_no_gateway_knows_stays_open_and_pay_does_not_post_it(world: World) -> None:
    open_payment(world, "A-1")
    world.ledger.entries.clear()
    (shown,) = closed(world, "A-1")
    assert (shown["status"], shown["close"]["standing"]) == ("signed", "unknown")
    assert shown["exit"] == 1
    posts = sum(len(gateway.posts) for gateway in world.gateways)
    assert world.pay("A-1")["counts"] == {"signed": 1}
    assert sum(len(gateway.posts) for gateway in world.gateways) == posts
    # Once expired it can't arrive any more; asked for anew, it is not to be closed any more.
    with sqlite3.connect(world.home / "orders.db") as db:
        db.execute("UPDATE intents SET expires_at = '2026-01-01T00:00:00.000Z'")
    assert world.pay("A-1")["counts"] == {"lapsed": 1}
    world.orders("A-1", payer_token="tok_never")
    renewed = world.pay("A-1", "--renew", "--timeout", "1")
    assert renewed["counts"] == {"requested": 1}
    status = json.loads(world.run("status", "A-1", "--json").stdout)
    assert status["attempts"][0]["close"] is None


def test_every_gateway_refuses(world: World) -> None:
    open_payment(world, "A-1")
    for gateway in world.gateways:
        gateway.behave = lambda method, _: problem(Code.KEY_REVOKED) if method == "POST" else None
    result = world.run("close", "A-1")
    assert result.exit_code == 1
    assert "refused key_revoked" in result.output
    assert "Mend the cause" in result.output


def test_a_gateway_that_invents_a_close_ends_nothing(world: World) -> None:
    """It says the payment is closed: without the bank's signature that is a dispute."""
    open_payment(world, "A-1")
    lie = {"close": "a.b.c", "status": "closed", "final": True, "result": None}
    for gateway in world.gateways:
        gateway.lie = lambda answer: answer | lie
    (shown,) = closed(world, "A-1")
    assert (shown["status"], shown["exit"]) == ("disputed", 1)


def test_a_receipt_for_a_close_is_kept_and_shows_its_omission(world: World) -> None:
    """The gateway takes the close, promises, and drops it: the ledger's payment stays open."""
    open_payment(world, "A-1")
    gateway_key = KeySigner.generate(Algorithm.ES256)
    world.save_profile(gateway_keys={"gw-a": [gateway_key.jwk]})
    entry = world.ledger.entries["A-1", 1]
    close = CloseIntent("clearline-dev", *entry.intent.key, created="")
    claim = Receipt(
        "clearline-dev", "gw-a", *entry.intent.key, close.digest(),
        times.after(times.now(), -400), times.after(times.now(), -100),
    )  # fmt: skip
    promise = answer_for(entry.intent, Status.REQUESTED, None)
    promise |= {"receipt": sign_receipt(claim, gateway_key)}
    body = json.dumps(promise).encode()
    drop = Fault("http", 202, (), body)
    world.gateways[0].behave = lambda method, _: drop if method == "POST" else None
    world.gateways[1].behave = lambda method, _: (
        problem(Code.OVERLOADED, Retry_After="30") if method == "POST" else None
    )
    (shown,) = closed(world, "A-1", "--timeout", "2")
    assert (shown["status"], shown["close"]["standing"]) == ("requested", "received")
    omitted = world.run("omissions")
    assert omitted.exit_code == 4, omitted.output
    assert "OMITTED order A-1 attempt 1 by gw-a" in omitted.output
    (proof,) = json.loads(world.run("omissions", "--json").stdout)["omissions"]
    assert intents.parse_close(proof["close"]).intent.digest() == claim.intent_digest
    world.gateways[0].behave = lambda method, _: None
    (shown,) = closed(world, "A-1")
    assert shown["status"] == "closed"
    late = world.run("omissions")
    assert (late.exit_code, "1 late" in late.output) == (4, True), late.output


class Scripted:
    """Gateways that answer from a list, and note who was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[int] = []

    def post(self, gateway: int, compact: str, wait: int) -> Reply:
        assert compact == "the close"
        self.asked.append(gateway)
        return self.replies.pop(0)

    def post_batch(self, gateway: int, compacts: Any) -> list[Reply]:
        raise AssertionError

    def get(self, gateway: int, key: Any, wait: int) -> Reply:
        raise AssertionError


UNKNOWN = Refused(Code.PAYMENT_UNKNOWN, "", 404)


@pytest.mark.parametrize(
    ("replies", "standing", "code", "asked"),
    [
        ([UNKNOWN, UNKNOWN], Standing.UNKNOWN, "payment_unknown", [0, 1]),
        ([UNKNOWN, Busy("overloaded", 1.0), UNKNOWN], Standing.UNKNOWN, None, [0, 1, 1]),
        ([UNKNOWN, Refused("already_final", "", 409)], Standing.ENDED, "already_final", [0, 1]),
        ([UNKNOWN, Refused("key_revoked", "", 401)], Standing.REFUSED, "key_revoked", [0, 1]),
        ([Unreachable("x")] * 2, Standing.UNHEARD, "pending", [0, 1]),
    ],
)
def test_who_is_asked_and_what_that_means(
    replies: list[Reply], standing: Standing, code: str | None, asked: list[int]
) -> None:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    api = Scripted(*replies)
    rota = Rota(2, lambda: now[0], seed="s")
    # The unreachable ones rest for a quarter of a second and more: no time for a second round.
    timeout = 0.2 if standing is Standing.UNHEARD else 60.0
    said = post_close("the close", Gateways(api, ("a", "b"), rota), timeout, lambda: now[0], pause)
    assert (said.standing, api.asked) == (standing, asked)
    assert code is None or said.code == code


def test_a_book_of_format_2_takes_closes(tmp_path: Path, world: World) -> None:
    """What an earlier program left, with its views, is brought up."""
    open_payment(world, "A-1")
    path = world.home / "orders.db"
    with sqlite3.connect(path) as db:
        for statement in (
            "DROP VIEW standing", "DROP VIEW tried", "DROP TABLE closes",
            "DROP TABLE omissions", "DROP TABLE refusals",
            "DROP TABLE refunds", "DROP TABLE refund_intents", "DROP TABLE refund_receipts",
            "CREATE VIEW tried AS SELECT a.order_no, a.attempt, i.compact, i.expires_at, a.status,"
            " a.code, a.detail, a.gateway, a.result, a.tx_id, a.block_number, a.changed_at"
            " FROM attempts a JOIN intents i USING (order_no, attempt, digest)",
            "CREATE VIEW standing AS SELECT o.rowid AS place, o.content, t.* FROM orders o"
            " LEFT JOIN tried t ON t.order_no = o.order_no",
            "PRAGMA user_version = 2",
        ):  # fmt: skip
            db.execute(statement)
    book = OrderBook(path, "clearline-dev", "M-0001")
    state = book.state("A-1")
    assert state is not None
    assert state.attempt is not None
    assert (state.status, state.attempt.close) == (OrderStatus.SIGNED, "")
    assert book.store_close("A-1", 1, "first") == "first"
    assert book.store_close("A-1", 1, "second") == "first"
    book.close()
