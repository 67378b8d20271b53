"""From the acquirer's file to the merchant's statement, through the whole house.

The acquirer's day is closed by asking for its file, so each test has days of its own: what is paid
after it clears on the next one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from books import read_ledger
from clearing import Clearing, paid_on
from counter import UNIONPAY, WALLET, Till, numbered

from clearline.house.layout import House


def at(house: House, acquirer_id: str) -> Clearing:
    (acquirer,) = (one for one in house.acquirers if one.acquirer_id == acquirer_id)
    return Clearing(house, acquirer)


def new_day(
    clearing: Clearing, till: Till, prefix: str, tokens: list[str]
) -> tuple[str, list[str]]:
    """A clearing date that holds only these orders, and them."""
    # What other tests paid clears on a day of its own, which is never settled here.
    first = till.take(numbered(f"{prefix}-before", clearing.acquirer.acquirer_id, ["tok_approve"]))
    till.pay(*first)
    (today,) = paid_on(till.house, *first)
    clearing.close_day(today)
    orders = till.take(numbered(prefix, clearing.acquirer.acquirer_id, tokens))
    till.run("pay", *orders)
    (day,) = paid_on(till.house, *(no for no in orders if till.status(no)["status"] == "paid"))
    assert day > today
    return day, orders


@pytest.mark.parametrize("acquirer_id", [UNIONPAY, WALLET])
def test_ledger_file_and_statement_are_equal(house: House, till: Till, acquirer_id: str) -> None:
    clearing = at(house, acquirer_id)
    day, _ = new_day(clearing, till, f"settle-{acquirer_id}", ["tok_approve"] * 3 + ["tok_decline"])
    before = till.run("statement", "--date", day)
    assert before.returncode == 1
    assert before.stdout.count("not_settled: ") == 3

    settlement = clearing.stated(day)
    (made,) = clearing.settlements(day)
    # 60 basis points of 12.34 are 7.404: 7 minor units each.
    assert (made["payments"], made["fees"], made["net"]) == (3 * 1234, 3 * 7, 3 * 1227)
    paid = clearing.desk("payout", settlement, "--paid", "--reference", "TRF-1")
    assert paid.returncode == 0, paid.stdout + paid.stderr
    shown = till.run("statement", "--date", day)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert f"{settlement}: paid, 6 lines" in shown.stdout
    # To repeat a step does no harm.
    (file,) = clearing.close_day(day)
    assert clearing.bring_in(file).stdout.rstrip().endswith(": duplicate")
    assert clearing.settle(day).stdout == f"{settlement}: paid\n"
    other = till.run("statement", "--date", day, "--account", "0" * 64)
    assert (other.returncode, "payee_differs: " in other.stdout) == (1, True)


def test_negative_net_returned_payout_and_tampered_file(
    house: House, till: Till, tmp_path: Path
) -> None:
    clearing = at(house, UNIONPAY)
    first, orders = new_day(clearing, till, "carry", ["tok_approve"] * 2)
    settlement = clearing.stated(first)
    back = clearing.desk("payout", settlement, "--returned", "--reference", "TRF-9")
    assert back.returncode == 0, back.stdout + back.stderr

    # A day with nothing but a chargeback of what was settled: less than came back.
    book = json.loads("\n".join(clearing.acquirer_says("book", "--json")))["references"]
    charged = [line["reference"] for line in book if line["clearing_date"] == first]
    clearing.acquirer_says("chargeback", "--reference", charged[0])
    second = _next(first)
    (file,) = clearing.close_day(second)
    tampered = tmp_path / file.name
    tampered.write_bytes(file.read_bytes().replace(b"-1234", b"-1233"))
    refused = clearing.bring_in(tampered)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "totals_mismatch: " in refused.stderr
    assert clearing.bring_in(file).returncode == 0
    file.chmod(0o600)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(charged[0].encode(), charged[1].encode()))
    refused = clearing.settle(second)
    assert refused.returncode == 1
    assert "file_unknown: the ledger holds another file" in refused.stderr
    file.write_bytes(whole)
    assert clearing.settle(second).returncode == 0
    (made,) = clearing.settlements(second)
    assert (made["carried"], made["net"]) == (2 * 1227, 2 * 1227 - 1234)
    done = clearing.decide("approve", made["settlement"])
    assert done.stdout.endswith(": ok stated\n")

    # Another chargeback, and nothing came back: the net is negative and is carried.
    clearing.acquirer_says("chargeback", "--reference", charged[1])
    third = _next(second)
    settled = clearing.stated(third)
    (made,) = clearing.settlements(third)
    assert (made["status"], made["net"]) == ("carried", -1234)
    refused = clearing.desk("payout", settled, "--paid", "--reference", "TRF-10")
    assert (refused.returncode, "settlement_closed" in refused.stdout) == (1, True)
    for day in (first, second, third):
        shown = till.run("statement", "--date", day)
        assert shown.returncode == 0, shown.stdout + shown.stderr
    assert orders


def test_what_differs_is_named_and_not_settled(house: House, till: Till) -> None:
    clearing = at(house, WALLET)
    day, orders = new_day(clearing, till, "differ", ["tok_approve"] * 2)
    (file,) = clearing.close_day(day)
    lines = file.read_text().splitlines(keepends=False)
    # The acquirer leaves one payment out, and brings one that nobody knows.
    payment, fee = lines[1].split(","), lines[2].split(",")
    payment[2] = fee[2] = "0" * 40
    lines[1:3] = [",".join(payment), ",".join(fee)]
    file.write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    assert clearing.bring_in(file).returncode == 0
    told = clearing.settle(day)
    assert told.returncode == 1
    assert "line_unknown: " + "0" * 40 in told.stdout
    assert "missing_in_file: " in told.stdout
    assert clearing.settlements(day) == []
    shown = till.run("statement", "--date", day)
    assert (shown.returncode, shown.stdout.count("not_settled: ")) == (1, len(orders))


def test_the_auditor_finds_nothing_wrong(house: House) -> None:
    read_ledger(house)


def _next(day: str) -> str:
    from datetime import date, timedelta

    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
