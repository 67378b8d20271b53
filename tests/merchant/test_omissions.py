"""What becomes of receipts: each verdict, and what it takes to call a gateway's word broken."""

import json
from dataclasses import replace
from typing import Any

import pytest
from merchant_world import World, answer_for

from clearline import intents, jws, times
from clearline.answers import Receipt, sign_receipt
from clearline.codes import Code
from clearline.intents import PaymentKey
from clearline.jws import Algorithm, KeySigner, Typ, public_key
from clearline.refunds import RefundKey
from clearline.refusals import VERDICTS, ReceiptRefusal, sign_refusal
from clearline.statuses import Status
from merchant.attempts import Change, NewIntent, OrderStatus
from merchant.desk import opened
from merchant.omissions import Finding, Found, Held, Known, Omission, Verdict, examine
from merchant.orders import intent_for, take
from merchant.sights import Origin, Sight, sight_of

SIGNER, STRANGER = KeySigner.generate(Algorithm.ES256), KeySigner.generate(Algorithm.ES256)
KEYS = {"gw-a": {SIGNER.key_id: public_key(SIGNER.jwk, Algorithm.ES256)}}
KEY = PaymentKey("M-0001", "A-1", 1)
DIGEST, CLOSING = "d" * 64, "c" * 64
BEFORE, DEADLINE = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
LATER = "2026-02-01T00:00:00.000Z"
RECEIPT = Receipt("clearline-dev", "gw-a", *KEY, DIGEST, BEFORE, DEADLINE)
URLS = ("https://a", "https://b", "https://c")
PAID = Origin(DIGEST, BEFORE, "", 9, False)
ABSENT, THERE = Sight(True, block=9), Sight(True, PAID, 9)
AWAY = Sight(False, detail="no route")
FOUND = Omission(LATER, "https://b", 8, True)


class Views:
    """What each gateway shows; a gateway without the block asked for is behind."""

    def __init__(self, *sights: Sight) -> None:
        self.sights = sights
        self.asked: list[tuple[int, int | None]] = []

    def look(self, gateway: int, key: PaymentKey | RefundKey, min_block: int | None) -> Sight:
        assert key == KEY
        self.asked.append((gateway, min_block))
        sight = self.sights[gateway]
        if sight.block is not None and min_block is not None and sight.block < min_block:
            return Sight(False, detail="block_not_reached")
        return sight


NOTHING = Found()


def held(signer: KeySigner = SIGNER, before: Found = NOTHING, **changes: Any) -> Held:
    receipt = sign_receipt(replace(RECEIPT, **changes), signer)
    return Held(KEY, 0, receipt, frozenset({DIGEST}), CLOSING, before)


def found(what: Held, views: Views, now: str = LATER, keys: Any = KEYS) -> Finding:
    return examine(what, Known(URLS[: len(views.sights)], keys, now), views)


def refusal(
    at: str = BEFORE, code: Code = Code.EXPIRED, signer: KeySigner = SIGNER, **changes: Any
) -> str:
    return sign_refusal(ReceiptRefusal(replace(RECEIPT, **changes), code, at), signer)


def saying(*refusals: str) -> Sight:
    """The payment isn't there, and the gateway says this of it."""
    return replace(ABSENT, refusals=refusals)


def at(requested: str, submitter: str = "") -> Sight:
    """On the ledger by a transaction of this time and key."""
    return Sight(True, replace(PAID, requested_at=requested, submitter=submitter), 9)


def weather(code: str) -> str:
    """A signed refusal of a code that is no verdict on an intent: no gateway of ours makes one."""
    members = {"receipt": {**_members(RECEIPT)}, "code": code, "refused_at": BEFORE}
    return jws.sign(members, Typ.REFUSAL, SIGNER)


def _members(receipt: Receipt) -> dict[str, Any]:
    return {name: getattr(receipt, name) for name in Receipt.__dataclass_fields__}


@pytest.mark.parametrize(
    ("views", "verdict"),
    [
        (Views(ABSENT, ABSENT), Verdict.OMITTED),
        (Views(AWAY, ABSENT), Verdict.OMITTED),
        (Views(Sight(True, block=10**12), ABSENT), Verdict.OMITTED),
        (Views(ABSENT, Sight(True, block=5), ABSENT), Verdict.OMITTED),
        (Views(ABSENT, THERE), Verdict.KEPT),
        (Views(AWAY, THERE), Verdict.KEPT),
        (Views(ABSENT, Sight(True, block=5), THERE), Verdict.KEPT),
        # What the gateway in question shows is no more than what the others must have reached.
        (Views(THERE, ABSENT), Verdict.OMITTED),
        (Views(THERE, Sight(True, block=8)), Verdict.UNPROVEN),
        (Views(THERE), Verdict.UNPROVEN),
        # Another intent of this merchant has the attempt: this one is owed a refusal.
        (Views(ABSENT, Sight(True, replace(PAID, intent_digest="e" * 64), 9)), Verdict.OMITTED),
        (Views(ABSENT), Verdict.UNPROVEN),
        (Views(ABSENT, AWAY), Verdict.UNPROVEN),
        (Views(ABSENT, Sight(True, block=None)), Verdict.UNPROVEN),
    ],
)
def test_after_the_deadline(views: Views, verdict: Verdict) -> None:
    finding = found(held(), views)
    assert finding.verdict is verdict, finding.detail
    if verdict is Verdict.OMITTED:
        assert finding.witness not in (None, URLS[0])
        assert finding.witness is not None
        assert (URLS.index(finding.witness), finding.block) in views.asked
        assert finding.claim == RECEIPT
        answered = views.sights[0].known
        assert finding.omission == Omission(LATER, finding.witness, 9, answered)


IN_TIME, LATE = DEADLINE, times.after(DEADLINE, 1)


@pytest.mark.parametrize(
    ("own", "verdict"),
    [
        (saying(refusal(IN_TIME)), Verdict.REFUSED),
        (saying(refusal(LATE)), Verdict.LATE),
        (saying(refusal(LATE), refusal(IN_TIME)), Verdict.REFUSED),
        # No word of its own that it can be held to.
        (saying("expired"), Verdict.OMITTED),
        (saying(refusal(signer=STRANGER)), Verdict.OMITTED),
        (saying(weather("ledger_unavailable")), Verdict.OMITTED),
        (saying(weather("overloaded")), Verdict.OMITTED),
        (saying(refusal(order_no="A-2")), Verdict.OMITTED),
        (saying(refusal(received_at="2025-12-31T00:00:00.000Z")), Verdict.OMITTED),
        (saying(held().receipt), Verdict.OMITTED),
        # The other row's forms are good but for the code.
        (saying(weather("expired")), Verdict.REFUSED),
    ],
)
def test_only_a_signed_verdict_clears(own: Sight, verdict: Verdict) -> None:
    finding = found(held(), Views(own, ABSENT))
    assert finding.verdict is verdict, finding.detail
    assert bool(finding.refusal) is (verdict is not Verdict.OMITTED)


def test_anothers_refusal_clears_nobody() -> None:
    assert found(held(), Views(ABSENT, saying(refusal()))).verdict is Verdict.OMITTED


OWN = SIGNER.key_id
SLACK = times.after(DEADLINE, 300)


@pytest.mark.parametrize(
    ("views", "verdict"),
    [
        (Views(ABSENT, at(DEADLINE, OWN)), Verdict.KEPT),
        (Views(ABSENT, at(LATE, OWN)), Verdict.LATE),
        (Views(ABSENT, at(LATE, STRANGER.key_id)), Verdict.KEPT),
        (Views(ABSENT, at(LATE)), Verdict.KEPT),
        (Views(ABSENT, at(SLACK)), Verdict.KEPT),
        (Views(ABSENT, at(times.after(SLACK, 1))), Verdict.LATE),
        # Refused in time, posted again, and taken then.
        (Views(saying(refusal(IN_TIME)), at(LATE, OWN)), Verdict.REFUSED),
        (Views(saying(refusal(LATE)), at(LATE, OWN)), Verdict.LATE),
    ],
)
def test_a_transaction_that_says_it_was_late(views: Views, verdict: Verdict) -> None:
    """The time is its submitter's claim: its own word against the gateway whose key it is, and
    against another beyond the five minutes that endorsers let pass."""
    assert found(held(), views).verdict is verdict


@pytest.mark.parametrize(
    ("before", "views", "verdict"),
    [
        (FOUND, Views(ABSENT, THERE), Verdict.LATE),
        (FOUND, Views(AWAY, AWAY), Verdict.OMITTED),
        (FOUND, Views(ABSENT, ABSENT), Verdict.OMITTED),
        # It was asked after the deadline and had none: this one is dated back.
        (FOUND, Views(saying(refusal(IN_TIME)), ABSENT), Verdict.LATE),
        # It could not be asked then.
        (replace(FOUND, answered=False), Views(saying(refusal(IN_TIME)), ABSENT), Verdict.REFUSED),
        (replace(FOUND, answered=False), Views(saying(refusal(LATE)), ABSENT), Verdict.LATE),
        (replace(FOUND, answered=False), Views(ABSENT, THERE), Verdict.LATE),
    ],
)
def test_what_was_found_missing_stays_found(
    before: Omission, views: Views, verdict: Verdict
) -> None:
    finding = found(held(before=Found(omission=before)), views)
    assert finding.verdict is verdict, finding.detail
    assert finding.omission is not None
    assert (finding.omission.found_at, finding.omission.block) == (LATER, 8)
    if verdict is not Verdict.REFUSED:
        assert "missing at block 8" in finding.detail


@pytest.mark.parametrize("own", [ABSENT, AWAY])
def test_who_could_not_be_asked_before_is_asked_again(own: Sight) -> None:
    """From its first answer without a refusal on, none that is dated back clears it."""
    before = replace(FOUND, answered=False)
    finding = found(held(before=Found(omission=before)), Views(own, ABSENT))
    assert finding.omission == replace(before, answered=own.known)


def test_a_refusal_that_was_seen_counts_when_its_gateway_is_gone() -> None:
    before = Found((refusal(IN_TIME),))
    assert found(held(before=before), Views(AWAY, ABSENT)).verdict is Verdict.REFUSED
    gone = replace(held(before=before), gateway=None)
    assert found(gone, Views(ABSENT, ABSENT)).verdict is Verdict.REFUSED


def test_a_close_is_held_to_whether_it_stands() -> None:
    closed = replace(THERE, origin=replace(PAID, closing=True, requested_at=LATER))
    receipt = held(intent_digest=CLOSING)
    assert found(receipt, Views(ABSENT, closed)).verdict is Verdict.KEPT
    assert found(receipt, Views(ABSENT, THERE)).verdict is Verdict.OMITTED
    late = replace(receipt, before=Found(omission=FOUND))
    assert found(late, Views(ABSENT, closed)).verdict is Verdict.LATE


def test_silence_proves_nothing_once_refusals_may_be_forgotten() -> None:
    kept, over = times.after(DEADLINE, 90 * 86_400), times.after(DEADLINE, 90 * 86_400 + 1)
    assert found(held(), Views(ABSENT, ABSENT), kept).verdict is Verdict.OMITTED
    assert found(held(), Views(ABSENT, ABSENT), over).verdict is Verdict.UNPROVEN


def test_before_the_deadline_nobody_is_asked() -> None:
    views = Views(ABSENT, ABSENT)
    assert found(held(), views, BEFORE).verdict is Verdict.OPEN
    assert found(held(), views, DEADLINE).verdict is Verdict.OPEN
    assert views.asked == []


@pytest.mark.parametrize(
    ("views", "verdict"),
    [
        (Views(ABSENT, ABSENT), Verdict.UNPROVEN),
        (Views(saying(refusal()), ABSENT), Verdict.UNPROVEN),
        (Views(ABSENT, THERE), Verdict.KEPT),
    ],
)
def test_without_a_pinned_key_nothing_is_proven(views: Views, verdict: Verdict) -> None:
    finding = found(held(), views, keys={})
    assert finding.verdict is verdict
    assert ("gateway_keys" in finding.detail) is (verdict is Verdict.UNPROVEN)


@pytest.mark.parametrize(
    "forged",
    [
        held(STRANGER),
        held(order_no="A-2"),
        held(intent_digest="e" * 64),
        replace(held(), receipt="a.b.c"),
        replace(held(), receipt=held().receipt[:-8] + "AAAAAAAA"),
        replace(held(), receipt=refusal()),
    ],
)
def test_a_forged_receipt_accuses_nobody(forged: Held) -> None:
    views = Views(ABSENT, ABSENT)
    assert found(forged, views).verdict is Verdict.FORGED
    assert views.asked == []


SHOWN = {
    "intent_digest": DIGEST, "requested_at": BEFORE, "submitter": "", "block_number": 9,
    "closing": False,
}  # fmt: skip
ANSWER = {"last_block": 9, "refusals": ["a"], "payment": SHOWN}


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, "text",
        ANSWER | {"last_block": -1},
        ANSWER | {"last_block": True},
        ANSWER | {"refusals": "abc"},
        ANSWER | {"refusals": ["a"] * 1001},
        ANSWER | {"payment": {}},
        ANSWER | {"payment": SHOWN | {"requested_at": "now"}},
        ANSWER | {"payment": SHOWN | {"requested_at": 5}},
        ANSWER | {"payment": SHOWN | {"block_number": "9"}},
        ANSWER | {"payment": SHOWN | {"closing": 1}},
        ANSWER | {"payment": SHOWN | {"submitter": None}},
    ],
)  # fmt: skip
def test_an_answer_of_another_form_shows_nothing(document: Any) -> None:
    assert not sight_of(document, KEY).known


def test_an_answer_of_the_documented_form() -> None:
    assert sight_of(ANSWER | {"more": 1}, KEY) == replace(THERE, refusals=("a",))
    assert sight_of(ANSWER | {"payment": None, "refusals": []}, KEY) == ABSENT


def receipted(world: World, order_no: str) -> tuple[NewIntent, Receipt]:
    """An intent in the order book with the receipt of the first gateway, whose deadline passed."""
    world.save_profile(gateway_keys={"gw-a": [SIGNER.jwk]})
    with opened(world.home) as desk:
        desk.book.add([take({"order_no": order_no, "amount": "1.00"}, desk.profile)])
        state = desk.book.state(order_no)
        assert state is not None
        now = times.now()
        intent = intent_for(state.order, 1, desk.profile, times.after(now, -400))
        digest = intent.digest()
        new = NewIntent(order_no, 1, digest, intents.sign(intent, desk.signer()), intent.expires_at)
        desk.book.store([new])
        claim = Receipt(
            intent.network, "gw-a", *intent.key, digest, intent.created, times.after(now, -100)
        )
        body = answer_for(intent, Status.RECEIVED, None) | {"receipt": sign_receipt(claim, SIGNER)}
        url = desk.profile.gateways[0].url
        desk.book.record([Change(order_no, 1, OrderStatus.RECEIVED, url, body=json.dumps(body))])
    return new, claim


def shown(world: World, code: int) -> dict[str, Any]:
    """The one finding of `omissions --json`."""
    result = world.run("omissions", "--json")
    assert result.exit_code == code, result.output
    (item,) = json.loads(result.stdout)["omissions"]
    assert isinstance(item, dict)
    return item


def test_the_command_shows_the_proof_and_goes_on_showing_it(world: World) -> None:
    """A receipt in the order book, a ledger that never saw the payment, two gateways to ask; then
    a commit, which looks as if it had been there all the time."""
    new, _ = receipted(world, "omitted-1")
    listed = world.run("omissions")
    assert listed.exit_code == 4, listed.output
    assert "OMITTED order omitted-1 attempt 1 by gw-a" in listed.output
    item = shown(world, 4)
    assert item["intents"] == [new.compact]
    assert item["witness"] == world.gateways[1].url != item["given_by"]
    assert item["found"]["block"] == item["block"] == 7
    first = item["found"]["found_at"]
    world.ledger.submit(new.compact)
    late = shown(world, 4)
    assert (late["verdict"], late["found"]["found_at"]) == ("late", first)
    assert late["payment"]["requested_at"] < late["claim"]["deadline"]
    listed = world.run("omissions")
    assert "LATE order omitted-1 attempt 1 by gw-a" in listed.output
    assert "1 late" in listed.output
    status = world.run("status", "omitted-1")
    assert status.exit_code == 0, status.output


def test_the_command_keeps_a_refusal_that_it_has_seen(world: World) -> None:
    _, claim = receipted(world, "refused-1")
    # In words only: it does not count. Found missing, and asked for.
    world.gateways[0].tell = lambda answer: answer | {"receipt_refusal": "ledger_unavailable"}
    signed = sign_refusal(ReceiptRefusal(claim, Code.EXPIRED, claim.received_at), SIGNER)
    world.gateways[1].tell = lambda answer: answer | {"last_block": None}
    assert shown(world, 0)["verdict"] == "unproven"
    world.gateways[0].tell = lambda answer: answer | {"refusals": [signed]}
    item = shown(world, 0)
    assert (item["verdict"], item["refusal"]) == ("refused", signed)
    # Forgotten by its gateway, and the other one can be asked again.
    world.gateways[0].tell = world.gateways[1].tell = lambda answer: answer
    assert shown(world, 0)["verdict"] == "refused"


def test_what_clears_is_what_the_contract_says_of_an_intent() -> None:
    """Each verdict can be signed; a gateway's own reasons can't."""
    assert VERDICTS.isdisjoint(
        {Code.LEDGER_UNAVAILABLE, Code.OVERLOADED, Code.RATE_LIMITED, Code.ACQUIRER_UNAVAILABLE,
         Code.ROLE_FORBIDDEN, Code.ACQUIRER_NOT_ACCEPTABLE, Code.OK, Code.DUPLICATE}
    )  # fmt: skip
    for code in sorted(VERDICTS):
        own = saying(refusal(IN_TIME, code))
        assert found(held(), Views(own, ABSENT)).verdict is Verdict.REFUSED
