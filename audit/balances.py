"""A view of the ledger's settlements: how they stand, and money that was left out of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from audit.draft import Record
from audit.jose import read

_REPORT: Final = "clearline-report+jws"
_DECIDED: Final = ("stated", "carried", "paid", "returned")


class Balances:
    """Settlements as the auditor derived them."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records

    def counts(self) -> dict[str, int]:
        """Settlements by status."""
        found: dict[str, int] = {}
        for key, record in self._records.items():
            if key.startswith("settlement/"):
                found[record["status"]] = found.get(record["status"], 0) + 1
        return found

    def left_out(self) -> list[str]:
        """Payments that succeeded and whose day is settled without them, by ledger key: the
        acquirer's file did not have them, so the merchant was not paid."""
        through = {
            key.partition("/")[2]: record["through"]
            for key, record in self._records.items()
            if key.startswith("statement/")
        }
        return [
            key
            for key, record in self._records.items()
            if through and key.startswith("payment/") and self._is_left_out(record, through)
        ]

    def _is_left_out(self, payment: Record, through: Mapping[str, str]) -> bool:
        names = ("acquirer_id", "merchant_code", "currency")
        last = through.get("/".join(payment[name] for name in names), "")
        if payment["status"] != "succeeded" or not last:
            return False
        settlement = self._records.get(f"settlement/{payment['settlement']}")
        if settlement is not None and settlement["status"] in _DECIDED:
            return False
        day = read(payment["result"], _REPORT).payload["clearing_date"]
        return day is not None and day <= last
