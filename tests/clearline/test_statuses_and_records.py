"""Statuses go forward only; records keep their kind and their range."""

import dataclasses
from typing import Any

import pytest
from samples import INTENT

from clearline import canonical, clearing_records, records
from clearline.clearing_records import (
    AcquirerFile,
    AdjustmentRecord,
    Settlement,
    SettlementPart,
    Statement,
)
from clearline.codes import Code
from clearline.intents import PaymentKey
from clearline.records import Payment
from clearline.refunds import Refund, RefundKey, refund_key
from clearline.relations import Relation
from clearline.statuses import FINAL, FOLLOWERS, Status, may_follow
from clearline.supervision import Checkpoint, Rule

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


KEY = PaymentKey("M-1", "O-1", 2)
RECORDS: list[Any] = [
    PAYMENT,
    records.Entity("E-1", "Shop", "CN", "R1", "BankOne", ["t"]),
    records.Account("a" * 64, "E-1", "BKONCNBJ", "0001", "CNY", "BankOne"),
    Relation("a" * 64, "E-1", "E-2", "B", "active", [{"since": "2026-11-24"}], ["t"]),
    records.Merchant(
        "M-1", "E-1", "a" * 64, "Shop", "5411", ["food"], {"unionpay": ["1"]},
        {"k": records.KeyRecord("Ed25519", {"kty": "OKP"})}, "active", "BankOne",
    ),
    records.MerchantCode("unionpay", "1", "M-1"),
    records.Acquirer("unionpay", "U", "BankOne", ["CNY"], "L", "2030-01-01", {}, "active"),
    records.Proposal("p", "entity", {"name": "é"}, "proposed", "BankOne", "m", ""),
    Refund(
        "M-1", "O-1", 1, 2, "requested", "unionpay", "1", 5, "CNY", "a.b.c", "d" * 64,
        INTENT.expires_at, "BankOne", INTENT.created, txs=["t"],
    ),
    records.Kept("M-1", "O-1", 1, 2, "a.b.c", ["t"]),
    records.Equivocation("M-1", "O-1", 1, 2, "u", "a", "b", "active", "B", INTENT.created, ["t"]),
    records.Lease("unionpay", 3, "a", "BankOne", ["t"]),
    records.Registration("CN", "r-1", "E-1", ["t"]),
    AcquirerFile(
        "unionpay", "M-1", "1", "CNY", "2026-11-23", "f" * 64, 2, 5, 0, 1, -1,
        "a.b.c", "0" * 64, "B",
    ),
    AdjustmentRecord(
        "unionpay", "CB-1", "M-1", "1", "CNY", "2026-11-23", -1, "chargeback",
        "a.b.c", "0" * 64, "B",
    ),
    Settlement(
        "unionpay", "M-1", "1", "CNY", "2026-11-23", 1, "open", "f" * 64, "a" * 64, 2, 5, 0, 1, -1,
        0, 3, 1, "0" * 64, "B", "m",
    ),
    SettlementPart("unionpay/1/CNY/2026-11-23/01", 1, "a.b.c", "0" * 64, ["t"]),
    Statement("unionpay", "M-1", "1", "CNY", -5, "2026-11-23", "x", ["t"]),
    Rule("R", 1, "left_open", {"days": 1}, "2026-11-23", "enforce", "proposed", "S", "m"),
    Checkpoint(7, "1" * 64, "2" * 64, "S", ["t"]),
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_dump_is_the_record_and_its_kind(record: Any) -> None:
    data = records.dump(record)
    members = canonical.loads(data)
    assert members.pop("type") in list(records.Kind)
    assert members == dataclasses.asdict(record)
    assert records.load(type(record), data) == record


def test_every_kind_of_record_is_dumped() -> None:
    kinds = {canonical.loads(records.dump(record))["type"] for record in RECORDS}
    assert kinds == {kind.value for kind in records.Kind}


def test_a_settlement_adds_up_and_has_one_name() -> None:
    settlement = next(one for one in RECORDS if isinstance(one, Settlement))
    assert settlement.totals.net + settlement.carried == settlement.net == 3
    assert settlement.id == "unionpay/1/CNY/2026-11-23/01"
    part = clearing_records.part_key(settlement.place, 1, 12)
    assert part == f"settlement_part/{settlement.id}/0012"


def test_a_day_is_settled_to_the_account_that_holds_on_it() -> None:
    merchant = next(one for one in RECORDS if isinstance(one, records.Merchant))
    changes = [{"account_id": "b" * 64, "valid_from": "2026-11-24"},
               {"account_id": "c" * 64, "valid_from": "2026-11-26"}]  # fmt: skip
    moved = dataclasses.replace(merchant, accounts=changes)
    days = ("2026-11-23", "2026-11-24", "2026-11-25", "2026-11-26")
    assert [moved.accounts_from(day)[0][0] for day in days] == ["a", "b", "b", "c"]


def test_keys_of_what_stands_beside_a_payment() -> None:
    assert refund_key(RefundKey(*KEY, 3)) == "refund/M-1/O-1/0002/0003"
    assert records.report_key(KEY, 3) == "report/M-1/O-1/0002/0003"
    assert records.equivocation_key(KEY, 3) == "equivocation/M-1/O-1/0002/0003"
    spellings = {records.registration_key("CN", no) for no in ("91a-X.2", "91AX2", "9.1-ax2")}
    assert spellings == {"registration/CN/91AX2"}


def test_a_payment_names_its_reports_by_number() -> None:
    entry = [1, "unknown", "unknown", "d", "t2"]
    payment = dataclasses.replace(PAYMENT, reports=[entry])
    assert payment.report(1) == entry
    assert payment.report(0) is None is payment.report(2)
