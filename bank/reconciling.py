"""An acquirer's file against the ledger, line by line: what can be settled, and what differs.

Pure. Nothing that differs is settled, and nothing is passed over: a settlement is of the whole
file or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bank.acquirer_file import DailyFile, Row
from clearline import reports
from clearline.clearing import Entry, Place
from clearline.clearing_records import AdjustmentRecord
from clearline.clearing_schema import MAX_ENTRIES, LineKind
from clearline.records import Payment
from clearline.refunds import Refund
from clearline.statuses import Status


class Difference(StrEnum):
    """How a line of the file and the ledger can differ."""

    UNKNOWN = "line_unknown"
    AMOUNT = "amount_differs"
    DAY = "day_differs"
    SETTLED = "already_settled"
    MISSING = "missing_in_file"
    TWICE = "twice_in_file"
    FEE = "fee_of_nothing"


@dataclass(frozen=True, slots=True)
class Differing:
    """One of them: the reference, and in words."""

    kind: Difference
    reference: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reference}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The lines of the settlement in the file's order, and what differs."""

    entries: tuple[Entry, ...]
    differences: tuple[Differing, ...]


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the ledger holds of an account of clearing: payments of every day at this code by the
    reference they have at the acquirer, refunds by theirs, adjustments by the acquirer's own."""

    place: Place
    payments: Mapping[str, Payment]
    refunds: Mapping[str, Refund]
    adjustments: Mapping[str, AdjustmentRecord]


def reconcile(file: DailyFile, ledger: Ledger) -> Reconciled:
    """Hold each line against the ledger, and the ledger's payments of that day against the file."""
    entries: list[Entry] = []
    differences: list[Differing] = []
    seen: dict[tuple[LineKind, str], None] = {}
    last: Entry | None = None
    for row in file.rows:
        mark = (row.kind, row.own_reference)
        if mark in seen:
            differences.append(_differing(Difference.TWICE, row, "its line is there twice"))
            continue
        seen[mark] = None
        found = _fee(row, last, ledger) if row.kind is LineKind.FEE else _entry(row, ledger)
        if isinstance(found, Differing):
            differences.append(found)
        else:
            entries.append(found)
        if row.kind is not LineKind.FEE:
            last = found if isinstance(found, Entry) else None
    money = (LineKind.PAYMENT, LineKind.REFUND)
    in_file = frozenset(row.reference for row in file.rows if row.kind in money)
    differences += _missing(in_file, ledger)
    return Reconciled(tuple(entries), tuple(differences))


def _entry(row: Row, ledger: Ledger) -> Entry | Differing:
    if row.kind is LineKind.ADJUSTMENT:
        made = ledger.adjustments.get(row.own_reference)
        if made is None:
            return _differing(Difference.UNKNOWN, row, "the ledger holds no such adjustment")
        if made.amount != row.amount:
            return _differing(Difference.AMOUNT, row, f"{row.amount}, the ledger {made.amount}")
        entry = Entry(row.kind.value, row.own_reference, 0, 0, row.amount)
        return _unless_settled(made.settlement, row, entry, ledger)
    if row.kind is LineKind.REFUND:
        return _refund(row, ledger)
    payment = ledger.payments.get(row.reference)
    if payment is None or payment.status != Status.SUCCEEDED:
        state = "holds no such payment" if payment is None else f"says {payment.status}"
        return _differing(Difference.UNKNOWN, row, f"line {row.number}: the ledger {state}")
    if payment.amount != row.amount:
        return _differing(Difference.AMOUNT, row, f"{row.amount}, the ledger {payment.amount}")
    day = day_of(payment)
    if day not in ("", ledger.place.clearing_date):
        return _differing(Difference.DAY, row, f"the bank reported {day}")
    entry = Entry(row.kind.value, payment.order_no, payment.attempt, 0, row.amount)
    return _unless_settled(payment.settlement, row, entry, ledger)


def _refund(row: Row, ledger: Ledger) -> Entry | Differing:
    refund = ledger.refunds.get(row.reference)
    if refund is None or refund.status != Status.SUCCEEDED:
        state = "holds no such refund" if refund is None else f"says {refund.status}"
        return _differing(Difference.UNKNOWN, row, f"line {row.number}: the ledger {state}")
    if refund.amount != row.amount:
        return _differing(Difference.AMOUNT, row, f"{row.amount}, the ledger {refund.amount}")
    if refund.clearing_date not in ("", ledger.place.clearing_date):
        return _differing(Difference.DAY, row, f"the bank reported {refund.clearing_date}")
    entry = Entry(row.kind.value, refund.order_no, refund.attempt, refund.refund_no, row.amount)
    return _unless_settled(refund.settlement, row, entry, ledger)


def _unless_settled(before: str, row: Row, entry: Entry, ledger: Ledger) -> Entry | Differing:
    # An earlier run of this very day was rejected, or it is the maker's own, begun before.
    under_way = before.startswith(f"{ledger.place.name}/")
    if before and not under_way:
        return _differing(Difference.SETTLED, row, f"it is in {before}")
    return entry


def _fee(row: Row, last: Entry | None, ledger: Ledger) -> Entry | Differing:
    payment = ledger.payments.get(row.reference)
    if last is None or payment is None or (payment.order_no, payment.attempt) != last[1:3]:
        return _differing(Difference.FEE, row, f"line {row.number} follows no line it is of")
    return Entry(row.kind.value, last.name, last.attempt, last.number, row.amount)


def _missing(in_file: frozenset[str], ledger: Ledger) -> Iterable[Differing]:
    for reference, payment in ledger.payments.items():
        due = payment.status == Status.SUCCEEDED and day_of(payment) == ledger.place.clearing_date
        if due and payment.currency == ledger.place.currency and reference not in in_file:
            yield Differing(
                Difference.MISSING,
                reference,
                f"{payment.order_no}/{payment.attempt} succeeded with {payment.amount}",
            )
    for reference, refund in ledger.refunds.items():
        there = (refund.clearing_date, refund.currency)
        due = there == (ledger.place.clearing_date, ledger.place.currency)
        if refund.status == Status.SUCCEEDED and due and reference not in in_file:
            told = f"refund {refund.refund_no} of {refund.order_no} succeeded with {refund.amount}"
            yield Differing(Difference.MISSING, reference, told)


def day_of(payment: Payment) -> str:
    """The clearing date in the result that ended a payment; empty when it has none."""
    if not payment.result:
        return ""
    return reports.parse(payment.result).report.clearing_date or ""


def in_parts(entries: Sequence[Entry]) -> list[tuple[Entry, ...]]:
    """The lines in parts that one signed text can hold, at least one; no fee without its line."""
    parts: list[list[Entry]] = [[]]
    for index, entry in enumerate(entries):
        fee_next = index + 1 < len(entries) and entries[index + 1].kind == LineKind.FEE
        if entry.kind != LineKind.FEE and len(parts[-1]) + 1 + fee_next > MAX_ENTRIES:
            parts.append([])
        parts[-1].append(entry)
    return [tuple(part) for part in parts]


def _differing(kind: Difference, row: Row, detail: str) -> Differing:
    reference = row.own_reference if row.kind is LineKind.ADJUSTMENT else row.reference
    return Differing(kind, reference, detail)
