"""The derived records as the rules read them: what was signed, taken out of its texts once.

A payment's day is the clearing date of its result; until there is one, the day its merchant signed
the intent. Its moment is when the bank says that it ended, else when the merchant signed it: times
in signed objects only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from audit.draft import Record
from audit.jose import read

_INTENT: Final = "clearline-intent+jws"
_REPORT: Final = "clearline-report+jws"
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_STATED: Final = ("stated", "carried", "paid", "returned")


@dataclass(frozen=True)
class PaymentFact:
    """A payment. `day` is YYYY-MM-DD, `moment` milliseconds since 1970, `asked` the merchant's
    signed intent and `told` the bank's result (empty: none yet)."""

    key: str
    record: Record
    asked: Mapping[str, Any]
    told: Mapping[str, Any]
    day: str
    moment: int
    payer: str

    @property
    def merchant_id(self) -> str:
        """Whose it is."""
        return str(self.record["merchant_id"])

    @property
    def code(self) -> tuple[str, str]:
        """Acquirer and merchant code."""
        return self.record["acquirer_id"], self.record["merchant_code"]

    @property
    def succeeded(self) -> bool:
        """Whether it was paid."""
        return bool(self.record["status"] == "succeeded")


@dataclass(frozen=True)
class OpenMatter:
    """Something that waits for somebody: a late success without its reversal, or two reports with
    one number. `day` is the newer report's."""

    key: str
    record: Record
    what: str
    day: str


@dataclass(frozen=True)
class Facts:
    """All of them, each by ledger key in order; `latest` is the last clearing date there is."""

    records: Mapping[str, Record]
    payments: tuple[PaymentFact, ...]
    refunds: Mapping[str, Record]
    adjustments: Mapping[str, Record]
    settlements: Mapping[str, Record]
    open_matters: tuple[OpenMatter, ...]
    latest: str

    @classmethod
    def of(cls, records: Mapping[str, Record]) -> Facts:
        """Read the ledger's records, which verification derived."""
        payments = tuple(_payment(key, one) for key, one in _of("payment", records).items())
        refunds = {
            key: one for key, one in _of("refund", records).items() if one["status"] == "succeeded"
        }
        adjustments = _of("adjustment", records)
        settlements = _of("settlement", records)
        days = [
            *(one.day for one in payments if one.told),
            *(one["clearing_date"] for one in refunds.values()),
            *(one["clearing_date"] for one in _of("acquirer_file", records).values()),
            *(one["clearing_date"] for one in adjustments.values()),
        ]
        matters = (*_late(payments, records), *_contradicted(records))
        latest = max(days, default="")
        return cls(records, payments, refunds, adjustments, settlements, matters, latest)

    def is_stated(self, record: Record) -> bool:
        """Whether the settlement that a payment is a line of is stated."""
        settlement = self.settlements.get(f"settlement/{record['settlement']}")
        return settlement is not None and settlement["status"] in _STATED


def _of(kind: str, records: Mapping[str, Record]) -> dict[str, Record]:
    return {key: records[key] for key in sorted(records) if key.startswith(f"{kind}/")}


def _payment(key: str, record: Record) -> PaymentFact:
    asked = read(record["intent"], _INTENT).payload
    told = read(record["result"], _REPORT).payload if record["result"] else {}
    (route,) = (one for one in asked["acquirers"] if one["acquirer_id"] == record["acquirer_id"])
    return PaymentFact(
        key=key,
        record=record,
        asked=asked,
        told=told,
        day=told.get("clearing_date") or asked["created"][:10],
        moment=_milliseconds(told.get("ended_at") or asked["created"]),
        payer=told.get("payer_token") or route["payer_token"],
    )


def _late(payments: tuple[PaymentFact, ...], records: Mapping[str, Record]) -> list[OpenMatter]:
    found = []
    for payment in payments:
        for one in payment.record["exceptions"]:
            if one["status"] == "open":
                kept = f"report/{payment.key.partition('/')[2]}/{one['sequence']:04d}"
                day = _day(records[kept]["report"]) or payment.day
                what = f"a late success of {one['amount']} {one['currency']} is open since {day}"
                found.append(OpenMatter(payment.key, payment.record, what, day))
    return found


def _contradicted(records: Mapping[str, Record]) -> list[OpenMatter]:
    """Nothing on the ledger closes one."""
    found = []
    for key, one in _of("equivocation", records).items():
        day = _day(one["second"]) or one["recorded_at"][:10]
        what = f"{one['acquirer_id']} signed two reports {one['sequence']}, one by {day}"
        found.append(OpenMatter(key, one, what, day))
    for key, one in _of("refund", records).items():
        for other in one["contradictions"]:
            day = _day(other["report"]) or one["requested_at"][:10]
            what = f"{one['acquirer_id']} signed two reports {other['sequence']}, one by {day}"
            found.append(OpenMatter(key, one, what, day))
    return found


def _day(report: str) -> str:
    said = read(report, _REPORT).payload
    return said["clearing_date"] or (said["ended_at"] or said["answered_at"] or "")[:10]


def _milliseconds(time: str) -> int:
    return (datetime.fromisoformat(time) - _EPOCH) // timedelta(milliseconds=1)
