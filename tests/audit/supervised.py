"""Ledgers that a rule finds something in, or just not: made by the contract's own decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import contract_world as w
from contract_world import Ledger, intent_item, registered, report_item
from rule_rows import DECLINED, REVERSED, SUCCEEDED, reported
from rules_of_clearing import (
    CHARGEBACK,
    NEXT,
    NOTHING,
    PART,
    RULE,
    filed,
    item,
    paid_out,
    ruling,
    stated,
    with_adjustment,
)
from rules_of_clearing import FILING as FILED
from rules_of_refunds import contradicted, refunding
from rules_of_supervision import SECOND, rule
from samples import INTENT, REFUND

from audit.draft import Record
from audit.jose import strict_json
from audit.supervision.cases import Case
from audit.supervision.run import review
from clearline.clearing_schema import Paid

DAY, NEXT_DAY, THIRD_DAY = "2026-11-23", "2026-11-24", "2026-11-25"
M = INTENT.merchant_id
PAYMENT = f"payment/{M}/{INTENT.order_no}/0001"
SETTLED = f"settlement/unionpay/{w.CODE}/CNY/{DAY}/01"
Given = Callable[[], Ledger]


def records(ledger: Ledger) -> dict[str, Record]:
    """What an auditor derives of it (tests/audit/test_second_readings.py holds that it does)."""
    return {key: strict_json(value) for key, value in ledger.state.items()}


def with_rule(ledger: Ledger, kind: str, parameters: dict[str, int], **changed: Any) -> Ledger:
    """The ledger with one rule in force."""
    said = rule(rule_id=f"R-{kind}", kind=kind, parameters=parameters) | changed
    for who in (w.SUPERVISOR, SECOND):
        assert ledger.codes("SubmitRules", [said], submitter=who) == ["ok"]
    return ledger


def found(
    given: Given, kind: str, parameters: dict[str, int], as_of: str | None = None, **changed: Any
) -> list[Case]:
    """What this one rule finds."""
    ruled = with_rule(given(), kind, parameters, **changed)
    return list(review(records(ruled), as_of).cases)


def sold(*sales: tuple[dict[str, Any], dict[str, Any]]) -> Given:
    """Payments o-1, o-2, ... with these members of the intent and of the result changed."""

    def given() -> Ledger:
        ledger = registered()
        for number, (asked, told) in enumerate(sales, 1):
            of = replace(INTENT, order_no=f"o-{number}", **asked)
            item = intent_item(order_no=of.order_no, **asked)
            assert ledger.codes("SubmitIntents", [item]) == ["ok"]
            assert ledger.codes("SubmitReports", [report_item(of=of, **told)]) == ["ok"]
        return ledger

    return given


def order(number: int) -> str:
    return f"payment/{M}/o-{number}/0001"


def at(*times: str, **told: Any) -> Given:
    """Payments that ended at these times."""
    return sold(*(({}, {"ended_at": f"2026-11-23T08:{one}Z"} | told) for one in times))


def stated_again() -> Ledger:
    """The payout came back; the next day carries it forward and states it."""
    ledger = paid_out(status=Paid.RETURNED)()
    filing = item(FILED, **NEXT, **NOTHING)
    part = item(PART, **NEXT, **NOTHING, carried=PART.net, net=PART.net, entries=())
    assert ledger.codes("SubmitClearing", [filing, part]) == ["ok", "ok"]
    name = f"unionpay/{w.CODE}/CNY/{NEXT_DAY}/01"
    assert ledger.codes(RULE, [ruling(settlement=name)]) == ["ok"]
    return ledger


def equivocated() -> Ledger:
    ledger = reported(SUCCEEDED)()
    assert ledger.codes("SubmitEvidence", [report_item(**DECLINED)]) == ["ok"]
    return ledger


def all_given_back() -> Ledger:
    ledger = reported(SUCCEEDED)()
    of = replace(REFUND, amount=INTENT.amount)
    assert ledger.codes("SubmitIntents", [w.refund_item(amount=of.amount)]) == ["ok"]
    assert ledger.codes("SubmitReports", [w.refund_report_item(of=of)]) == ["ok"]
    return ledger


def names(*shown: str) -> Given:
    return sold(*(({}, {"merchant_name": one}) for one in shown))


@dataclass(frozen=True)
class Firing:
    """A rule that finds exactly this, and just not with other parameters, or on another day."""

    what: str
    kind: str
    given: Given
    fires: dict[str, int]
    not_with: dict[str, int]
    about: tuple[str, ...]
    as_of: str | None = None
    says: str = ""


@dataclass(frozen=True)
class Silent:
    """A ledger in which the strictest rule of the kind finds nothing."""

    what: str
    kind: str
    given: Given
    parameters: dict[str, int]
    as_of: str | None = None


PLACES = {"stores": 9, "terminals": 9, "sites": 9}
TWO_SHOPS = sold(({}, {}), ({"store": "store-2"}, {}))
TWO_TILLS = sold(({}, {}), ({"terminal": "T0000002"}, {}))
TWO_SITES = sold(({}, {}), ({"site": "other.example"}, {}))
BOTH = (order(1), order(2))
THREE = at("00:01.000", "05:00.000", "10:01.000")
ADJUSTED = "adjustment/unionpay/CB-1"
REFUNDED = f"refund/{M}/{INTENT.order_no}/0001/0001"
LATE = reported(DECLINED, SUCCEEDED)
FIRING = [
    Firing("two names", "names_of_code", names("Corner Shop", "Other Shop"),
           {"names": 1}, {"names": 2}, BOTH, says="2 names: 'Corner Shop', 'Other Shop'"),
    Firing("two stores", "places_of_code", TWO_SHOPS,
           PLACES | {"stores": 1}, PLACES | {"stores": 2}, BOTH, says="2 stores"),
    Firing("two terminals", "places_of_code", TWO_TILLS,
           PLACES | {"terminals": 1}, PLACES | {"terminals": 2}, BOTH, says="2 terminals"),
    Firing("two sites", "places_of_code", TWO_SITES,
           PLACES | {"sites": 1}, PLACES | {"sites": 2}, BOTH, says="2 sites"),
    Firing("another name", "register_mismatch", names("Corner Shop", "Other Shop"),
           {"payments": 0}, {"payments": 1}, (order(2),), says="knows it as 'Other Shop'"),
    Firing("a beginning too short to be the name", "register_mismatch", names("Corner"),
           {"payments": 0}, {"payments": 1}, (order(1),), says="knows it as 'Corner'"),
    Firing("another MCC at the acquirer", "register_mismatch", sold(({}, {"mcc": "7995"})),
           {"payments": 0}, {"payments": 1}, (order(1),), says="MCC 7995, registered is 5411"),
    Firing("another MCC in the intent", "register_mismatch", sold(({"mcc": "7995"}, {})),
           {"payments": 0}, {"payments": 1}, (order(1),), says="MCC 7995, registered is 5411"),
    Firing("other goods", "register_mismatch", sold(({"goods_category": "jewels"}, {})),
           {"payments": 0}, {"payments": 1}, (order(1),), says="goods jewels"),
    Firing("not stated", "money_kept", filed(), {"stated_days": 1, "paid_days": 366},
           {"stated_days": 2, "paid_days": 366}, (PAYMENT,), THIRD_DAY, "not stated after 2 days"),
    Firing("not paid", "money_kept", stated, {"stated_days": 366, "paid_days": 1},
           {"stated_days": 366, "paid_days": 2}, (SETTLED,), THIRD_DAY, "not paid after 2 days"),
    Firing("returned", "payout_returned", paid_out(status=Paid.RETURNED), {"days": 1},
           {"days": 2}, (SETTLED,), THIRD_DAY, "came back"),
    Firing("adjusted, by share", "adjustment_share", with_adjustment,
           {"basis_points": 10228, "least": 0}, {"basis_points": 10229, "least": 0}, (ADJUSTED,),
           says=f"adjustments of {-CHARGEBACK} CNY on {DAY}, turnover {INTENT.amount}"),
    Firing("adjusted, by amount", "adjustment_share", with_adjustment,
           {"basis_points": 0, "least": 2999}, {"basis_points": 0, "least": 3000}, (ADJUSTED,)),
    Firing("refunded, by share", "refund_share", refunding({}),
           {"basis_points": 3409, "least": 0}, {"basis_points": 3410, "least": 0}, (REFUNDED,)),
    Firing("refunded, by amount", "refund_share", refunding({}),
           {"basis_points": 0, "least": 999}, {"basis_points": 0, "least": 1000}, (REFUNDED,)),
    # 2933 of 2933: as much as the share allows is not more.
    Firing("refunded whole", "refund_share", all_given_back,
           {"basis_points": 9999, "least": 0}, {"basis_points": 10000, "least": 0}, (REFUNDED,)),
    Firing("split, by count", "splitting", THREE, {"payments": 2, "minutes": 10},
           {"payments": 3, "minutes": 10}, (*BOTH, order(3)), says="3 payments of payer"),
    Firing("split, by time", "splitting", THREE, {"payments": 2, "minutes": 10},
           {"payments": 2, "minutes": 9}, (*BOTH, order(3))),
    Firing("a late success", "left_open", LATE, {"days": 1}, {"days": 2}, (PAYMENT,), THIRD_DAY,
           "a late success of 2933 CNY"),
    Firing("an equivocation", "left_open", equivocated, {"days": 1}, {"days": 2},
           (f"equivocation/{M}/{INTENT.order_no}/0001/0001",), THIRD_DAY, "two reports 1"),
    Firing("an equivocation about a refund", "left_open", contradicted, {"days": 1}, {"days": 2},
           (REFUNDED,), THIRD_DAY, "two reports"),
]  # fmt: skip
SILENT = [
    Silent("one name in two spellings", "names_of_code", names("Corner Shop", "CORNER  SHOP"),
           {"names": 1}),
    Silent("no name is shown", "names_of_code", TWO_SHOPS, {"names": 0}),
    Silent("the name cut off", "register_mismatch", names("CORNER SHO"), {"payments": 0}),
    Silent("stated", "money_kept", stated, {"stated_days": 0, "paid_days": 366}, THIRD_DAY),
    Silent("paid", "money_kept", paid_out(), {"stated_days": 0, "paid_days": 0}, THIRD_DAY),
    Silent("declined", "money_kept", reported(DECLINED), {"stated_days": 0, "paid_days": 0},
           THIRD_DAY),
    Silent("stated again", "payout_returned", stated_again, {"days": 0}, THIRD_DAY),
    Silent("a refund that is not carried out", "refund_share", refunding(),
           {"basis_points": 0, "least": 0}),
    Silent("a refund that was declined", "refund_share", refunding(DECLINED),
           {"basis_points": 0, "least": 0}),
    Silent("payments that were declined", "splitting", at("00:01.000", "00:02.000", **DECLINED),
           {"payments": 1, "minutes": 10}),
    Silent("a late success that was reversed", "left_open", reported(DECLINED, SUCCEEDED, REVERSED),
           {"days": 0}, THIRD_DAY),
]  # fmt: skip
