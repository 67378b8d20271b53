"""Refunds at the REST interface: in, committed or received, read, and every refusal."""

from dataclasses import replace
from typing import Any

import pytest
from helpers_gateway import (
    MERCHANT,
    OTHER,
    OTHER_MERCHANT,
    OWNER,
    REVOKED,
    Site,
    new_intent,
    signed,
    token,
    until,
)

from clearline import answers, jws, refunds, times
from clearline.codes import Code
from clearline.intents import PaymentKey
from clearline.jws import KeySigner
from clearline.refunds import RefundIntent, RefundKey
from gateway import refund_openapi


def paid(site: Site) -> PaymentKey:
    """A payment on the ledger that has succeeded."""
    intent = new_intent()
    assert site.post(signed(intent)).status_code == 201
    site.ledger.finish(intent.key)
    until(lambda: site.get(f"/v1/payments/{intent.order_no}").json["final"])
    return intent.key


def refund_of(key: PaymentKey, signer: KeySigner = OWNER, **changes: Any) -> str:
    """A refund as the merchant posts it."""
    now = times.now()
    intent = RefundIntent("clearline-dev", *key, 1, 100, "CNY", now, times.after(now, 600))
    return refunds.sign(replace(intent, **changes), signer)


def post(site: Site, key: PaymentKey, compact: str, **headers: str) -> Any:
    return site.client.post(
        f"/v1/payments/{key.order_no}/refunds",
        data=compact,
        content_type="application/jose",
        headers=headers,
    )


def test_a_refund_is_committed_read_and_ends(site: Site) -> None:
    key = paid(site)
    compact = refund_of(key)
    answer = post(site, key, compact)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/v1/payments/{key.order_no}/refunds/1?attempt=1"
    assert (answer.json["status"], answer.json["final"]) == ("requested", False)
    read = site.get(answer.headers["Location"])
    assert read.json == answer.json
    again = post(site, key, refund_of(key, created=times.after(times.now(), 1)))
    assert again.status_code == 422  # another expiry: another intent
    same = post(site, key, compact)
    assert (same.status_code, same.json) == (200, answer.json)
    site.ledger.finish_refund(RefundKey(*key, 1))
    ended = site.get(f"/v1/payments/{key.order_no}/refunds/1", Prefer="wait=5")
    assert (ended.json["status"], ended.json["result"]) == ("succeeded", "a.b.c")
    assert ended.json["clearing_date"] == "2026-11-23"
    listed = site.get(f"/v1/payments/{key.order_no}/refunds")
    assert listed.json["refunds"] == [ended.json]
    assert site.get(f"/v1/payments/{key.order_no}").json["refunds"] == [ended.json]


def test_the_payment_s_representation_changes_with_its_refunds(site: Site) -> None:
    key = paid(site)
    address = f"/v1/payments/{key.order_no}"
    before = site.get(address)
    tag = before.headers["ETag"]
    assert site.get(address, **{"If-None-Match": tag}).status_code == 304
    assert "refunds" not in before.json
    assert post(site, key, refund_of(key)).status_code == 201
    after = site.get(address, **{"If-None-Match": tag})
    assert (after.status_code, len(after.json["refunds"])) == (200, 1)


def test_wait_holds_the_answer_until_the_refund_has_ended(site: Site) -> None:
    key = paid(site)
    compact = refund_of(key)
    assert post(site, key, compact).status_code == 201
    site.ledger.finish_refund(RefundKey(*key, 1), "declined")
    answer = post(site, key, compact, Prefer="wait=5")
    assert (answer.status_code, answer.json["status"]) == (200, "declined")
    assert answer.headers["Preference-Applied"] == "wait=5"


def test_respond_async_is_202_with_a_receipt_and_committed_later(site: Site) -> None:
    key = paid(site)
    site.ledger.down()
    answer = post(site, key, refund_of(key), Prefer="respond-async")
    assert answer.status_code == 202, answer.text
    receipt, _ = answers.parse_receipt(answer.json["receipt"])
    assert (receipt.order_no, receipt.intent_digest) == (
        key.order_no,
        answer.json["intent_digest"],
    )
    held = site.get(answer.headers["Location"])
    assert (held.status_code, held.json["status"]) == (200, "received")
    site.ledger.up()
    until(lambda: site.get(answer.headers["Location"]).json["status"] == "requested", 20)


def test_a_receipt_that_ends_in_a_refusal_says_why(site: Site) -> None:
    intent = new_intent()
    assert site.post(signed(intent)).status_code == 201
    site.ledger.down()
    answer = post(site, intent.key, refund_of(intent.key), Prefer="respond-async")
    assert answer.status_code == 202
    site.ledger.up()
    until(lambda: site.get(answer.headers["Location"]).status_code == 404, 20)
    refused = site.get(answer.headers["Location"]).json
    assert (refused["code"], refused["receipt_refusal"]) == ("refund_unknown", "not_refundable")


def test_what_was_received_is_committed_after_a_restart(site: Site) -> None:
    key = paid(site)
    site.ledger.down()
    answer = post(site, key, refund_of(key), Prefer="respond-async")
    assert answer.status_code == 202
    site.committer.stop()
    site.ledger.up()
    site.committer.start()
    until(lambda: site.get(answer.headers["Location"]).json["status"] == "requested", 20)


# What is refused, by what is changed of a sound refund, or by whom it is signed.
REFUSED: list[tuple[dict[str, Any], KeySigner, str]] = [
    ({"network": "other"}, OWNER, "network_mismatch"),
    ({"merchant_id": "M-9999"}, OWNER, "merchant_unknown"),
    ({}, KeySigner.generate(), "key_unknown"),
    ({}, REVOKED, "key_revoked"),
    ({"merchant_id": OTHER_MERCHANT}, OTHER, "payment_unknown"),
    ({"amount": 0}, OWNER, "malformed"),
    ({"refund_no": 10_000}, OWNER, "malformed"),
    ({"expires_at": "2020-01-01T00:00:00.000Z"}, OWNER, "malformed"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "signer", "code"), REFUSED)
def test_refused(site: Site, changes: dict[str, Any], signer: KeySigner, code: str) -> None:
    key = paid(site)
    answer = post(site, key, refund_of(key, signer, **changes))
    assert (answer.json["code"], answer.status_code) == (code, Code(code).http_status)
    assert site.get(f"/v1/payments/{key.order_no}/refunds").json["refunds"] == []


def test_an_altered_signature_and_another_kind_are_refused(site: Site) -> None:
    key = paid(site)
    head, _, signature = refund_of(key).rpartition(".")
    altered = f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    assert post(site, key, altered).json["code"] == "signature_invalid"
    assert post(site, key, signed(new_intent())).json["code"] == "malformed"
    assert site.post(refund_of(key)).json["code"] == "malformed"  # not to /v1/payments
    elsewhere = post(site, PaymentKey(MERCHANT, "another", 1), refund_of(key))
    assert elsewhere.json["code"] == "malformed"
    twice = jws.decode(refund_of(key).split(".")[1]).replace(b"{", b'{"amount":1,', 1)
    header, _, rest = refund_of(key).split(".")
    assert post(site, key, f"{header}.{jws.encode(twice)}.{rest}").json["code"] == "malformed"


@pytest.mark.parametrize(
    "code", ["refund_amount_refused", "refund_out_of_order", "not_refundable", "expired"]
)
def test_each_code_of_the_contract_travels_with_its_status(site: Site, code: str) -> None:
    key = PaymentKey(MERCHANT, f"code-{code}.{times.now()[-8:-1].replace(':', '')}", 1)
    answer = post(site, key, refund_of(key))
    assert (answer.json["code"], answer.status_code) == (code, Code(code).http_status)
    assert Code(code) in refund_openapi.REFUND_CODES


def test_reading_is_the_merchant_s_own(site: Site) -> None:
    key = paid(site)
    assert post(site, key, refund_of(key)).status_code == 201
    address = f"/v1/payments/{key.order_no}/refunds"
    other = token(OTHER_MERCHANT, OTHER)
    assert site.client.get(f"{address}/1", headers=other).json["code"] == "refund_unknown"
    assert site.client.get(address, headers=other).json["refunds"] == []
    assert site.client.get(address).json["code"] == "unauthenticated"
    assert site.get(f"{address}/2").json["code"] == "refund_unknown"
    for bad in ("0", "x", "10000", "-1"):
        assert site.get(f"{address}/{bad}").json["code"] == "parameter_invalid"
    assert site.get(f"{address}?attempt=2").json["refunds"] == []
