"""After all faults: ledger = acquirer's file = merchant's statement, for every day of either
acquirer.

What was paid, given back and reversed under every fault before is in the acquirer's files of its
days; the bank's clerks settle them, and the merchant's statement finds nothing that differs.
"""

import json
from collections import defaultdict

import pytest
from books import read_ledger
from clearing import Clearing
from faulty_house import FaultyHouse, wait_until

from clearline import reports
from clearline.reports import SignedReport

Day = tuple[int, int]  # minor units paid and given back


def on_the_ledger(faulty: FaultyHouse, acquirer_id: str) -> dict[str, Day]:
    """By clearing date, as the acquirer signed it: what succeeded."""
    paid: dict[str, int] = defaultdict(int)
    returned: dict[str, int] = defaultdict(int)
    seen = read_ledger(faulty.house).payments
    for records, sums in ((seen.records, paid), (seen.refunds, returned)):
        for record in records.values():
            if record["acquirer_id"] == acquirer_id and record["status"] == "succeeded":
                signed: SignedReport = reports.parse_any(record["result"])
                assert signed.report.clearing_date is not None
                sums[signed.report.clearing_date] += record["amount"]
    return {day: (paid[day], returned[day]) for day in {**paid, **returned}}


def test_ledger_files_and_statement_agree_after_all_faults(faulty: FaultyHouse) -> None:
    settled: dict[str, list[str]] = defaultdict(list)
    for acquirer in faulty.house.acquirers:
        clearing = Clearing(faulty.house, acquirer)
        days = on_the_ledger(faulty, acquirer.acquirer_id)
        for day in sorted(days):
            settled[day].append(clearing.stated(day))
            (made,) = clearing.settlements(day)
            assert (made["payments"], made["refunds"]) == days[day]
        # The files by what the acquirer's own book holds of those days.
        book = json.loads("\n".join(clearing.acquirer_says("book", "--json")))
        held = sum(one["net"] for one in book["references"] if one["clearing_date"] in days)
        assert held == sum(paid for paid, _ in days.values())
    if not settled:  # this module alone
        pytest.skip("nothing was paid in this house")
    for day, names in settled.items():
        # The merchant's gateway may be the other bank's, and a moment behind.
        wait_until(lambda day=day: agrees(clearing, day), 10, f"the statement of {day} agrees")
        shown = clearing.statement(day).stdout
        assert [name for name in names if name not in shown] == []


def agrees(clearing: Clearing, day: str) -> bool:
    """Whether the merchant's statement of the day finds no difference; it prints what it does."""
    shown = clearing.statement(day)
    if shown.exit_code:
        print(shown.output)
    return shown.exit_code == 0
