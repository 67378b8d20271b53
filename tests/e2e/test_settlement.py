"""From the acquirer's file to the merchant's statement, through the whole house.

The acquirer's day is closed by asking for its file, so each test has days of its own: what is paid
after it clears on the next one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from books import read_ledger
from clearing import Clearing, next_day
from counter import UNIONPAY, WALLET, Till, numbered, wait_until

from clearline.house.layout import House


def at(house: House, acquirer_id: str) -> Clearing:
    (acquirer,) = (one for one in house.acquirers if one.acquirer_id == acquirer_id)
    return Clearing(house, acquirer)


def paid(clearing: Clearing, till: Till, prefix: str, tokens: list[str]) -> str:
    """A clearing date that holds only these orders."""
    day = clearing.new_day()
    till.run("pay", *till.take(numbered(prefix, clearing.acquirer.acquirer_id, tokens)))
    return day


@pytest.mark.parametrize("acquirer_id", [UNIONPAY, WALLET])
def test_ledger_file_and_statement_are_equal(house: House, till: Till, acquirer_id: str) -> None:
    clearing = at(house, acquirer_id)
    refused = "tok_insufficient_funds" if acquirer_id == UNIONPAY else "tok_refuse"
    day = paid(clearing, till, f"settle-{acquirer_id}", ["tok_approve"] * 3 + [refused])
    before = clearing.statement(day)
    assert before.exit_code == 1
    assert before.stdout.count("not_settled: ") == 3

    settlement = clearing.stated(day)
    (made,) = clearing.settlements(day)
    # 60 basis points of 12.34 are 7.404: 7 minor units each.
    assert (made["payments"], made["fees"], made["net"]) == (3 * 1234, 3 * 7, 3 * 1227)
    gone = clearing.desk("payout", settlement, "--paid", "--reference", "TRF-1")
    assert gone.exit_code == 0, gone.output
    # The merchant's gateway may be the other bank's, and a moment behind.
    wait_until(lambda: f"{settlement}: paid, 6 lines" in clearing.statement(day).stdout, "paid")
    shown = clearing.statement(day)
    assert shown.exit_code == 0, shown.output
    # To repeat a step does no harm.
    (file,) = clearing.close_day(day)
    assert clearing.bring_in(file).stdout.rstrip().endswith(": duplicate")
    assert clearing.settle(day).stdout == f"{settlement}: paid\n"
    other = clearing.statement(day, "--account", "0" * 64)
    assert (other.exit_code, "payee_differs: " in other.stdout) == (1, True)


def test_negative_net_returned_payout_and_tampered_file(
    house: House, till: Till, tmp_path: Path
) -> None:
    clearing = at(house, UNIONPAY)
    first = paid(clearing, till, "carry", ["tok_approve"] * 2)
    settlement = clearing.stated(first)
    back = clearing.desk("payout", settlement, "--returned", "--reference", "TRF-9")
    assert back.exit_code == 0, back.output

    # A day with nothing but a chargeback of what was settled: less than came back.
    book = json.loads("\n".join(clearing.acquirer_says("book", "--json")))["references"]
    charged = [line["reference"] for line in book if line["clearing_date"] == first]
    clearing.acquirer_says("chargeback", "--reference", charged[0])
    second = next_day(first)
    (file,) = clearing.close_day(second)
    tampered = tmp_path / file.name
    tampered.write_bytes(file.read_bytes().replace(b"-1234", b"-1233", 1))
    refused = clearing.bring_in(tampered)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "totals_mismatch: " in refused.stderr
    assert clearing.bring_in(file).exit_code == 0
    file.chmod(0o600)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(charged[0].encode(), charged[1].encode()))
    refused = clearing.settle(second)
    assert refused.exit_code == 1
    assert "file_unknown: the ledger holds another file" in refused.stderr
    file.write_bytes(whole)
    assert clearing.settle(second).exit_code == 0
    (made,) = clearing.settlements(second)
    assert (made["carried"], made["net"]) == (2 * 1227, 2 * 1227 - 1234)
    done = clearing.decide("approve", made["settlement"])
    assert done.stdout.endswith(": ok stated\n")

    # Another chargeback, and nothing came back: the net is negative and is carried.
    clearing.acquirer_says("chargeback", "--reference", charged[1])
    third = next_day(second)
    settled = clearing.stated(third)
    (made,) = clearing.settlements(third)
    assert (made["status"], made["net"]) == ("carried", -1234)
    refused = clearing.desk("payout", settled, "--paid", "--reference", "TRF-10")
    assert (refused.exit_code, "settlement_closed" in refused.stdout) == (1, True)
    wait_until(lambda: f"{settled}: carried" in clearing.statement(third).stdout, "carried")
    for day in (first, second, third):
        shown = clearing.statement(day)
        assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize("acquirer_id", [UNIONPAY, WALLET])
def test_a_refund_is_a_line_of_its_day(house: House, till: Till, acquirer_id: str) -> None:
    clearing = at(house, acquirer_id)
    day = paid(clearing, till, f"back-{acquirer_id}", ["tok_approve"] * 2)
    given = till.refund(f"back-{acquirer_id}-000")
    assert given.returncode == 0, given.stdout + given.stderr
    settlement = clearing.stated(day)
    (made,) = clearing.settlements(day)
    new = made["net"] - made["carried"]  # of the days before
    assert (made["payments"], made["refunds"], new) == (2 * 1234, 1234, 2 * 1227 - 1234)
    told = f"{settlement}: {made['status']}, 5 lines"
    wait_until(lambda: told in clearing.statement(day).stdout, told)
    shown = clearing.statement(day)
    assert shown.exit_code == 0, shown.output


def test_what_differs_is_named_and_not_settled(house: House, till: Till) -> None:
    clearing = at(house, WALLET)
    day = paid(clearing, till, "differ", ["tok_approve"] * 2)
    (file,) = clearing.close_day(day)
    lines = file.read_text().splitlines(keepends=False)
    # The acquirer leaves one payment out, and brings one that nobody knows.
    payment, fee = lines[1].split(","), lines[2].split(",")
    payment[2] = fee[2] = "0" * 40
    lines[1:3] = [",".join(payment), ",".join(fee)]
    file.write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    assert clearing.bring_in(file).exit_code == 0
    told = clearing.settle(day)
    assert told.exit_code == 1
    assert "line_unknown: " + "0" * 40 in told.stdout
    assert "missing_in_file: " in told.stdout
    assert clearing.settlements(day) == []
    shown = clearing.statement(day)
    assert (shown.exit_code, shown.stdout.count("not_settled: ")) == (1, 2)


def test_the_auditor_finds_nothing_wrong(house: House) -> None:
    read_ledger(house)
