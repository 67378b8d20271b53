"""A view of the ledger's payments, and the steps of each."""

from __future__ import annotations

from collections.abc import Mapping

from audit.draft import Record, Step
from audit.reports import excepted


class Payments:
    """Payments by ledger key, as the auditor derived them; `steps` of each by the same key."""

    def __init__(self, records: Mapping[str, Record], steps: Mapping[str, list[Step]]) -> None:
        self._records = records
        self.steps = steps

    @property
    def records(self) -> dict[str, Record]:
        """Every payment."""
        return {key: one for key, one in self._records.items() if key.startswith("payment/")}

    @property
    def refunds(self) -> dict[str, Record]:
        """Every refund."""
        return {key: one for key, one in self._records.items() if key.startswith("refund/")}

    def refund_counts(self) -> dict[str, int]:
        """Refunds by status."""
        found: dict[str, int] = {}
        for record in self.refunds.values():
            found[record["status"]] = found.get(record["status"], 0) + 1
        return found

    def counts(self) -> dict[str, int]:
        """Payments by status."""
        found: dict[str, int] = {}
        for record in self.records.values():
            found[record["status"]] = found.get(record["status"], 0) + 1
        return found

    def exceptions(self) -> dict[str, int]:
        """What a supervisor must look at: open exceptions and equivocations."""
        return {
            "open": sum(map(excepted, self.records.values())),
            "equivocations": sum(key.startswith("equivocation/") for key in self._records)
            + sum(len(one["contradictions"]) for one in self.refunds.values()),
        }
