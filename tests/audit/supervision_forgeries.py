"""Forgeries of rules: what a clerk of the supervisor's and two lying peers could write. Each names
the check that must find it."""

from __future__ import annotations

from typing import Any

from forge import Forge, Tx
from payment_forgeries import Forgery, record, writing, written
from rules_of_supervision import BANKS, SECOND, rule, second

from audit.findings import Check

KEY = "rule/R-SPLIT/0001"


def said(forge: Forge, item: dict[str, Any], again: bool = False) -> Tx:
    """The rule's version, said by the supervisor's first or second person."""
    return Tx("SubmitRules", [item], forge.actor(SECOND) if again else ("Supervisor", "supervisor"))


def in_force(forge: Forge, item: dict[str, Any]) -> None:
    forge.add(said(forge, item))
    forge.add(said(forge, item, again=True))


def _a_rule_of_one_person(forge: Forge) -> None:
    forge.add(said(forge, rule()))
    forged = record(forge, KEY) | {"status": "in_force"}
    forge.add(writing(said(forge, rule()), (KEY, forged)))


def _a_rule_softened_for_days_gone_by(forge: Forge) -> None:
    in_force(forge, rule())
    late = second(valid_from="2026-11-01")
    honest = written(forge, said(forge, second()))
    honest["rule/R-SPLIT/0002"]["valid_from"] = "2026-11-01"
    forge.add(writing(said(forge, late), *honest.items()))


def _a_rule_withdrawn_that_never_was(forge: Forge) -> None:
    honest = written(forge, said(forge, rule()))
    item = rule(action="withdraw")
    forge.add(writing(said(forge, item), (KEY, honest[KEY] | {"action": "withdraw"})))


def _a_rule_of_a_banks(forge: Forge) -> None:
    honest = written(forge, said(forge, rule()))
    tx = Tx("SubmitRules", [rule()], forge.actor(BANKS))
    forge.add(writing(tx, (KEY, honest[KEY] | {"msp_id": "BankOne"})))


SUPERVISION_FORGERIES: list[tuple[Forgery, Check]] = [
    (_a_rule_of_one_person, Check.RECORD),
    (_a_rule_softened_for_days_gone_by, Check.RULE),
    (_a_rule_withdrawn_that_never_was, Check.RULE),
    (_a_rule_of_a_banks, Check.ROLE),
]
