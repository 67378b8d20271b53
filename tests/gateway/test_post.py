"""POST /v1/payments: every way it can end, over a committer and a ledger on real sockets."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from helpers_gateway import (
    ES256,
    MERCHANT,
    OTHER,
    OTHER_MERCHANT,
    OWNER,
    REVOKED,
    SUSPENDED,
    SUSPENDED_MERCHANT,
    Site,
    new_intent,
    routes,
    signed,
    token,
    until,
)

from clearline import answers, jws, times
from clearline.answers import PaymentAnswer
from clearline.codes import Code
from clearline.intents import PayIntent, Route
from clearline.jws import KeySigner
from clearline.refusals import parse_refusal


def test_committed_is_201_and_readable_at_once(site: Site) -> None:
    intent = new_intent()
    posted = site.post(signed(intent))
    assert posted.status_code == 201, posted.text
    answer = PaymentAnswer.from_json(posted.json)
    assert (answer.status, answer.final, answer.receipt) == ("requested", False, None)
    assert answer.intent_digest == intent.digest()
    assert posted.headers["Location"] == f"/v1/payments/{intent.order_no}?attempt=1"
    assert int(posted.headers["Clearline-Block"]) >= (answer.block_number or 0) > 0
    read = site.get(posted.headers["Location"])
    assert read.status_code == 200
    assert read.json == posted.json


def test_es256_key_is_taken(site: Site) -> None:
    assert site.post(signed(signer=ES256)).status_code == 201


def test_same_intent_again_is_200_with_the_present_answer(site: Site) -> None:
    intent = new_intent()
    assert site.post(signed(intent)).status_code == 201
    site.ledger.finish(intent.key)
    until(lambda: site.get(f"/v1/payments/{intent.order_no}").json["final"])
    again = site.post(signed(replace(intent, created=times.now())))
    assert again.status_code == 200
    assert (again.json["status"], again.json["final"]) == ("succeeded", True)


def test_duplicate_stands_before_what_changes_with_time(site: Site) -> None:
    """A retry after a lost answer gets the first one, though the intent has expired since."""
    now = times.now()
    intent = new_intent(expires_at=times.after(now, 2))
    assert site.post(signed(intent)).status_code == 201
    until(lambda: times.now() > intent.expires_at)
    assert site.post(signed(intent)).status_code == 200


def test_another_intent_under_the_same_key_is_a_conflict(site: Site) -> None:
    intent = new_intent()
    site.post(signed(intent))
    other = site.post(signed(replace(intent, amount=1)))
    assert (other.status_code, other.json["code"]) == (422, "conflict")


@pytest.mark.parametrize(
    ("changes", "signer", "code"),
    [
        ({"network": "another-net"}, OWNER, Code.NETWORK_MISMATCH),
        ({"merchant_id": "M-9999"}, OWNER, Code.MERCHANT_UNKNOWN),
        ({}, OTHER, Code.KEY_UNKNOWN),
        ({}, REVOKED, Code.KEY_REVOKED),
        ({"merchant_id": SUSPENDED_MERCHANT}, SUSPENDED, Code.MERCHANT_INACTIVE),
        ({"acquirers": routes("nobody")}, OWNER, Code.ACQUIRER_UNKNOWN),
        ({"acquirers": routes("asleep")}, OWNER, Code.ACQUIRER_INACTIVE),
        ({"acquirers": routes("ended")}, OWNER, Code.ACQUIRER_INACTIVE),
        ({"acquirers": (Route("unionpay", "1", "tok"),)}, OWNER, Code.MERCHANT_CODE_MISMATCH),
        ({"currency": "EUR"}, OWNER, Code.CURRENCY_NOT_ACCEPTED),
        (
            {"created": "2020-01-01T00:00:00.000Z", "expires_at": "2020-01-02T00:00:00.000Z"},
            OWNER,
            Code.EXPIRED,
        ),
        ({"store": "4111111111111111"}, OWNER, Code.CARD_DATA_REFUSED),
        ({"order_no": "6222021234567890"}, OWNER, None),
    ],
)
def test_refused_at_the_door(
    site: Site, changes: dict[str, Any], signer: KeySigner, code: Code | None
) -> None:
    if code is None:
        from clearline.cards import holds_card_number

        number = next(
            digits
            for digits in (f"622202123456789{last}" for last in range(10))
            if holds_card_number(digits)
        )
        changes, code = {"order_no": number}, Code.CARD_DATA_REFUSED
    answer = site.post(signed(new_intent(**changes), signer))
    assert (answer.json["code"], answer.status_code) == (code.value, code.http_status)
    assert answer.content_type == "application/problem+json"
    assert answer.json["type"] == code.type_uri
    assert answer.json["title"] == code.summary
    assert answer.json["status"] == code.http_status
    assert answer.json["instance"].startswith("urn:clearline:request:")


def test_what_expires_before_it_is_posted_never_reaches_the_ledger(site: Site) -> None:
    intent = new_intent(expires_at=times.after(times.now(), 1))
    until(lambda: times.now() > intent.expires_at)
    before = len(site.ledger.peer.endorsed)
    assert site.post(signed(intent)).json["code"] == "expired"
    assert len(site.ledger.peer.endorsed) == before


def test_an_expired_intent_under_way_is_not_refused_as_expired(site: Site) -> None:
    """What this gateway holds may yet be committed: `expired` would contradict the ledger."""
    now = times.now()
    intent = new_intent(expires_at=times.after(now, 1))
    site.ledger.down()
    try:
        assert site.post(signed(intent), Prefer="respond-async").status_code == 202
        until(lambda: times.now() > intent.expires_at)
        assert site.post(signed(intent), Prefer="wait=0").status_code == 202
    finally:
        site.ledger.up()
    path = f"/v1/payments/{intent.order_no}"
    until(lambda: site.get(path).status_code == 404)  # the contract's word, not the gateway's
    assert "expired: scripted" in site.get(path).json["detail"]


CONTRACT_CODES = [
    code
    for code in Code
    if code not in (Code.OK, Code.DUPLICATE) and code.value not in ("card_data_refused",)
]


@pytest.mark.parametrize("code", CONTRACT_CODES)
def test_each_code_of_the_contract_travels_with_its_status(site: Site, code: Code) -> None:
    answer = site.post(signed(new_intent(order_no=f"code-{code.value}")))
    assert (answer.json["code"], answer.status_code) == (code.value, code.http_status)
    assert answer.json["detail"] == "scripted"


def test_a_refusal_that_has_passed_is_not_repeated(site: Site) -> None:
    """The contract is asked anew each time: an earlier refusal is no answer for later."""
    before = len(site.ledger.peer.endorsed)
    compact = signed(new_intent(order_no="code-attempt_out_of_order.again"))
    for _ in range(2):
        assert site.post(compact).status_code == 409
    assert len(site.ledger.peer.endorsed) == before + 2


def test_the_first_acquirer_that_can_take_it_is_chosen(site: Site) -> None:
    intent = new_intent(acquirers=routes("nobody", "asleep", "ended", "second", "unionpay"))
    assert site.post(signed(intent)).json["acquirer_id"] == "second"


def test_no_acquirer_can_take_it_names_the_first_ones_fault(site: Site) -> None:
    answer = site.post(signed(new_intent(acquirers=routes("asleep", "nobody"))))
    assert answer.json["code"] == "acquirer_inactive"


def test_chaincode_that_fails_gives_503_and_spoils_nothing_else(site: Site) -> None:
    bad = site.post(signed(new_intent(order_no="explode")))
    assert (bad.status_code, bad.json["code"]) == (503, "ledger_unavailable")
    assert "exploded" not in bad.text
    assert site.post(signed()).status_code == 201


def test_wait_holds_the_answer_until_the_payment_has_ended(site: Site) -> None:
    intent = new_intent()
    pool = _finisher(site, intent)
    answer = site.post(signed(intent), Prefer="wait=10")
    pool.join()
    assert answer.status_code == 201
    assert (answer.json["status"], answer.json["final"]) == ("succeeded", True)
    assert answer.headers["Preference-Applied"] == "wait=10"


def test_wait_ends_with_what_is_known(site: Site) -> None:
    answer = site.post(signed(), Prefer="wait=1")
    assert (answer.status_code, answer.json["status"]) == (201, "requested")


def test_wait_is_capped(site: Site) -> None:
    intent = new_intent()
    pool = _finisher(site, intent)
    answer = site.post(signed(intent), Prefer="wait=86400")
    pool.join()
    assert answer.headers["Preference-Applied"] == "wait=30"


def test_respond_async_is_202_with_a_signed_receipt(site: Site) -> None:
    intent = new_intent()
    answer = site.post(signed(intent), Prefer="respond-async")
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert (answer.json["status"], answer.json["final"]) == ("received", False)
    receipt, unverified = answers.parse_receipt(answer.json["receipt"])
    _gateway_key(site).verify(unverified)
    assert (receipt.gateway, receipt.merchant_id) == ("gateway-bankone", MERCHANT)
    assert receipt.intent_digest == intent.digest()
    assert receipt.deadline == times.after(receipt.received_at, 300)
    until(lambda: site.ledger.holds(intent.key))
    until(lambda: site.get(answer.headers["Location"]).json["status"] == "requested")


def test_ledger_away_is_202_at_the_bound_and_committed_later(site: Site) -> None:
    intent = new_intent()
    site.ledger.down()
    try:
        answer = site.post(signed(intent), Prefer="wait=1")
        assert (answer.status_code, answer.json["status"]) == (202, "received")
        read = site.get(answer.headers["Location"])
        assert (read.status_code, read.json["status"]) == (200, "received")
        assert read.json["final"] is False
        assert read.json["receipt"] == answer.json["receipt"]
        again = site.post(signed(intent), Prefer="respond-async")
        assert again.json["receipt"] == answer.json["receipt"]
    finally:
        site.ledger.up()
    until(lambda: site.get(answer.headers["Location"]).json["status"] == "requested")
    assert site.post(signed(intent)).status_code == 200


def test_a_receipt_that_ends_in_a_refusal_says_why(site: Site) -> None:
    intent = new_intent(order_no="code-attempt_out_of_order.later", attempt=2)
    site.ledger.down()
    try:
        answer = site.post(signed(intent), Prefer="respond-async")
        assert answer.status_code == 202
    finally:
        site.ledger.up()
    until(lambda: site.get(answer.headers["Location"]).status_code == 404)
    read = site.get(answer.headers["Location"])
    assert read.json["code"] == "payment_unknown"
    assert "attempt_out_of_order" in read.json["detail"]
    refusal, unverified = parse_refusal(read.json["receipt_refusal"])
    _gateway_key(site).verify(unverified)
    assert refusal.receipt == answers.parse_receipt(answer.json["receipt"])[0]
    assert refusal.code is Code.ATTEMPT_OUT_OF_ORDER
    assert refusal.receipt.received_at <= refusal.refused_at <= refusal.receipt.deadline


def test_another_merchants_key_signs_nothing_for_this_one(site: Site) -> None:
    answer = site.post(signed(new_intent(merchant_id=OTHER_MERCHANT), OWNER))
    assert answer.json["code"] == "key_unknown"
    assert site.get("/v1/payments?limit=1", **token(OTHER_MERCHANT, OTHER)).json["payments"] == []


def _finisher(site: Site, intent: PayIntent) -> threading.Thread:
    def finish() -> None:
        until(lambda: site.ledger.holds(intent.key))
        site.ledger.finish(intent.key)

    thread = threading.Thread(target=finish)
    thread.start()
    return thread


def _gateway_key(site: Site) -> jws.PublicKey:
    signer = jws.KeySigner.load(site.folder / "key.pem")
    return jws.public_key(signer.jwk, signer.algorithm)
