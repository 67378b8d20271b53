"""Lists of files, adjustments and settlements: two of one thing, parts, what is carried."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import contract_world as w
from contract_world import Ledger, intent_item, report_item
from rule_rows import reported
from rules_of_clearing import (
    ADJUSTED,
    ADJUSTMENT,
    ALL_THREE,
    CHARGEBACK,
    CLEAR,
    FILING,
    NAME,
    NEXT,
    NEXT_NAME,
    NOTHING,
    PAID,
    PART,
    PAYOUT,
    RULE,
    TAKEN_FEE,
    filed,
    item,
    ruling,
)
from samples import INTENT

from clearline import clearing
from clearline.clearing import Entry
from clearline.clearing_schema import MAX_ENTRIES, Paid
from clearline.jws import MAX_COMPACT
from clearline.money import MAX_AMOUNT


def settlement(ledger: Ledger, name: str = NAME) -> dict[str, Any]:
    return dict(json.loads(ledger.state[f"settlement/{name}"]))


def carried(ledger: Ledger) -> int:
    return int(json.loads(ledger.state[f"statement/unionpay/{w.CODE}/CNY"])["carried"])


def payment(ledger: Ledger) -> dict[str, Any]:
    return dict(json.loads(ledger.state[f"payment/{INTENT.merchant_id}/{INTENT.order_no}/0001"]))


def test_file_adjustment_and_settlement_in_one_list() -> None:
    ledger = reported({})()
    filing = item(FILING, lines=3, adjustments=CHARGEBACK)
    items = [filing, item(ADJUSTMENT), item(PART, **ADJUSTED, entries=ALL_THREE)]
    assert ledger.codes(CLEAR, items) == ["ok"] * 3
    made = settlement(ledger)
    assert (made["status"], made["counted"]) == ("proposed", [3, 2933, 0, 11, CHARGEBACK])
    assert payment(ledger)["settlement"] == NAME
    assert ledger.codes(RULE, [ruling()]) == ["ok"]
    # Nothing to pay: what is missing is carried forward.
    assert settlement(ledger)["status"] == "carried"
    assert carried(ledger) == 2933 - 11 + CHARGEBACK


def test_two_settlements_of_one_payment_in_one_list() -> None:
    ledger = reported({})()
    items = [
        item(FILING),
        item(PART),
        item(PART, parts=2),  # the same number, another header
        item(PART, run=2),  # the run before is not rejected
        item(PART),
    ]
    assert ledger.codes(CLEAR, items) == [
        "ok",
        "ok",
        "conflict",
        "settlement_closed",
        "duplicate",
    ]


def test_two_files_and_two_adjustments_in_one_list() -> None:
    items = [
        item(FILING),
        item(FILING, file_digest="0" * 64),
        item(ADJUSTMENT),
        item(ADJUSTMENT, amount=-1),
    ]
    assert reported({})().codes(CLEAR, items) == ["ok", "conflict", "ok", "conflict"]


def test_a_refused_part_takes_none_of_its_lines() -> None:
    ledger = filed()()
    wrong = item(PART, entries=(PAID, TAKEN_FEE, Entry("payment", "nobody", 1, 0, 5)))
    assert ledger.codes(CLEAR, [wrong, item(PART)]) == ["line_unknown", "ok"]


def test_parts_of_a_large_settlement() -> None:
    ledger = reported({})()
    orders = [f"large-{number:03d}" for number in range(60)]
    for order_no in orders:
        intent = replace(INTENT, order_no=order_no)
        assert ledger.codes("SubmitIntents", [intent_item(order_no=order_no)]) == ["ok"]
        assert ledger.codes("SubmitReports", [report_item(of=intent)]) == ["ok"]
    lines = [
        (Entry("payment", no, 1, 0, INTENT.amount), Entry("fee", no, 1, 0, 11)) for no in orders
    ]
    lines.append((PAID, TAKEN_FEE))
    totals: dict[str, Any] = {"lines": 122, "payments": 61 * INTENT.amount, "fees": 61 * 11}
    header = totals | {"net": 61 * (INTENT.amount - 11), "parts": 2}
    halves = [sum(lines[:50], ()), sum(lines[50:], ())]
    parts = [item(PART, **header, part=n, entries=half) for n, half in enumerate(halves, 1)]
    assert ledger.codes(CLEAR, [item(FILING, **totals), parts[1]]) == ["ok", "ok"]
    assert settlement(ledger)["status"] == "open"
    assert ledger.codes(RULE, [ruling()]) == ["settlement_closed"]
    # A retry after a lost answer does no harm.
    assert ledger.codes(CLEAR, [parts[1], parts[0], parts[0]]) == ["duplicate", "ok", "duplicate"]
    assert settlement(ledger)["status"] == "proposed"


def test_a_rejected_settlement_frees_its_lines() -> None:
    ledger = filed()()
    assert ledger.codes(CLEAR, [item(PART, parts=2, entries=(PAID,))]) == ["ok"]
    assert ledger.codes(RULE, [ruling("reject")]) == ["ok"]
    assert ledger.codes(CLEAR, [item(PART, run=2)]) == ["ok"]
    second = NAME.replace("/01", "/02")
    assert ledger.codes(RULE, [ruling(settlement=second), ruling()]) == ["ok", "settlement_closed"]
    assert payment(ledger)["settlement"] == second


def test_what_came_back_is_carried_forward_once() -> None:
    ledger = filed()()
    assert ledger.codes(CLEAR, [item(PART)]) == ["ok"]
    assert ledger.codes(RULE, [ruling()]) == ["ok"]
    back = item(PAYOUT, status=Paid.RETURNED)
    assert ledger.codes(CLEAR, [back, item(PAYOUT), back]) == [
        "ok",
        "settlement_closed",
        "duplicate",
    ]
    assert carried(ledger) == PART.net
    nothing: dict[str, Any] = {**NEXT, **NOTHING, "entries": ()}
    again = item(PART, **nothing, carried=PART.net)
    assert ledger.codes(CLEAR, [item(FILING, **NEXT, **NOTHING), again]) == ["ok", "ok"]
    assert ledger.codes(RULE, [ruling(settlement=NEXT_NAME)]) == ["ok"]
    assert (settlement(ledger, NEXT_NAME)["status"], carried(ledger)) == ("stated", 0)
    late = item(PAYOUT, status=Paid.RETURNED, **NEXT)
    assert ledger.codes(CLEAR, [late]) == ["ok"]
    assert carried(ledger) == PART.net


def test_the_largest_part_fits_a_jws() -> None:
    entry = Entry("adjustment", "x" * 64, 0, 0, -MAX_AMOUNT)
    fee = Entry("refund", "x" * 64, 9999, 9999, MAX_AMOUNT)
    for one in (entry, fee):
        largest = replace(PART, acquirer_id="a" * 32, merchant_id="m" * 32, network="n" * 64)
        text = item(largest, entries=(one,) * MAX_ENTRIES)
        assert len(text) <= MAX_COMPACT
        assert clearing.parse(text).said.payload()["entries"][0] == list(one)
