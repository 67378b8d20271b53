"""A merchant's settlements of a day, held against its order book.

Pure, and closed: what the gateway says counts for nothing, what the acquiring bank signed counts
when a pinned key verifies it; then every line must be a payment the book has as paid, and every
payment the book has as paid that day must be a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from clearline import clearing
from clearline.clearing import Cleared, Entry, Filing, Part, Payout, SignedClearing, Totals
from clearline.clearing_records import Standing
from clearline.clearing_schema import LineKind
from clearline.codes import Refusal
from clearline.jws import JwsError
from clearline.reports import Report
from clearline.settlement_answers import SettlementAnswer
from merchant.profile import Profile


class Difference(StrEnum):
    """How a settlement and the order book can differ. docs/merchant.md says what each can mean."""

    NOT_SIGNED = "not_signed"  # by a pinned key of that acquirer, about this settlement
    NOT_WHOLE = "not_whole"  # parts are missing, or it does not add up
    FILE = "file_differs"
    PAYEE = "payee_differs"
    PAYOUT = "payout_differs"
    NOT_IN_BOOK = "not_in_book"
    NOT_PAID = "not_paid_in_book"
    AMOUNT = "amount_differs"
    DAY = "day_differs"
    TWICE = "settled_twice"
    NOT_SETTLED = "not_settled"


@dataclass(frozen=True, slots=True)
class Differing:
    """One of them: what it is about, and in words."""

    kind: Difference
    about: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.about}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Booked:
    """An attempt as the order book has it; `report` is the bank's result, checked against today's
    pins, None where it is not paid; `merchant_code` that of the route it went."""

    order_no: str
    attempt: int
    status: str
    merchant_code: str = ""
    report: Report | None = None


class _WrongError(Exception):
    def __init__(self, kind: Difference, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


# By order, attempt and refund: 0 is the payment itself.
Book = Mapping[tuple[str, int, int], Booked]


def compare(
    day: str,
    settlements: Sequence[SettlementAnswer],
    book: Book,
    profile: Profile,
    account_id: str | None = None,
) -> list[Differing]:
    """Everything in which a clearing date's settlements and the order book differ. `account_id`:
    the payee it must be, when the merchant says which."""
    found: list[Differing] = []
    settled: dict[tuple[str, int, int], str] = {}
    for answer in settlements:
        try:
            parts = _proven(answer, profile, account_id)
        except _WrongError as wrong:
            found.append(Differing(wrong.kind, answer.id, wrong.detail))
            continue
        for entry in (entry for part in parts for entry in part.entries):
            if entry.kind in (LineKind.PAYMENT, LineKind.REFUND):
                found += _line(entry, answer, book, settled)
    return found + list(_left(day, book, settled))


def _proven(answer: SettlementAnswer, profile: Profile, account_id: str | None) -> Sequence[Part]:
    """The parts, signed, whole and adding up. Raises _WrongError."""
    parts = [_part(text, answer, profile) for text in answer.parts]
    if not parts or [part.part for part in parts] != list(range(1, parts[0].parts + 1)):
        raise _WrongError(Difference.NOT_WHOLE, f"{len(parts)} parts were shown")
    first = parts[0]
    if any(part.header() != first.header() for part in parts):
        raise _WrongError(Difference.NOT_WHOLE, "the parts have different headers")
    total = Totals()
    for part in parts:
        total = total.plus(part.own_totals)
    lines = sum(len(part.entries) for part in parts)
    if (lines, total) != (first.lines, first.totals):
        raise _WrongError(Difference.NOT_WHOLE, f"{lines} lines come to {tuple(total)}")
    if first.net != total.net + first.carried:
        raise _WrongError(Difference.NOT_WHOLE, f"the net is {first.net}")
    said = (answer.totals, answer.carried, answer.net, answer.account_id, answer.file_digest)
    if said != (total, first.carried, first.net, first.account_id, first.file_digest):
        raise _WrongError(Difference.NOT_WHOLE, "the gateway says something else than the bank")
    _check_file(answer, first, profile)
    if account_id not in (None, first.account_id):
        raise _WrongError(Difference.PAYEE, f"it goes to {first.account_id}")
    _check_payout(answer, first, profile)
    return parts


def _part(text: str, answer: SettlementAnswer, profile: Profile) -> Part:
    said = _verified(text, answer, profile).said
    if not isinstance(said, Part) or said.run != answer.run:
        raise _WrongError(Difference.NOT_SIGNED, "what was signed is no part of it")
    return said


def _check_file(answer: SettlementAnswer, first: Part, profile: Profile) -> None:
    said = None if answer.file is None else _verified(answer.file, answer, profile).said
    if not isinstance(said, Filing):
        raise _WrongError(Difference.FILE, "the acquirer's file is not shown")
    in_file = (said.file_digest, said.lines, said.totals)
    if in_file != (first.file_digest, first.lines, first.totals):
        raise _WrongError(Difference.FILE, f"the acquirer's file comes to {tuple(said.totals)}")


def _check_payout(answer: SettlementAnswer, first: Part, profile: Profile) -> None:
    if answer.status not in (Standing.PAID, Standing.RETURNED):
        return
    said = None if answer.payout is None else _verified(answer.payout, answer, profile).said
    if not isinstance(said, Payout) or said.run != answer.run:
        raise _WrongError(Difference.PAYOUT, f"it is {answer.status} without a payout")
    told = (said.status.value, said.amount, said.account_id)
    if told != (answer.status, first.net, first.account_id):
        raise _WrongError(Difference.PAYOUT, f"the bank signed {told}")


def _verified(text: str, answer: SettlementAnswer, profile: Profile) -> SignedClearing:
    """Signed with a pinned key of that acquirer, about this settlement's account of clearing."""
    try:
        signed = clearing.parse(text)
    except Refusal as refusal:
        raise _WrongError(Difference.NOT_SIGNED, refusal.detail) from None
    key_id = signed.token.key_id
    pinned = profile.pins.keys.get(answer.acquirer_id)
    key = pinned.get(key_id) if pinned is not None else None
    if key is None or key_id in profile.pins.revoked:
        raise _WrongError(Difference.NOT_SIGNED, f"key {key_id} is not pinned for it")
    try:
        key.verify(signed.token)
    except JwsError as error:
        raise _WrongError(Difference.NOT_SIGNED, str(error)) from None
    said: Cleared = signed.said
    about = (said.network, said.merchant_id, said.place)
    if about != (profile.network, profile.merchant_id, answer.place):
        raise _WrongError(
            Difference.NOT_SIGNED, f"it is about {said.merchant_id} {said.place.name}"
        )
    return signed


def _line(
    entry: Entry, answer: SettlementAnswer, book: Book, settled: dict[tuple[str, int, int], str]
) -> Iterable[Differing]:
    key = (entry.name, entry.attempt, entry.number)
    name = _name(*key)
    if key in settled:
        yield Differing(Difference.TWICE, name, f"is in {settled[key]} and {answer.id}")
        return
    settled[key] = answer.id
    booked = book.get(key)
    if booked is None:
        yield Differing(Difference.NOT_IN_BOOK, name, f"{answer.id} has {entry.amount}")
    elif booked.report is None:
        yield Differing(Difference.NOT_PAID, name, f"the book says {booked.status}")
    else:
        yield from _against(entry, answer, booked, booked.report)


def _against(
    entry: Entry, answer: SettlementAnswer, booked: Booked, report: Report
) -> Iterable[Differing]:
    name = _name(entry.name, entry.attempt, entry.number)
    if (entry.amount, answer.currency) != (report.amount, report.currency):
        yield Differing(Difference.AMOUNT, name, f"{entry.amount}, paid were {report.amount}")
    there = (report.acquirer_id, booked.merchant_code)
    if there != (answer.acquirer_id, answer.merchant_code):
        yield Differing(Difference.NOT_PAID, name, f"it was paid at {'/'.join(there)}")
    if report.clearing_date not in (None, answer.clearing_date):
        yield Differing(Difference.DAY, name, f"it cleared on {report.clearing_date}")


def _left(day: str, book: Book, settled: Mapping[tuple[str, int, int], str]) -> Iterable[Differing]:
    for key, booked in book.items():
        report = booked.report
        if report is not None and report.clearing_date == day and key not in settled:
            yield Differing(
                Difference.NOT_SETTLED,
                _name(*key),
                f"{report.amount} {report.currency} of {report.acquirer_id}",
            )


def _name(order_no: str, attempt: int, refund_no: int) -> str:
    payment = f"{order_no}/{attempt}"
    return f"{payment}/refund {refund_no}" if refund_no else payment
