"""POST /v1/payments/batch: an outcome for each intent, in order, whatever the others are."""

from dataclasses import replace
from typing import Any

import pytest
from helpers_gateway import MERCHANT, OTHER, OTHER_MERCHANT, Site, new_intent, signed, until

from clearline import answers


def summary(answer: Any) -> list[tuple[int, str | None]]:
    assert answer.status_code == 200, answer.text
    return [(outcome["status"], outcome["code"]) for outcome in answer.json["outcomes"]]


def test_a_mix_of_everything(site: Site) -> None:
    first, there, loser = new_intent(), new_intent(), new_intent()
    site.post(signed(there))
    answer = site.batch(
        [
            signed(first),
            "garbage",
            signed(there),
            signed(replace(there, amount=5)),
            signed(new_intent(order_no="code-attempt_out_of_order.b")),
            17,
            None,
            "x" * 17_000,
            signed(new_intent(merchant_id=OTHER_MERCHANT), OTHER),
            signed(new_intent(merchant_id=OTHER_MERCHANT)),
            signed(loser),
            signed(loser),
            signed(replace(loser, amount=7)),
        ]
    )
    assert summary(answer) == [
        (201, "ok"),
        (400, "malformed"),
        (200, "duplicate"),
        (422, "conflict"),
        (409, "attempt_out_of_order"),
        (400, "malformed"),
        (400, "malformed"),
        (413, "payload_too_large"),
        (201, "ok"),
        (401, "key_unknown"),
        (201, "ok"),
        (200, "duplicate"),
        (422, "conflict"),
    ]
    outcomes = answer.json["outcomes"]
    assert outcomes[0]["payment"]["order_no"] == first.order_no
    assert outcomes[8]["payment"]["merchant_id"] == OTHER_MERCHANT
    assert all((item["payment"] is None) is (item["status"] >= 400) for item in outcomes)
    assert int(answer.headers["Clearline-Block"]) == max(
        item["payment"]["block_number"] for item in outcomes if item["payment"]
    )


def test_a_large_batch_in_order(site: Site) -> None:
    batch = [new_intent() for _ in range(200)]
    answer = site.batch([signed(intent) for intent in batch])
    assert summary(answer) == [(201, "ok")] * 200
    orders = [item["payment"]["order_no"] for item in answer.json["outcomes"]]
    assert orders == [intent.order_no for intent in batch]


def test_two_batches_of_the_same_intents(site: Site) -> None:
    compacts = [signed() for _ in range(5)]
    assert summary(site.batch(compacts)) == [(201, "ok")] * 5
    assert summary(site.batch(compacts)) == [(200, "duplicate")] * 5


def test_batch_respond_async_is_received(site: Site) -> None:
    intents = [new_intent() for _ in range(3)]
    answer = site.batch([signed(intent) for intent in intents], Prefer="respond-async")
    assert summary(answer) == [(202, None)] * 3
    assert answer.headers["Preference-Applied"] == "respond-async"
    for outcome in answer.json["outcomes"]:
        receipt, _ = answers.parse_receipt(outcome["payment"]["receipt"])
        assert receipt.merchant_id == MERCHANT
    until(lambda: all(site.ledger.holds(intent.key) for intent in intents))


def test_batch_while_the_ledger_is_away(site: Site) -> None:
    intent = new_intent()
    site.ledger.down()
    try:
        answer = site.batch([signed(intent), "bad"], Prefer="wait=1")
        assert summary(answer) == [(202, None), (400, "malformed")]
    finally:
        site.ledger.up()
    until(lambda: site.ledger.holds(intent.key))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b"{}", 400, "malformed"),
        (b'{"intents": []}', 400, "malformed"),
        (b'{"intents": "a.b.c"}', 400, "malformed"),
        (b'{"intents": {}}', 400, "malformed"),
        (b'{"intents": ["a"], "more": 1}', 400, "malformed"),
        (b'{"intents": ["a"], "intents": ["b"]}', 400, "malformed"),
        (b'{"intents": ["\xff"]}', 400, "malformed"),
        (b'{"intents": [' + b"[" * 5000 + b"]" * 5000 + b"]}", 400, "malformed"),
        (b'{"intents": [' + b'"a",' * 200 + b'"a"]}', 413, "batch_too_large"),
        (b'{"intents": ["' + b"a" * 1_100_000 + b'"]}', 413, "payload_too_large"),
    ],
)
def test_bad_batches(site: Site, body: bytes, status: int, code: str) -> None:
    answer = site.client.post("/v1/payments/batch", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_a_batch_is_json(site: Site) -> None:
    answer = site.client.post(
        "/v1/payments/batch", data=b'{"intents": ["a"]}', content_type="application/jose"
    )
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
