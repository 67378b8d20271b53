"""The auditor's model of leases: which epoch of an acquirer's connectors is in force."""

from __future__ import annotations

from audit.findings import Check, Wrong
from audit.invocation import Invocation
from audit.registry import Record, Registry, difference


class Leases:
    """Leases by ledger key."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.records: dict[str, Record] = {}

    def epoch(self, acquirer_id: str) -> int:
        """The epoch in force, 0 before the first lease."""
        lease = self.records.get(f"lease/{acquirer_id}")
        return 0 if lease is None else int(lease["epoch"])

    def apply(self, invocation: Invocation, writes: dict[str, Record | None]) -> None:
        """Check and take a transaction's takeovers. Raises Wrong, and then takes nothing."""
        if not writes:
            return
        invocation.require("TakeLease", ("connector",), "a lease")
        expected: dict[str, Record] = {}
        for item in invocation.items:
            if isinstance(item, dict) and set(item) == {"acquirer_id", "epoch", "holder"}:
                self._take(item, invocation, expected)
        for key, written in writes.items():
            if key not in expected:
                raise Wrong(Check.LEASE, f"{key} is written without a takeover by its bank in turn")
            if written != expected[key]:
                raise Wrong(Check.LEASE, f"{key}: {difference(expected[key], written)}")
        self.records.update(expected)

    def _take(self, item: Record, invocation: Invocation, expected: dict[str, Record]) -> None:
        key = f"lease/{item['acquirer_id']}"
        acquirer = self._registry.get("acquirer", str(item["acquirer_id"]))
        before = expected.get(key) or self.records.get(key)
        due = 1 if before is None else before["epoch"] + 1
        if acquirer is None or acquirer["msp_id"] != invocation.submitter.msp_id:
            return
        if item["epoch"] == due:
            expected[key] = {
                **item,
                "type": "lease",
                "msp_id": acquirer["msp_id"],
                "txs": [*(before["txs"] if before else []), invocation.tx_id],
            }
