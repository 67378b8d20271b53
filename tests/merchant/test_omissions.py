"""What becomes of receipts: each verdict, and what it takes to call a gateway's word broken."""

import json
from dataclasses import replace
from typing import Any

import pytest
from merchant_world import World, answer_for

from clearline import intents
from clearline.answers import Receipt, sign_receipt
from clearline.intents import PaymentKey
from clearline.jws import Algorithm, KeySigner, public_key
from clearline.statuses import Status
from merchant.attempts import Change, NewIntent, OrderStatus
from merchant.desk import opened
from merchant.omissions import Held, Sight, Verdict, examine
from merchant.orders import intent_for, take

SIGNER = KeySigner.generate(Algorithm.ES256)
KEYS = {"gw-a": {SIGNER.key_id: public_key(SIGNER.jwk, Algorithm.ES256)}}
KEY = PaymentKey("M-0001", "A-1", 1)
DIGEST = "d" * 64
LATER, BEFORE = "2026-02-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"
RECEIPT = Receipt(
    "clearline-dev", "gw-a", *KEY, DIGEST, BEFORE, deadline="2026-01-02T00:00:00.000Z"
)
ABSENT, THERE = Sight(True, False, 9), Sight(True, True, 9)
AWAY = Sight(False, detail="no route")


class Views:
    """What each gateway shows; a gateway without the block asked for is behind."""

    def __init__(self, *sights: Sight) -> None:
        self.sights = sights
        self.asked: list[tuple[int, int | None]] = []

    def look(self, gateway: int, key: PaymentKey, min_block: int | None) -> Sight:
        assert key == KEY
        self.asked.append((gateway, min_block))
        sight = self.sights[gateway]
        if sight.block is not None and min_block is not None and sight.block < min_block:
            return Sight(False, detail="block_not_reached")
        return sight


def held(signer: KeySigner = SIGNER, **changes: Any) -> Held:
    return Held(KEY, 0, sign_receipt(replace(RECEIPT, **changes), signer), frozenset({DIGEST}))


@pytest.mark.parametrize(
    ("views", "verdict"),
    [
        (Views(ABSENT, ABSENT), Verdict.OMITTED),
        (Views(AWAY, ABSENT), Verdict.OMITTED),
        (Views(Sight(True, False, 10**12), ABSENT), Verdict.OMITTED),
        (Views(ABSENT, Sight(True, False, 5), Sight(True, False, 9)), Verdict.OMITTED),
        (Views(ABSENT, THERE), Verdict.KEPT),
        (Views(THERE, ABSENT), Verdict.KEPT),
        (Views(Sight(True, False, 9, refusal="expired"), ABSENT), Verdict.REFUSED),
        # Another gateway's refusal is not this one's.
        (Views(ABSENT, Sight(True, False, 9, refusal="expired")), Verdict.OMITTED),
        (Views(ABSENT), Verdict.UNPROVEN),
        (Views(ABSENT, AWAY), Verdict.UNPROVEN),
        (Views(ABSENT, Sight(True, False, None)), Verdict.UNPROVEN),
    ],
)
def test_after_the_deadline(views: Views, verdict: Verdict) -> None:
    finding = examine(held(), KEYS, len(views.sights), LATER, views)
    assert finding.verdict is verdict, finding.detail
    if verdict is Verdict.OMITTED:
        assert finding.witness not in (None, 0)
        assert (finding.witness, finding.block) in views.asked
        assert finding.claim == RECEIPT


def test_before_the_deadline_nobody_is_asked() -> None:
    views = Views(ABSENT, ABSENT)
    assert examine(held(), KEYS, 2, BEFORE, views).verdict is Verdict.OPEN
    assert examine(held(), KEYS, 2, RECEIPT.deadline, views).verdict is Verdict.OPEN
    assert views.asked == []


def test_without_a_pinned_key_nothing_is_proven() -> None:
    finding = examine(held(), {}, 2, LATER, Views(ABSENT, ABSENT))
    assert finding.verdict is Verdict.UNPROVEN
    assert "gateway_keys" in finding.detail


@pytest.mark.parametrize(
    "forged",
    [
        held(KeySigner.generate(Algorithm.ES256)),
        held(order_no="A-2"),
        held(intent_digest="e" * 64),
        replace(held(), receipt="a.b.c"),
        replace(held(), receipt=held().receipt[:-8] + "AAAAAAAA"),
    ],
)
def test_a_forged_receipt_accuses_nobody(forged: Held) -> None:
    views = Views(ABSENT, ABSENT)
    assert examine(forged, KEYS, 2, LATER, views).verdict is Verdict.FORGED
    assert views.asked == []


def test_the_command_shows_the_proof(world: World) -> None:
    """A receipt in the order book, a ledger that never saw the payment, two gateways to ask."""
    world.save_profile(gateway_keys={"gw-a": [SIGNER.jwk]})
    order_no = "omitted-1"
    with opened(world.home) as desk:
        desk.book.add([take({"order_no": order_no, "amount": "1.00"}, desk.profile)])
        state = desk.book.state(order_no)
        assert state is not None
        intent = intent_for(state.order, 1, desk.profile, BEFORE)
        new = NewIntent(
            order_no, 1, intent.digest(), intents.sign(intent, desk.signer()), intent.expires_at
        )
        desk.book.store([new])
        claim = replace(
            RECEIPT,
            network=intent.network,
            merchant_id=intent.merchant_id,
            order_no=order_no,
            intent_digest=intent.digest(),
        )
        body = answer_for(intent, Status.RECEIVED, None) | {"receipt": sign_receipt(claim, SIGNER)}
        url = desk.profile.gateways[0].url
        change = Change(order_no, 1, OrderStatus.RECEIVED, url, body=json.dumps(body))
        desk.book.record([change])
    shown = world.run("omissions")
    assert shown.exit_code == 4, shown.output
    assert f"OMITTED order {order_no} attempt 1 by gw-a" in shown.output
    proof = world.run("omissions", "--json")
    (item,) = json.loads(proof.stdout)["omissions"]
    assert item["receipt"] == body["receipt"]
    assert item["intents"] == [new.compact]
    assert item["witness"] != item["given_by"]
    world.ledger.submit(new.compact)
    kept = world.run("omissions")
    assert kept.exit_code == 0, kept.output
    assert "1 kept" in kept.output
