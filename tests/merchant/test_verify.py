"""A row a check: what an answer must prove before an order is paid, and that lies don't pay."""

from dataclasses import replace
from typing import Any

import pytest
from merchant_world import World, answer_for, sign_result
from samples import INTENT, REPORT

from clearline import intents, jws, reports
from clearline.answers import PaymentAnswer
from clearline.jws import Algorithm, KeySigner
from clearline.statuses import Reason, ReportKind, Status
from merchant.profile import Pins
from merchant.verify import Asked, Dispute, DisputedError, Pending, Proven, verify, verify_stored

BANK, STRANGER, RETIRED = (KeySigner.generate() for _ in range(3))


def pins_of(*signers: KeySigner, revoked: frozenset[str] = frozenset()) -> Pins:
    keys: Any = {
        "unionpay": {s.key_id: jws.public_key(s.jwk, s.algorithm) for s in signers},
        "other": {STRANGER.key_id: jws.public_key(STRANGER.jwk, STRANGER.algorithm)},
    }
    return Pins(keys, revoked)


PINS = pins_of(BANK, RETIRED, revoked=frozenset({RETIRED.key_id}))
ASKED = Asked(INTENT.key, {INTENT.digest(): INTENT})


def honest(status: Status = Status.SUCCEEDED, **report: Any) -> dict[str, Any]:
    result = sign_result(INTENT, BANK, status=status, **report) if status.final else None
    return answer_for(INTENT, status, result)


def signed_by(signer: KeySigner, **changes: Any) -> dict[str, Any]:
    return {"result": sign_result(INTENT, signer, **changes)}


def judged(body: dict[str, Any]) -> Pending | Proven:
    return verify(PaymentAnswer.from_json(body), ASKED, PINS)


@pytest.mark.parametrize("status", [s for s in Status if s.final])
def test_each_end_is_proven_by_the_banks_signature(status: Status) -> None:
    verdict = judged(honest(status))
    assert isinstance(verdict, Proven)
    assert (verdict.status, verdict.tx_id, verdict.block_number) == (status, "ab" * 32, 7)


@pytest.mark.parametrize("status", [s for s in Status if not s.final])
def test_what_has_not_ended_proves_nothing(status: Status) -> None:
    assert judged(honest(status)) == Pending(status)


def test_es256_is_as_good() -> None:
    signer = KeySigner.generate(Algorithm.ES256)
    body = honest() | signed_by(signer)
    verdict = verify(PaymentAnswer.from_json(body), ASKED, pins_of(signer))
    assert isinstance(verdict, Proven)


OTHER_INTENT = replace(INTENT, site="other.example")
TAMPERED = sign_result(INTENT, BANK).split(".")
DECLINED_AS_PAID = sign_result(INTENT, BANK, status=Status.DECLINED, reason=Reason.DO_NOT_HONOR)
LIES: list[tuple[str, dict[str, Any], Dispute]] = [
    ("attempt as text", {"attempt": "1"}, Dispute.ANSWER_MALFORMED),
    ("amount as true", {"amount": True}, Dispute.ANSWER_MALFORMED),
    ("final as 1", {"final": 1}, Dispute.ANSWER_MALFORMED),
    ("member missing", {"intent_digest": None}, Dispute.ANSWER_MALFORMED),
    ("result as object", {"result": {}}, Dispute.ANSWER_MALFORMED),
    ("block as text", {"block_number": "7"}, Dispute.ANSWER_MALFORMED),
    ("other merchant", {"merchant_id": "M-2"}, Dispute.ANSWER_FOR_OTHER_PAYMENT),
    ("other order", {"order_no": "other"}, Dispute.ANSWER_FOR_OTHER_PAYMENT),
    ("other attempt", {"attempt": 2}, Dispute.ANSWER_FOR_OTHER_PAYMENT),
    ("other intent", {"intent_digest": OTHER_INTENT.digest()}, Dispute.ANSWER_FOR_OTHER_INTENT),
    ("other amount", {"amount": 2934}, Dispute.ANSWER_FOR_OTHER_AMOUNT),
    ("other currency", {"currency": "USD"}, Dispute.ANSWER_FOR_OTHER_AMOUNT),
    ("final called open", {"final": False}, Dispute.FINAL_FLAG_WRONG),
    ("open called final", {"status": "accepted"}, Dispute.FINAL_FLAG_WRONG),
    (
        "result before the end",
        {"status": "accepted", "final": False},
        Dispute.RESULT_TOO_EARLY,
    ),
    ("no result", {"result": None}, Dispute.RESULT_MISSING),
    ("no JWS", {"result": "paid, promise"}, Dispute.RESULT_MALFORMED),
    ("an intent as result", {"result": intents.sign(INTENT, BANK)}, Dispute.RESULT_MALFORMED),
    ("no transaction", {"tx_id": None}, Dispute.EVIDENCE_MISSING),
    ("no hash", {"tx_id": "ab"}, Dispute.EVIDENCE_MISSING),
    ("no block", {"block_number": None}, Dispute.EVIDENCE_MISSING),
    ("block -1", {"block_number": -1}, Dispute.EVIDENCE_MISSING),
    ("acquirer not asked", signed_by(STRANGER, acquirer_id="other"), Dispute.ACQUIRER_NOT_ASKED),
    ("a stranger's key", signed_by(STRANGER), Dispute.KEY_UNKNOWN),
    ("a revoked key", signed_by(RETIRED), Dispute.KEY_REVOKED),
    (
        "altered payload",
        {"result": ".".join((TAMPERED[0], DECLINED_AS_PAID.split(".")[1], TAMPERED[2]))},
        Dispute.SIGNATURE_INVALID,
    ),
    (
        "a response as result",
        signed_by(BANK, kind=ReportKind.RESPONSE, status=Status.ACCEPTED, reason=Reason.ACCEPTED),
        Dispute.NOT_A_RESULT,
    ),
    ("other network", signed_by(BANK, network="other"), Dispute.RESULT_FOR_OTHER_NETWORK),
    ("result of other order", signed_by(BANK, order_no="x"), Dispute.RESULT_FOR_OTHER_PAYMENT),
    ("result of other attempt", signed_by(BANK, attempt=2), Dispute.RESULT_FOR_OTHER_PAYMENT),
    (
        "result of other merchant",
        signed_by(BANK, merchant_id="x"),
        Dispute.RESULT_FOR_OTHER_PAYMENT,
    ),
    (
        "result of other intent",
        signed_by(BANK, intent_digest=OTHER_INTENT.digest()),
        Dispute.RESULT_FOR_OTHER_INTENT,
    ),
    ("result of less", signed_by(BANK, amount=2932), Dispute.RESULT_FOR_OTHER_AMOUNT),
    ("result in other money", signed_by(BANK, currency="JPY"), Dispute.RESULT_FOR_OTHER_AMOUNT),
    (
        "money to another code",
        signed_by(BANK, merchant_code="898310148999999"),
        Dispute.RESULT_FOR_OTHER_MERCHANT_CODE,
    ),
    ("declined called paid", {"result": DECLINED_AS_PAID}, Dispute.STATUS_MISMATCH),
    ("acquirer of the answer", {"acquirer_id": "other"}, Dispute.STATUS_MISMATCH),
]


@pytest.mark.parametrize(
    ("lie", "dispute"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES]
)
def test_each_lie_is_disputed(lie: dict[str, Any], dispute: Dispute) -> None:
    with pytest.raises(DisputedError) as raised:
        judged(honest() | lie)
    assert raised.value.code is dispute


def test_every_dispute_code_has_a_row() -> None:
    assert {dispute for _, _, dispute in LIES} | {Dispute.EQUIVOCATION} == set(Dispute)


def test_a_stored_result_is_checked_again_with_todays_pins() -> None:
    compact = sign_result(INTENT, BANK)
    assert verify_stored(compact, INTENT, PINS).status is Status.SUCCEEDED
    with pytest.raises(DisputedError) as raised:
        verify_stored(compact, INTENT, pins_of(BANK, revoked=frozenset({BANK.key_id})))
    assert raised.value.code is Dispute.KEY_REVOKED
    with pytest.raises(DisputedError) as raised:
        verify_stored("x", INTENT, PINS)
    assert raised.value.code is Dispute.RESULT_MALFORMED


def test_the_sample_report_is_one_the_merchant_believes() -> None:
    body = answer_for(INTENT, Status.SUCCEEDED, reports.sign(REPORT, BANK))
    assert isinstance(judged(body), Proven)


@pytest.mark.parametrize("dispute", ["missing", "altered", "swapped", "stranger", "relabelled"])
def test_a_lying_gateway_gets_no_order_paid(world: World, dispute: str) -> None:
    stranger = KeySigner.generate()

    def lie(answer: dict[str, Any]) -> dict[str, Any]:
        entry = world.ledger.entries[(answer["order_no"], 1)]
        forged = sign_result(entry.intent, stranger)
        if dispute == "missing":
            return answer | {"result": None}
        if dispute == "altered":
            head, _, tail = answer["result"].split(".")
            return answer | {"result": ".".join((head, forged.split(".")[1][:-4] + "AAAA", tail))}
        if dispute == "swapped":
            other = replace(entry.intent, order_no="A-0")
            return answer | {"result": sign_result(other, world.bank)}
        if dispute == "stranger":
            return answer | {"result": forged}
        return answer | {"status": "succeeded"}

    world.gateways[0].lie = world.gateways[1].lie = lie
    token = "tok_do_not_honor" if dispute == "relabelled" else "tok_approve"
    world.orders("A-1", "A-2", payer_token=token)
    result = world.run("pay", "--all")
    assert result.exit_code == 1
    assert "DISPUTED A-1" in result.stderr and "NOT paid" in result.stderr
    assert "2 disputed" in result.stdout and "Do not deliver" in result.stdout
    assert "0 of 0 orders" in world.run("list", "--status", "paid").stdout


def test_a_dispute_is_ended_by_proof_from_an_honest_gateway(world: World) -> None:
    world.gateways[0].lie = world.gateways[1].lie = lambda answer: answer | {"result": None}
    world.orders("A-1")
    assert world.pay("A-1")["counts"] == {"disputed": 1}
    posts = sum(len(gateway.posts) for gateway in world.gateways)
    assert world.pay("A-1")["counts"] == {"disputed": 1}
    world.gateways[1].lie = lambda answer: answer
    assert world.pay("A-1")["counts"] == {"paid": 1}
    assert sum(len(gateway.posts) for gateway in world.gateways) == posts
    # What the liar said is kept.
    shown = world.run("status", "A-1").stdout
    assert "result_missing" in shown and "verified" in shown
