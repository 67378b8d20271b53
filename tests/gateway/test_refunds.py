"""Refunds at the REST interface: in, committed or received, read, and every refusal."""

import sqlite3
from contextlib import closing
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
    Site,
    new_intent,
    open_site,
    signed,
    token,
    until,
)

from clearline import answers, jws, records, refunds, times
from clearline.answers import Receipt
from clearline.codes import Code
from clearline.intents import PaymentKey
from clearline.jws import KeySigner
from clearline.refunds import Refund, RefundIntent, RefundKey, refund_key
from clearline.refusals import parse_refusal
from gateway import refund_openapi, refund_rows
from gateway.reads import DEFAULT_PAGE
from gateway.selection import encode_cursor


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


def received_and_refused(site: Site, key: PaymentKey) -> tuple[Receipt, dict[str, Any]]:
    """A refund that is posted while the ledger is away, and not taken then: the receipt's claim,
    and the problem that its address shows."""
    site.ledger.down()
    answer = post(site, key, refund_of(key), Prefer="respond-async")
    assert answer.status_code == 202, answer.text
    site.ledger.up()
    until(lambda: site.get(answer.headers["Location"]).status_code == 404, 20)
    claim, _ = answers.parse_receipt(answer.json["receipt"])
    return claim, site.get(answer.headers["Location"]).json


def shown(site: Site, key: PaymentKey, more: str = "&refund_no=1") -> Any:
    return site.get(f"/v1/payments/{key.order_no}/receipts?attempt={key.attempt}{more}").json


def missed(site: Site) -> float:
    lines = site.client.get("/metrics").text.splitlines()
    return float(next(x for x in lines if x.startswith("clearline_receipts_missed")).split()[1])


REFUSALS = ["not_refundable", "refund_amount_refused", "refund_out_of_order", "payment_unknown"]


@pytest.mark.parametrize("code", REFUSALS)
def test_a_receipt_that_ends_in_a_refusal_is_taken_back_by_a_signed_one(
    site: Site, code: str
) -> None:
    """An honest gateway has broken no word, and signs why."""
    before = missed(site)
    key = PaymentKey(MERCHANT, f"code-{code}.receipt", 1)
    claim, problem = received_and_refused(site, key)
    assert (problem["code"], problem["status"]) == ("refund_unknown", 404)
    assert code in problem["detail"]
    refusal, unverified = parse_refusal(problem["receipt_refusal"])
    own = KeySigner.load(site.folder / "key.pem")
    jws.public_key(own.jwk, own.algorithm).verify(unverified)
    assert (refusal.receipt, refusal.code) == (claim, code)
    assert claim.received_at <= refusal.refused_at <= claim.deadline
    assert shown(site, key)["refusals"] == [problem["receipt_refusal"]]
    assert shown(site, key)["refund"] is None
    assert missed(site) == before


def test_a_gateways_own_weather_is_no_refusal_of_a_refund(site: Site) -> None:
    """The ledger fails on this one: there is a reason to read, and no signed one."""
    before = missed(site)
    _, problem = received_and_refused(site, PaymentKey(MERCHANT, "explode", 1))
    assert "ledger_unavailable" in problem["detail"]
    assert "receipt_refusal" not in problem
    assert missed(site) == before + 1


def test_a_receipt_of_a_refund_is_held_against_where_it_comes_from(site: Site) -> None:
    key = paid(site)
    compact = refund_of(key)
    intent = refunds.parse(compact).intent
    assert shown(site, key)["refund"] is None
    posted = post(site, key, compact)
    assert posted.status_code == 201
    seen = shown(site, key)
    assert seen["refund"] == {
        "intent_digest": intent.digest(),
        "requested_at": intent.created,  # by this ledger
        "submitter": KeySigner.load(site.folder / "key.pem").key_id,
        "block_number": posted.json["block_number"],
    }
    assert seen["payment"]["intent_digest"] != intent.digest()
    assert shown(site, key, "")["refund"] is None
    assert shown(site, key, "&refund_no=2")["refund"] is None
    assert shown(site, key, "&refund_no=0")["code"] == "parameter_invalid"
    block = site.ledger.finish_refund(RefundKey(*key, 1))
    later = shown(site, key, f"&refund_no=1&min_block={block}")["refund"]
    assert later == seen["refund"] | {"block_number": block}


def test_a_projection_of_format_3_is_brought_up(tmp_path: Path) -> None:
    """What it holds already has no submitter; what comes later has."""
    with open_site(tmp_path) as site:
        before, after = paid(site), paid(site)
        assert post(site, before, refund_of(before)).status_code == 201
        site.committer.stop()
        with closing(sqlite3.connect(site.settings.projection)) as file:
            file.executescript(
                "ALTER TABLE refunds DROP COLUMN submitter; PRAGMA user_version = 3;"
            )
        site.committer.start()
        assert post(site, after, refund_of(after)).status_code == 201
        assert shown(site, before)["refund"]["submitter"] == ""
        assert len(shown(site, after)["refund"]["submitter"]) == 43
        ended = site.ledger.finish_refund(RefundKey(*before, 1))
        assert shown(site, before, f"&refund_no=1&min_block={ended}")["refund"]["submitter"] == ""


def write_refunds(site: Site, key: PaymentKey, count: int) -> int:
    """So many that have ended, as the ledger would have them; the last one's block."""
    assert post(site, key, refund_of(key)).status_code == 201
    first = records.load(Refund, site.ledger.peer.state[refund_key(RefundKey(*key, 1))][1].encode())
    block = site.ledger.finish_refund(RefundKey(*key, 1))
    for number in range(2, count + 1):
        one = replace(first, refund_no=number, status="succeeded", result="a.b.c")
        block = site.ledger.write(refund_key(one.key), records.dump(one))
    return block


def test_refunds_are_listed_by_pages_and_few_are_shown_with_the_payment(site: Site) -> None:
    key = paid(site)
    count = refund_rows.SHOWN + 3
    block = write_refunds(site, key, count)
    again = replace(
        records.load(Refund, site.ledger.peer.state[refund_key(RefundKey(*key, 1))][1].encode()),
        attempt=2,
    )
    block = site.ledger.write(refund_key(again.key), records.dump(again))
    address = f"/v1/payments/{key.order_no}"

    def walked(query: str) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        cursor = ""
        while True:
            page = site.get(f"{address}/refunds?min_block={block}{query}{cursor}").json
            assert len(page["refunds"]) <= 20
            found += [(one["attempt"], one["refund_no"]) for one in page["refunds"]]
            if page["next_cursor"] is None:
                return found
            assert len(page["refunds"]) == 20
            cursor = f"&cursor={page['next_cursor']}"

    first = [(1, number) for number in range(1, count + 1)]
    assert walked("&limit=20") == [*first, (2, 1)]
    assert walked("&limit=20&attempt=1") == first
    assert walked("&limit=20&attempt=2") == [(2, 1)]
    assert len(site.get(f"{address}/refunds").json["refunds"]) == DEFAULT_PAGE
    whole = site.get(f"{address}/refunds?limit={count + 1}").json
    assert (len(whole["refunds"]), whole["next_cursor"]) == (count + 1, None)
    payment = site.get(f"{address}?attempt=1")
    assert [one["refund_no"] for one in payment.json["refunds"]] == [*range(4, count + 1)]
    # One that is not shown changes: another representation all the same.
    site.ledger.finish_refund(RefundKey(*key, 2), "declined")
    tag = {"If-None-Match": payment.headers["ETag"]}
    until(lambda: site.get(f"{address}?attempt=1", **tag).status_code == 200)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "cursor=x", f"cursor={encode_cursor(9_999)}", "cursor="]
)
def test_a_page_that_nobody_gave_is_refused(site: Site, query: str) -> None:
    key = PaymentKey(MERCHANT, "any", 1)
    answer = site.get(f"/v1/payments/{key.order_no}/refunds?{query}")
    assert (answer.status_code, answer.json["code"]) == (400, "parameter_invalid")


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
