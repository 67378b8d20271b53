"""Statuses go forward only; records keep their kind and their range."""

import dataclasses

import pytest
from samples import INTENT

from clearline import records
from clearline.codes import Code
from clearline.intents import PaymentKey
from clearline.records import Payment
from clearline.statuses import FINAL, FOLLOWERS, Status, may_follow

PAYMENT = Payment(
    "M-1", "O-1", 1, "requested", "unionpay", "898310148990001", 2933, "CNY", "a.b.c",
    INTENT.digest(), INTENT.expires_at, "BankOne", INTENT.created, txs=["t1"],
)  # fmt: skip


def test_nothing_leaves_a_final_status_or_returns_to_requested() -> None:
    assert all(not FOLLOWERS[status] for status in FINAL)
    assert all(Status.REQUESTED not in FOLLOWERS[s] for s in Status if s is not Status.RECEIVED)
    assert not Status.UNKNOWN.final
    assert may_follow(Status.UNKNOWN, Status.SUCCEEDED)
    assert not may_follow(Status.SUCCEEDED, Status.CLOSED)


def test_a_record_survives_and_keeps_its_kind() -> None:
    assert records.load(Payment, records.dump(PAYMENT)) == PAYMENT
    with pytest.raises(ValueError, match="not a record of kind merchant"):
        records.load(records.Merchant, records.dump(PAYMENT))


@pytest.mark.parametrize(
    ("key", "inside"),
    [
        (PaymentKey("M1", "O", 1), True),
        (PaymentKey("M1", "zzz", 9999), True),
        (PaymentKey("M10", "O", 1), False),
        (PaymentKey("M1.a", "O", 1), False),
        (PaymentKey("M1-a", "O", 1), False),
        (PaymentKey("M", "O", 1), False),
    ],
)
def test_a_merchants_range_holds_its_payments_only(key: PaymentKey, inside: bool) -> None:
    start, end = records.payments_of("M1")
    assert (start <= records.payment_key(key) < end) is inside


def test_attempts_sort_as_numbers() -> None:
    keys = [records.payment_key(PaymentKey("M", "O", n)) for n in (1, 2, 10, 9999)]
    assert keys == sorted(keys)


def test_every_code_has_a_status_and_a_sentence() -> None:
    for code in Code:
        assert 200 <= code.http_status < 600
        assert code.summary.endswith(".")
        assert code.type_uri == f"urn:clearline:problem:{code}"
    assert not any(code.http_status == 500 for code in Code)


def test_an_account_is_named_by_a_keyed_hash() -> None:
    first = records.account_id(b"k1", "BANKCNBJ", "6222")
    assert first == records.account_id(b"k1", "BANKCNBJ", "6222")
    assert first != records.account_id(b"k2", "BANKCNBJ", "6222")
    assert first != records.account_id(b"k1", "BANKCNBJ6", "222")


def test_touching_a_record_appends_its_transaction() -> None:
    assert records.touched(PAYMENT, "t2").txs == ["t1", "t2"]
    assert dataclasses.replace(PAYMENT, reports=[[3, "result", "succeeded", "x"]]).sequence == 3
