"""POST /v1/payments with a close: every way it can end, and each race with the payment's end."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers_gateway import (
    MERCHANT,
    OTHER,
    OTHER_MERCHANT,
    OWNER,
    REVOKED,
    SUSPENDED,
    SUSPENDED_MERCHANT,
    Site,
    new_intent,
    open_site,
    signed,
    token,
    until,
)

from clearline import answers, intents, jws, records, times
from clearline.codes import Code
from clearline.intents import CloseIntent, PaymentKey
from clearline.jws import KeySigner
from clearline.records import Payment


def close_of(key: PaymentKey, signer: KeySigner = OWNER, **changes: Any) -> str:
    """A close as the merchant posts it."""
    intent = CloseIntent("clearline-dev", *key, created=times.now())
    return intents.sign(replace(intent, **changes), signer)


def requested(site: Site) -> PaymentKey:
    """A payment on the ledger."""
    intent = new_intent()
    assert site.post(signed(intent)).status_code == 201
    return intent.key


def test_a_close_stands_on_the_payment_and_ends_nothing(site: Site) -> None:
    key = requested(site)
    compact = close_of(key)
    answer = site.post(compact)
    assert answer.status_code == 201, answer.text
    assert (answer.json["status"], answer.json["final"]) == ("requested", False)
    assert answer.json["close"] == compact
    assert answer.headers["Location"] == f"/v1/payments/{key.order_no}?attempt=1"
    read = site.get(answer.headers["Location"])
    assert read.json == answer.json


def test_a_second_close_is_the_first_one_again(site: Site) -> None:
    key = requested(site)
    first = close_of(key)
    assert site.post(first).status_code == 201
    before = len(site.ledger.peer.endorsed)
    again = site.post(close_of(key, created=times.after(times.now(), 1)))
    assert (again.status_code, again.json["close"]) == (200, first)
    assert len(site.ledger.peer.endorsed) == before  # told from the ledger, not asked of it


def test_a_close_after_the_end_is_refused_and_after_a_close_it_is_the_first_again(
    site: Site,
) -> None:
    paid, closed = requested(site), requested(site)
    site.post(close_of(closed))
    for key, status in ((paid, "succeeded"), (closed, "closed")):
        site.ledger.finish(key, status)
        until(lambda key=key: site.get(f"/v1/payments/{key.order_no}").json["final"])
    refused = site.post(close_of(paid))
    assert (refused.status_code, refused.json["code"]) == (409, "already_final")
    again = site.post(close_of(closed))
    assert (again.status_code, again.json["status"]) == (200, "closed")


@pytest.mark.parametrize(
    ("changes", "signer", "code"),
    [
        ({"network": "another-net"}, OWNER, Code.NETWORK_MISMATCH),
        ({"merchant_id": "M-9999"}, OWNER, Code.MERCHANT_UNKNOWN),
        ({}, OTHER, Code.KEY_UNKNOWN),
        ({}, REVOKED, Code.KEY_REVOKED),
        ({"order_no": "nobody-knows"}, OWNER, Code.PAYMENT_UNKNOWN),
        ({"merchant_id": OTHER_MERCHANT}, OTHER, Code.PAYMENT_UNKNOWN),
        ({"order_no": "4111111111111111"}, OWNER, Code.CARD_DATA_REFUSED),
        # As the contract: closing brings no money in.
        ({"merchant_id": SUSPENDED_MERCHANT}, SUSPENDED, Code.PAYMENT_UNKNOWN),
    ],
)
def test_refused(site: Site, changes: dict[str, str], signer: KeySigner, code: Code) -> None:
    key = requested(site)
    answer = site.post(close_of(key, signer, **changes))
    assert (answer.status_code, answer.json["code"]) == (code.http_status, code.value)
    assert answer.content_type == "application/problem+json"
    assert site.get(f"/v1/payments/{key.order_no}").json["close"] is None


def test_another_signature_closes_nothing(site: Site) -> None:
    compact = close_of(requested(site))
    head, _, signature = compact.rpartition(".")
    other = ("A" if signature[0] != "A" else "B") + signature[1:]
    assert site.post(f"{head}.{other}").json["code"] == "signature_invalid"


def test_a_close_of_what_is_only_received_here_waits_for_it(site: Site) -> None:
    """The request waits in this gateway's queue: the close goes after it, never before."""
    intent = new_intent()
    site.ledger.down()
    try:
        assert site.post(signed(intent), Prefer="respond-async").status_code == 202
        answer = site.post(close_of(intent.key), Prefer="respond-async")
        assert (answer.status_code, answer.json["status"]) == (202, "received")
    finally:
        site.ledger.up()
    until(lambda: site.get(f"/v1/payments/{intent.order_no}").json["close"] is not None)


def test_a_received_close_carries_a_receipt_and_hides_nothing(tmp_path: Path) -> None:
    """... and a committer that was stopped meanwhile brings it to the ledger."""
    with open_site(tmp_path) as site:
        key = requested(site)
        path = f"/v1/payments/{key.order_no}"
        site.ledger.down()
        try:
            compact = close_of(key)
            answer = site.post(compact, Prefer="wait=1")
            assert (answer.status_code, answer.json["status"]) == (202, "requested")
            receipt, unverified = answers.parse_receipt(answer.json["receipt"])
            gateway = KeySigner.load(site.folder / "key.pem")
            jws.public_key(gateway.jwk, gateway.algorithm).verify(unverified)
            assert (receipt.merchant_id, receipt.order_no) == (MERCHANT, key.order_no)
            assert receipt.intent_digest == intents.parse_close(compact).intent.digest()
            read = site.get(path)
            assert (read.json["status"], read.json["receipt"]) == ("requested", None)
            site.committer.stop()
        finally:
            site.ledger.up()
        site.committer.start()
        until(lambda: site.get(path).status_code == 200 and site.get(path).json["close"] == compact)


def test_closes_and_requests_go_in_one_batch(site: Site) -> None:
    key, intent = requested(site), new_intent()
    compacts = [signed(intent), close_of(key), close_of(intent.key), close_of(key)]
    outcomes = site.batch(compacts).json["outcomes"]
    assert [one["code"] for one in outcomes] == ["ok", "ok", "ok", "duplicate"]
    assert [one["status"] for one in outcomes] == [201, 201, 201, 200]
    assert outcomes[2]["payment"]["order_no"] == intent.order_no
    assert outcomes[2]["payment"]["close"] is not None


def test_a_late_success_shows_in_the_answer(site: Site) -> None:
    key = requested(site)
    site.ledger.finish(key, "closed")
    name = records.payment_key(key)
    payment = records.load(Payment, site.ledger.peer.state[name][1].encode())
    late = {"kind": "late_success", "sequence": 2, "digest": "d" * 64, "status": "open",
            "amount": 7, "currency": "CNY"}  # fmt: skip
    excepted = replace(payment, exceptions=[late | {"tx_id": "ab" * 32}])
    site.ledger.write(name, records.dump(excepted))
    path = f"/v1/payments/{key.order_no}"
    until(lambda: bool(site.get(path).json["exceptions"]))
    answer = site.get(path).json
    assert answer["status"] == "closed"
    assert answer["exceptions"] == [
        {
            "kind": "late_success",
            "sequence": 2,
            "amount": 7,
            "currency": "CNY",
            "status": "open",
            "tx_id": "ab" * 32,
        }
    ]
    listed = site.get("/v1/payments?limit=1", **token()).json["payments"]
    assert listed[0]["exceptions"] == answer["exceptions"]
