"""Receipts for refunds: kept in the order book, and what becomes of each."""

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

import pytest
from merchant_world import Fault, World, problem

from clearline import refunds, times
from clearline.answers import Receipt, RefundAnswer, parse_receipt, sign_receipt
from clearline.codes import Code
from clearline.intents import CloseIntent
from clearline.jws import Algorithm, KeySigner, public_key
from clearline.refunds import RefundIntent, RefundKey
from clearline.refusals import ReceiptRefusal, sign_refusal
from clearline.statuses import Status
from merchant.desk import opened
from merchant.omissions import Finding, Held, Known, Verdict, examine
from merchant.refundbook import BookedRefund, RefundChange, RefundStatus
from merchant.sights import Named, Origin, Sight, sight_of

SIGNER = KeySigner.generate(Algorithm.ES256)
KEYS = {"gw-a": {SIGNER.key_id: public_key(SIGNER.jwk, Algorithm.ES256)}}
KEY = RefundKey("M-0001", "A-1", 1, 2)
DIGEST = "d" * 64
BEFORE, DEADLINE = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
LATER = "2026-02-01T00:00:00.000Z"
RECEIPT = Receipt("clearline-dev", "gw-a", *KEY.payment, DIGEST, BEFORE, DEADLINE)
HELD = Held(KEY, 0, sign_receipt(RECEIPT, SIGNER), frozenset({DIGEST}))
GIVEN = Origin(DIGEST, BEFORE, "", 9)
ABSENT, THERE = Sight(True, block=9), Sight(True, GIVEN, 9)
REFUSED = sign_refusal(ReceiptRefusal(RECEIPT, Code.NOT_REFUNDABLE, DEADLINE), SIGNER)


class Views:
    """What each gateway shows of the refund."""

    def __init__(self, *sights: Sight) -> None:
        self.sights = sights

    def look(self, gateway: int, key: Named, min_block: int | None) -> Sight:
        assert key == KEY
        return self.sights[gateway]


def found(held: Held, *sights: Sight) -> Finding:
    return examine(held, Known(("https://a", "https://b"), KEYS, LATER), Views(*sights))


def at(requested: str, submitter: str) -> Sight:
    return replace(THERE, origin=replace(GIVEN, requested_at=requested, submitter=submitter))


LATE = times.after(DEADLINE, 1)


@pytest.mark.parametrize(
    ("sights", "verdict"),
    [
        ((ABSENT, ABSENT), Verdict.OMITTED),
        ((ABSENT, THERE), Verdict.KEPT),
        ((THERE, ABSENT), Verdict.OMITTED),  # it alone shows it
        ((replace(ABSENT, refusals=(REFUSED,)), ABSENT), Verdict.REFUSED),
        ((ABSENT, replace(ABSENT, refusals=(REFUSED,))), Verdict.OMITTED),
        # Another refund has the number: this one is owed a refusal.
        ((ABSENT, replace(THERE, origin=replace(GIVEN, intent_digest="e" * 64))), Verdict.OMITTED),
        ((ABSENT, at(LATE, SIGNER.key_id)), Verdict.LATE),
        ((ABSENT, at(LATE, "")), Verdict.KEPT),
        # No refund is closing: what a gateway adds of it says nothing.
        (
            (ABSENT, replace(THERE, origin=Origin("e" * 64, BEFORE, "", 9, True))),
            Verdict.OMITTED,
        ),
    ],
)
def test_after_the_deadline(sights: tuple[Sight, Sight], verdict: Verdict) -> None:
    finding = found(HELD, *sights)
    assert finding.verdict is verdict, finding.detail
    assert (finding.omission is not None) is (verdict is Verdict.OMITTED)


@pytest.mark.parametrize(
    "forged",
    [
        replace(HELD, key=RefundKey("M-0001", "A-1", 2, 2)),
        replace(HELD, digests=frozenset({"e" * 64})),  # signed under another number
        replace(HELD, digests=frozenset({""})),
    ],
)
def test_a_receipt_for_another_refund_accuses_nobody(forged: Held) -> None:
    assert found(forged, ABSENT, ABSENT).verdict is Verdict.FORGED


SHOWN = {"intent_digest": DIGEST, "requested_at": BEFORE, "submitter": "", "block_number": 9}
ANSWER = {"last_block": 9, "refusals": [], "payment": SHOWN | {"closing": True}, "refund": None}


def test_the_refund_is_read_and_not_its_payment() -> None:
    assert sight_of(ANSWER, KEY) == ABSENT
    assert sight_of(ANSWER | {"refund": SHOWN}, KEY) == THERE
    assert sight_of(ANSWER | {"refund": SHOWN | {"closing": True}}, KEY) == THERE


@pytest.mark.parametrize(
    "document",
    [
        {name: value for name, value in ANSWER.items() if name != "refund"},  # of an older gateway
        ANSWER | {"refund": {}},
        ANSWER | {"refund": SHOWN | {"requested_at": "now"}},
        ANSWER | {"refund": SHOWN | {"block_number": "9"}},
    ],
)
def test_an_answer_of_another_form_shows_nothing(document: Any) -> None:
    assert not sight_of(document, KEY).known


def promised(world: World, order_no: str, seconds: int = -100) -> tuple[RefundIntent, Receipt]:
    """A paid order whose refund the first gateway takes and drops: `refund` has been run, and the
    deadline is so many seconds from now."""
    world.save_profile(gateway_keys={"gw-a": [SIGNER.jwk]})
    world.orders(order_no)
    for gateway in world.gateways:
        gateway.behave = lambda method, _: None
    assert world.run("pay", order_no).exit_code == 0
    claims: list[Receipt] = []

    def drop(compact: str) -> Fault:
        wish = refunds.parse(compact).intent
        received = times.after(times.now(), -400)
        claim = Receipt(
            wish.network, "gw-a", *wish.key.payment, wish.digest(), received,
            times.after(times.now(), seconds),
        )  # fmt: skip
        claims.append(claim)
        claim = claims[0]  # the same each time, as a gateway's that holds it
        answer = RefundAnswer(
            *wish.key, Status.RECEIVED.value, False, wish.amount, wish.currency, "",
            wish.digest(), receipt=sign_receipt(claim, SIGNER),
        )  # fmt: skip
        return Fault("http", 202, (), json.dumps(asdict(answer)).encode())

    posts = world.gateways[0].posts
    busy = problem(Code.OVERLOADED, Retry_After="30")
    world.gateways[0].behave = lambda m, _: drop(posts[-1][1]) if m == "POST" else None
    world.gateways[1].behave = lambda m, _: busy if m == "POST" else None
    ran = world.run("refund", order_no, "--timeout", "1", "--json")
    assert (ran.exit_code, json.loads(ran.stdout)["status"]) == (1, "received"), ran.output
    return refunds.parse(json.loads(ran.stdout)["intent"]).intent, claims[0]


def listed(world: World, code: int) -> list[dict[str, Any]]:
    """The findings of `omissions --json`."""
    ran = world.run("omissions", "--json")
    assert ran.exit_code == code, ran.output
    found: list[dict[str, Any]] = json.loads(ran.stdout)["omissions"]
    return found


def test_a_dropped_refund_is_proven_and_stays_so(world: World) -> None:
    """Receipt, intent and block; the proof is checked from what is printed and the pinned key."""
    wish, claim = promised(world, "back-1")
    (item,) = listed(world, 4)
    assert (item["verdict"], item["order_no"], item["refund_no"]) == ("omitted", "back-1", 1)
    assert "OMITTED order back-1 attempt 1 refund 1 by gw-a" in world.run("omissions").output
    receipt, token = parse_receipt(item["receipt"])
    KEYS["gw-a"][token.key_id].verify(token)
    assert receipt == claim
    (compact,) = item["intents"]
    signed = refunds.parse(compact)
    public_key(world.signer.jwk, world.signer.algorithm).verify(signed.token)
    assert (signed.intent, signed.intent.digest()) == (wish, receipt.intent_digest)
    assert (item["witness"], item["block"]) == (world.gateways[1].url, 7)
    assert (item["payment"], item["refund"], item["close"]) == (None, None, None)
    first = item["found"]["found_at"]
    world.ledger.refunds["back-1", 1, 1] = wish
    (late,) = listed(world, 4)
    assert (late["verdict"], late["found"]["found_at"]) == ("late", first)
    assert late["refund"]["intent_digest"] == wish.digest()


def test_a_refund_on_the_ledger_and_a_signed_refusal_clear(world: World) -> None:
    _, claim = promised(world, "back-2")
    refusal = sign_refusal(ReceiptRefusal(claim, Code.NOT_REFUNDABLE, claim.received_at), SIGNER)
    world.gateways[0].tell = lambda answer: answer | {"refusals": [refusal]}
    (item,) = listed(world, 0)
    assert (item["verdict"], item["refusal"]) == ("refused", refusal)
    other, _ = promised(world, "back-3")
    world.gateways[0].tell = lambda answer: answer
    world.ledger.refunds["back-3", 1, 1] = other
    verdicts = {item["order_no"]: item["verdict"] for item in listed(world, 0)}
    assert verdicts == {"back-2": "refused", "back-3": "kept"}


def test_before_its_deadline_a_refund_is_open(world: World) -> None:
    promised(world, "back-4", 100)
    assert [item["verdict"] for item in listed(world, 0)] == ["open"]


def test_a_receipt_for_a_close_is_none_for_a_refund(world: World) -> None:
    """Nobody asked for the close: it accuses nobody."""
    wish, claim = promised(world, "back-5", 100)
    close = CloseIntent(wish.network, *wish.key.payment, created="").digest()
    receipt = sign_receipt(
        replace(claim, intent_digest=close, deadline=times.after(times.now(), -100)), SIGNER
    )
    with opened(world.home) as desk:
        (refund,) = desk.book.refunds.of("back-5")
        url = desk.profile.gateways[0].url
        desk.book.refunds.record(refund, RefundChange(RefundStatus.RECEIVED, url, receipt=receipt))
    assert [item["verdict"] for item in listed(world, 0)] == ["open", "forged"]


def booked(world: World) -> BookedRefund:
    """A signed refund in the book."""
    world.orders("A-1")
    now = times.now()
    wish = RefundIntent("clearline-dev", "M-0001", "A-1", 1, 1, 5, "CNY", now, times.after(now, 60))
    with opened(world.home) as desk:
        return desk.book.refunds.store(wish, refunds.sign(wish, world.signer))


def test_a_receipt_is_kept_whatever_becomes_of_the_refund(world: World) -> None:
    """Each once, from the first who gave it; with an answer that is not believed too."""
    refund = booked(world)
    changes = [
        RefundChange(RefundStatus.RECEIVED, "https://a", receipt="r.1"),
        RefundChange(RefundStatus.REQUESTED, "https://b", block_number=8),
        RefundChange(RefundStatus.RECEIVED, "https://b", receipt="r.1"),
        RefundChange(RefundStatus.DISPUTED, "https://b", "key_unknown", receipt="r.2"),
    ]
    with opened(world.home) as desk:
        for change in changes:
            desk.book.refunds.record(refund, change)
        kept = desk.book.receipts()
    told = [(one.order_no, one.attempt, one.refund_no, one.gateway, one.receipt) for one in kept]
    assert told == [("A-1", 1, 1, "https://a", "r.1"), ("A-1", 1, 1, "https://b", "r.2")]


def test_a_book_of_format_5_keeps_receipts_of_refunds(world: World) -> None:
    """What it holds stays."""
    refund = booked(world)
    with closing(sqlite3.connect(world.home / "orders.db", isolation_level=None)) as db:
        db.execute("DROP TABLE refund_receipts")
        db.execute("PRAGMA user_version = 5")
    change = RefundChange(RefundStatus.RECEIVED, "https://a", receipt="r.1")
    with opened(world.home) as desk:
        assert desk.book.refunds.of("A-1") == [refund]
        assert desk.book.receipts() == []
        desk.book.refunds.record(refund, change)
        assert [one.receipt for one in desk.book.receipts()] == ["r.1"]
