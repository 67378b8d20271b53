"""Each kind of rule fires, and just doesn't; what holds when; findings and how they are written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from contract_world import Ledger, intent_item, registered, report_item
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_rows import DECLINED
from rules_of_supervision import SECOND, decided, rule, second, withdrawal
from samples import INTENT
from supervised import (
    DAY,
    FIRING,
    LATE,
    NEXT_DAY,
    SILENT,
    THIRD_DAY,
    Firing,
    Silent,
    at,
    found,
    order,
    records,
    with_rule,
)

from audit.supervision.cases import Version, versions
from audit.supervision.run import KINDS, review
from audit.supervision_forms import PARAMETERS as READ
from clearline.supervision import PARAMETERS, RuleKind


@pytest.mark.parametrize("row", FIRING, ids=lambda row: row.what)
def test_a_rule_fires_and_just_does_not(row: Firing) -> None:
    (case,) = found(row.given, row.kind, row.fires, row.as_of)
    assert case.about == tuple(sorted(row.about))
    assert row.says in case.detail
    assert (case.merchant_id, case.kind, case.version) == (INTENT.merchant_id, row.kind, 1)
    assert found(row.given, row.kind, row.not_with, row.as_of) == []


@pytest.mark.parametrize("row", SILENT, ids=lambda row: row.what)
def test_what_a_rule_is_silent_about(row: Silent) -> None:
    assert found(row.given, row.kind, row.parameters, row.as_of) == []


def test_every_kind_is_known_to_all_and_fires() -> None:
    kinds = set(RuleKind)
    assert set(KINDS) == set(PARAMETERS) == set(READ) == {row.kind for row in FIRING} == kinds
    for kind in kinds:
        assert set(PARAMETERS[kind].members) == set(READ[kind].members)


def test_what_is_late_is_late_as_of_the_last_clearing_date() -> None:
    """By default nothing is late on a ledger that stands still."""
    assert found(LATE, "left_open", {"days": 0}) == []
    assert len(found(LATE, "left_open", {"days": 0}, NEXT_DAY)) == 1


def test_a_rule_looks_at_no_day_before_its_own() -> None:
    times = ("00:01.000", "00:02.000")
    parameters = {"payments": 1, "minutes": 1}
    assert len(found(at(*times), "splitting", parameters, valid_from=DAY)) == 1
    assert found(at(*times), "splitting", parameters, valid_from=NEXT_DAY) == []


def test_a_proposed_rule_finds_nothing() -> None:
    ledger = at("00:01.000", "00:02.000")()
    item = rule(parameters={"payments": 1, "minutes": 1})
    assert ledger.codes("SubmitRules", [item]) == ["ok"]
    assert review(records(ledger)).cases == ()
    assert ledger.codes("SubmitRules", [item], submitter=SECOND) == ["ok"]
    assert len(review(records(ledger)).cases) == 1


def held(*items: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(one.version, one.since, one.until) for one in versions(records(decided(*items)()))]


def test_versions_follow_one_another() -> None:
    tomorrow = second(valid_from=NEXT_DAY)
    assert held(rule(), tomorrow) == [(1, "2026-11-01", NEXT_DAY), (2, NEXT_DAY, "9999-99-99")]
    assert held(rule(), withdrawal(valid_from=NEXT_DAY)) == [(1, "2026-11-01", NEXT_DAY)]
    again = second(version=3, valid_from=THIRD_DAY)
    assert held(rule(), withdrawal(valid_from=NEXT_DAY), again) == [
        *((1, "2026-11-01", NEXT_DAY), (3, THIRD_DAY, "9999-99-99"))
    ]
    # Of two for one day the later counts, and a withdrawal on the first day leaves nothing.
    assert held(rule(valid_from=DAY), second()) == [(2, DAY, "9999-99-99")]
    assert held(rule(valid_from=DAY), withdrawal()) == []


def test_a_version_that_one_person_has_said_ends_none() -> None:
    ledger = decided(rule())()
    assert ledger.codes("SubmitRules", [withdrawal(valid_from=NEXT_DAY)]) == ["ok"]
    (version,) = versions(records(ledger))
    assert (version.version, version.ends) == (1, False)


def test_a_run_of_payments_is_found_once_and_another_beside_it() -> None:
    times = ("00:00.000", "01:00.000", "02:00.000", "30:00.000", "31:00.000", "32:00.000")
    cases = found(at(*times), "splitting", {"payments": 1, "minutes": 2})
    assert [case.about for case in cases] == [
        *((order(1), order(2), order(3)), (order(4), order(5), order(6)))
    ]


def test_payers_are_told_apart() -> None:
    ledger = registered()
    for number, payer in enumerate(("tok_a", "tok_b"), 1):
        of = replace(INTENT, order_no=f"o-{number}")
        assert ledger.codes("SubmitIntents", [intent_item(order_no=of.order_no)]) == ["ok"]
        told = report_item(of=of, payer_token=payer)
        assert ledger.codes("SubmitReports", [told]) == ["ok"]
    with_rule(ledger, "splitting", {"payments": 1, "minutes": 10})
    assert review(records(ledger)).cases == ()


def test_a_findings_evidence_names_transactions_and_blocks() -> None:
    (case,) = found(LATE, "left_open", {"days": 0}, NEXT_DAY)
    payment = records(LATE())[case.about[0]]
    shown = case.to_json(dict.fromkeys(payment["txs"], 7))
    assert shown["evidence"] == [{"tx_id": one, "block": 7} for one in sorted(payment["txs"])]
    assert (shown["rule"], shown["version"], shown["kind"]) == ("R-left_open", 1, "left_open")


def test_a_version_knows_its_days() -> None:
    version = Version("R", 1, "left_open", {"days": 1}, DAY, THIRD_DAY)
    assert [version.holds(day) for day in ("2026-11-22", DAY, NEXT_DAY, THIRD_DAY)] == [
        *(False, True, True, False)
    ]


# Three orders are asked for and end; the last is declined and has a late success.
ORDERS = tuple(replace(INTENT, order_no=f"o-{n}", store=f"store-{n}") for n in (1, 2, 3))
EVENTS: tuple[tuple[str, Any], ...] = (
    *(("SubmitIntents", intent_item(order_no=of.order_no, store=of.store)) for of in ORDERS),
    ("SubmitReports", report_item(of=ORDERS[0])),
    ("SubmitReports", report_item(of=ORDERS[1])),
    ("SubmitReports", report_item(of=ORDERS[2], **DECLINED)),
    ("SubmitReports", report_item(of=ORDERS[2], sequence=2)),
)
STRICT = (
    ("places_of_code", {"stores": 1, "terminals": 1, "sites": 1}),
    ("splitting", {"payments": 1, "minutes": 1}),
    ("money_kept", {"stated_days": 0, "paid_days": 0}),
    ("left_open", {"days": 0}),
)


def strictly_ruled() -> Ledger:
    ledger = registered()
    for kind, parameters in STRICT:
        with_rule(ledger, kind, parameters)
    return ledger


RULED = strictly_ruled()


def batched(cuts: set[int]) -> Ledger:
    """All events in their order, a new transaction after each cut, and where the function ends."""
    ledger, waiting = RULED.copy(), list[Any]()
    for index, (name, item) in enumerate(EVENTS):
        waiting.append(item)
        following = EVENTS[index + 1][0] if index + 1 < len(EVENTS) else ""
        if index in cuts or following != name:
            ledger.submit(name, waiting)
            waiting = []
    return ledger


def told(ledger: Ledger) -> list[str]:
    cases = review(records(ledger), THIRD_DAY).cases
    return [json.dumps([one.rule_id, one.detail, one.about]) for one in cases]


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, len(EVENTS) - 1)))
def test_findings_do_not_depend_on_batching(cuts: set[int]) -> None:
    apart = told(batched(set(range(len(EVENTS)))))
    assert told(batched(cuts)) == apart
    assert {json.loads(one)[0] for one in apart} == {f"R-{kind}" for kind, _ in STRICT}
