"""Rows of SubmitRules and SubmitCheckpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from contract_world import SUPERVISOR, Ledger
from rule_rows import PAN, Row

RULES, CHECKPOINTS = "SubmitRules", "SubmitCheckpoints"
SECOND = replace(SUPERVISOR, person="person-second-supervisor")
BANKS = replace(SUPERVISOR, msp_id="BankOne")
TODAY, TOMORROW = "2026-11-23", "2026-11-24"
CHECKPOINT: dict[str, Any] = {"block": 7, "header_hash": "1" * 64, "state_digest": "2" * 64}


def rule(**changed: Any) -> dict[str, Any]:
    """An item of SubmitRules, the first version of a rule against splitting."""
    item: dict[str, Any] = {
        "rule_id": "R-SPLIT",
        "version": 1,
        "kind": "splitting",
        "parameters": {"payments": 3, "minutes": 10},
        "valid_from": "2026-11-01",
        "action": "enforce",
    }
    return item | changed


def second(**changed: Any) -> dict[str, Any]:
    """Its second version."""
    return rule(version=2, valid_from=TODAY, parameters={"payments": 5, "minutes": 10}) | changed


def withdrawal(**changed: Any) -> dict[str, Any]:
    return second(action="withdraw") | changed


def said(*items: dict[str, Any]) -> Callable[[], Ledger]:
    """A ledger on which one person has said each of these, in turn."""

    def given() -> Ledger:
        ledger = Ledger()
        for one in items:
            assert ledger.codes(RULES, [one]) == ["ok"]
        return ledger

    return given


def decided(*items: dict[str, Any]) -> Callable[[], Ledger]:
    """A ledger on which two persons have said each of these, in turn."""

    def given() -> Ledger:
        ledger = Ledger()
        for one in items:
            for who in (SUPERVISOR, SECOND):
                assert ledger.codes(RULES, [one], submitter=who) == ["ok"]
        return ledger

    return given


def proposed_second() -> Ledger:
    ledger = decided(rule())()
    assert ledger.codes(RULES, [second()]) == ["ok"]
    return ledger


def checkpointed() -> Ledger:
    ledger = Ledger()
    assert ledger.codes(CHECKPOINTS, [CHECKPOINT]) == ["ok"]
    return ledger


SUPERVISING = [
    Row("proposed", "ok", RULES, rule(), Ledger),
    Row("in force by a second person", "ok", RULES, rule(), said(rule()), SECOND),
    Row("a second version", "ok", RULES, second(), decided(rule())),
    Row("a second version in force", "ok", RULES, second(), proposed_second, SECOND),
    Row("a withdrawal", "ok", RULES, withdrawal(), decided(rule())),
    Row(
        "in force again after a withdrawal",
        "ok",
        RULES,
        second(version=3),
        decided(rule(), withdrawal()),
    ),
    Row("another in the place of a proposal", "ok", RULES, rule(valid_from=TODAY), said(rule())),
    Row(
        "another by a second person is a proposal",
        "ok",
        RULES,
        rule(valid_from=TODAY),
        said(rule()),
        SECOND,
    ),
    Row("1 not an object", "malformed", RULES, 7, Ledger),
    Row("1 a kind that nobody knows", "malformed", RULES, rule(kind="charm"), Ledger),
    Row(
        "1 parameters of another kind", "malformed", RULES, rule(parameters={"days": 1}), Ledger
    ),
    Row(
        "1 a parameter that is no integer",
        "malformed",
        RULES,
        rule(parameters={"payments": "3", "minutes": 10}),
        Ledger,
    ),
    Row("1 a status of its own", "malformed", RULES, rule(status="in_force"), Ledger),
    Row("1 a version 0", "malformed", RULES, rule(version=0), Ledger),
    Row("2 in the rule's id", "card_data_refused", RULES, rule(rule_id=PAN), Ledger),
    Row("3 a bank's supervisor", "role_forbidden", RULES, rule(), Ledger, BANKS),
    Row("4 proposed by this person", "duplicate", RULES, rule(), said(rule())),
    Row("4 decided so", "duplicate", RULES, rule(), decided(rule())),
    Row("4 decided so, by its checker", "duplicate", RULES, rule(), decided(rule()), SECOND),
    Row("5 decided otherwise", "conflict", RULES, rule(valid_from=TODAY), decided(rule())),
    Row("6 a version is left out", "rule_out_of_order", RULES, second(), Ledger),
    Row("6 the one before is proposed", "rule_out_of_order", RULES, second(), said(rule())),
    Row("6 a first withdrawal", "rule_out_of_order", RULES, rule(action="withdraw"), Ledger),
    Row(
        "6 withdrawn already",
        "rule_out_of_order",
        RULES,
        withdrawal(version=3),
        decided(rule(), withdrawal()),
    ),
    Row(
        "7 of another kind",
        "conflict",
        RULES,
        second(kind="left_open", parameters={"days": 1}),
        decided(rule()),
    ),
    Row("8 for yesterday", "change_too_late", RULES, second(valid_from="2026-11-22"),
        decided(rule())),
    Row("8 before the last version", "change_too_late", RULES, second(),
        decided(rule(valid_from=TOMORROW))),
    Row("8 its day has passed when it is said again", "change_too_late", RULES, second(),
        proposed_second, SECOND, timedelta(days=1)),
]  # fmt: skip
CHECKPOINTING = [
    Row("the first of a block", "ok", CHECKPOINTS, CHECKPOINT, Ledger),
    Row("1 not an object", "malformed", CHECKPOINTS, "x", Ledger),
    Row("1 the genesis block", "malformed", CHECKPOINTS, CHECKPOINT | {"block": 0}, Ledger),
    Row(
        "1 a digest of another form",
        "malformed",
        CHECKPOINTS,
        CHECKPOINT | {"state_digest": "2" * 63},
        Ledger,
    ),
    Row("2 a bank's supervisor", "role_forbidden", CHECKPOINTS, CHECKPOINT, Ledger, BANKS),
    Row("1 a card number", "card_data_refused", CHECKPOINTS, CHECKPOINT | {"block": PAN}, Ledger),
    Row("3 the same again", "duplicate", CHECKPOINTS, CHECKPOINT, checkpointed),
    Row(
        "4 another of this block",
        "conflict",
        CHECKPOINTS,
        CHECKPOINT | {"state_digest": "3" * 64},
        checkpointed,
    ),
]
