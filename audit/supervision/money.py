"""Kinds of rule against second clearance and money kept, and against split payments.

money_kept        a succeeded payment is in no stated settlement more than `stated_days` after its
                  clearing date, or a stated one is not paid `paid_days` after its clearing date
payout_returned   a payout came back, and `days` after its clearing date no later settlement of that
                  code and currency is stated
adjustment_share  a merchant's adjustments of a day come, without their signs, to more than `least`
                  and to more than `basis_points` of the day's turnover
refund_share      the same of its refunds
splitting         more than `payments` succeeded payments of one payer token at one merchant within
                  `minutes`
left_open         a late success without its reversal, or two reports with one number, for more than
                  `days`
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from audit.draft import Record
from audit.supervision.cases import Case, Version, case, days_between
from audit.supervision.facts import Facts, PaymentFact

_MINUTE: Final = 60_000
_WHOLE: Final = 10_000  # basis points
# Whose money of which day: acquirer, merchant code, currency, clearing date.
_ACCOUNT: Final = ("acquirer_id", "merchant_code", "currency")


def money_kept(version: Version, facts: Facts, as_of: str) -> Iterator[Case]:
    """False positives: days on which banks don't clear; a day whose settlement was rejected and is
    made again."""
    left: dict[tuple[str, ...], list[PaymentFact]] = defaultdict(list)
    for payment in facts.payments:
        if payment.succeeded and version.holds(payment.day) and not facts.is_stated(payment.record):
            account = tuple(payment.record[name] for name in _ACCOUNT)
            left[(*account, payment.day)].append(payment)
    for account, payments in left.items():
        late = days_between(account[-1], as_of)
        if late > version["stated_days"]:
            money = sum(one.record["amount"] for one in payments)
            yield case(
                version,
                payments[0].merchant_id,
                f"{len(payments)} payments of {money} at {'/'.join(account)} are not stated "
                f"after {late} days",
                {one.key: one.record for one in payments},
            )
    for key, one in facts.settlements.items():
        late = days_between(one["clearing_date"], as_of)
        if one["status"] != "stated" or not version.holds(one["clearing_date"]):
            continue
        if late > version["paid_days"]:
            said = f"{one['net']} {one['currency']} are stated and not paid after {late} days"
            yield case(version, one["merchant_id"], said, {key: one})


def payout_returned(version: Version, facts: Facts, as_of: str) -> Iterator[Case]:
    """False positives: a merchant that sells nothing more, to which the bank pays by hand."""
    last: dict[tuple[str, ...], str] = {}
    for one in facts.settlements.values():
        if one["status"] in ("stated", "carried", "paid", "returned"):
            account = tuple(one[name] for name in _ACCOUNT)
            last[account] = max(last.get(account, ""), one["clearing_date"])
    for key, one in facts.settlements.items():
        day = one["clearing_date"]
        if one["status"] != "returned" or not version.holds(day):
            continue
        late = days_between(day, as_of)
        if last[tuple(one[name] for name in _ACCOUNT)] == day and late > version["days"]:
            said = f"{one['net']} {one['currency']} came back and are not stated again"
            yield case(version, one["merchant_id"], f"{said} after {late} days", {key: one})


def adjustment_share(version: Version, facts: Facts, _: str) -> Iterator[Case]:
    """False positives: chargebacks of a busy day that come on a quiet one."""
    yield from _shares(version, facts, facts.adjustments, "adjustments")


def refund_share(version: Version, facts: Facts, _: str) -> Iterator[Case]:
    """False positives: goods sent back after a sale, a shop that closes."""
    yield from _shares(version, facts, facts.refunds, "refunds")


def _shares(
    version: Version, facts: Facts, moved: Mapping[str, Record], what: str
) -> Iterator[Case]:
    turnover: dict[tuple[str, str, str], int] = defaultdict(int)
    for payment in facts.payments:
        if payment.succeeded:
            account = (payment.merchant_id, payment.record["currency"], payment.day)
            turnover[account] += payment.record["amount"]
    found: dict[tuple[str, str, str], dict[str, Record]] = defaultdict(dict)
    for key, one in moved.items():
        if version.holds(one["clearing_date"]):
            found[one["merchant_id"], one["currency"], one["clearing_date"]][key] = one
    for account, about in found.items():
        merchant_id, currency, day = account
        came, base = sum(abs(one["amount"]) for one in about.values()), turnover[account]
        if came > version["least"] and came * _WHOLE > version["basis_points"] * base:
            said = f"{what} of {came} {currency} on {day}, turnover {base}"
            yield case(version, merchant_id, said, about)


def splitting(version: Version, facts: Facts, _: str) -> Iterator[Case]:
    """False positives: a canteen's card, a payer who shares a token."""
    by_payer: dict[tuple[str, str, str], list[PaymentFact]] = defaultdict(list)
    for one in facts.payments:
        if one.succeeded and version.holds(one.day):
            by_payer[one.merchant_id, one.record["acquirer_id"], one.payer].append(one)
    for (merchant_id, acquirer_id, payer), payments in by_payer.items():
        for run in _runs(payments, version["minutes"] * _MINUTE, version["payments"]):
            yield case(
                version,
                merchant_id,
                f"{len(run)} payments of payer {payer} at {acquirer_id} "
                f"within {(run[-1].moment - run[0].moment) // _MINUTE} minutes",
                {one.key: one.record for one in run},
            )


def _runs(payments: Iterable[PaymentFact], span: int, most: int) -> Iterator[list[PaymentFact]]:
    """Runs of more than `most` payments that are at most `span` milliseconds apart, each payment
    in one at most."""
    waiting = sorted(payments, key=lambda one: (one.moment, one.key))
    start = 0
    while start < len(waiting):
        end = start
        while end < len(waiting) and waiting[end].moment - waiting[start].moment <= span:
            end += 1
        if end - start > most:
            yield waiting[start:end]
            start = end
        else:
            start += 1


def left_open(version: Version, facts: Facts, as_of: str) -> Iterator[Case]:
    """False positives: two reports with one number whose money was put right outside the ledger;
    nothing on it closes one."""
    for one in facts.open_matters:
        if version.holds(one.day) and days_between(one.day, as_of) > version["days"]:
            yield case(version, one.record["merchant_id"], one.what, {one.key: one.record})
