"""Rules and checkpoints that meet in one list."""

from __future__ import annotations

import json
from typing import Any

from contract_world import SUPERVISOR, Ledger
from rules_of_supervision import (
    CHECKPOINT,
    CHECKPOINTS,
    RULES,
    SECOND,
    TODAY,
    decided,
    rule,
    said,
    second,
    withdrawal,
)


def stored(ledger: Ledger, version: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ledger.state[f"rule/R-SPLIT/{version:04d}"])
    return found


def test_nobody_is_both_persons_in_one_list() -> None:
    ledger = Ledger()
    assert ledger.codes(RULES, [rule(), rule()]) == ["ok", "duplicate"]
    assert stored(ledger)["status"] == "proposed"


def test_two_contents_of_one_version_in_one_list() -> None:
    """The second takes the place of the first, which a second person can no more decide."""
    ledger = Ledger()
    other = rule(valid_from=TODAY)
    assert ledger.codes(RULES, [rule(), other]) == ["ok", "ok"]
    assert stored(ledger)["valid_from"] == TODAY
    assert ledger.codes(RULES, [rule()], submitter=SECOND) == ["ok"]
    assert (stored(ledger)["status"], stored(ledger)["maker"]) == ("proposed", SECOND.person)


def test_a_version_is_decided_and_the_next_proposed_in_one_list() -> None:
    ledger = said(rule())()
    assert ledger.codes(RULES, [rule(), second(), second()], submitter=SECOND) == [
        *("ok", "ok", "duplicate")
    ]
    assert [stored(ledger)["status"], stored(ledger, 2)["status"]] == ["in_force", "proposed"]
    assert stored(ledger)["txs"] == ["tx1", "tx2"]


def test_a_rule_and_its_withdrawal_conflict_in_one_list() -> None:
    """What would be version 2 twice: the later proposal stands, and both persons' word counts
    for that one alone."""
    ledger = decided(rule())()
    both = [second(), withdrawal()]
    assert ledger.codes(RULES, both) == ["ok", "ok"]
    assert ledger.codes(RULES, both, submitter=SECOND) == ["ok", "ok"]
    assert (stored(ledger, 2)["action"], stored(ledger, 2)["maker"]) == ("withdraw", SECOND.person)
    assert ledger.codes(RULES, both[1:], submitter=SUPERVISOR) == ["ok"]
    assert stored(ledger, 2)["status"] == "withdrawn"
    assert stored(ledger)["status"] == "in_force"  # it held until that day


def test_two_checkpoints_of_one_block_in_one_list() -> None:
    ledger = Ledger()
    other = CHECKPOINT | {"state_digest": "3" * 64}
    assert ledger.codes(CHECKPOINTS, [CHECKPOINT, other, CHECKPOINT]) == [
        *("ok", "conflict", "duplicate")
    ]
    (key,) = ledger.state
    assert key == "checkpoint/0000000007"
    assert json.loads(ledger.state[key])["state_digest"] == CHECKPOINT["state_digest"]
