"""Each outcome code that a payment can meet, and the test that reaches it.

Through the whole house where that is possible; else the lowest test that reaches it over real
sockets, and why. A code of the enumeration that is in neither table fails here. That the contract
gives each of its own codes is held by tests/chaincode/test_contract_rules.py.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from clearline.codes import Code

TESTS = Path(__file__).parents[1]
# Registration and webhooks: no payment meets them. They have tests of their own.
OTHERS = frozenset(
    {
        Code.PROPOSAL_UNKNOWN, Code.PROPOSAL_DECIDED, Code.SAME_PERSON, Code.ENTITY_UNKNOWN,
        Code.ACCOUNT_UNKNOWN, Code.ACCOUNT_TAKEN, Code.MERCHANT_CODE_TAKEN, Code.RECORD_EXISTS,
        Code.RECORD_FULL, Code.KEY_REFUSED, Code.CHANGE_TOO_LATE, Code.WEBHOOK_UNKNOWN,
        Code.WEBHOOK_TARGET_REFUSED, Code.WEBHOOK_STALE, Code.WEBHOOK_LIMIT,
        Code.WEBHOOKS_UNAVAILABLE,
    }
)  # fmt: skip
# By real processes: a house of tests/e2e or of tests/security.
HOUSE = {
    Code.OK: "e2e/test_endings.py::test_an_open_exception_is_seen_by_all",
    Code.LATE_SUCCESS: "e2e/test_endings.py::test_an_open_exception_is_seen_by_all",
    Code.EQUIVOCATION: "e2e/test_endings.py::test_a_bank_that_contradicts_itself_is_shown",
    Code.ATTEMPT_OUT_OF_ORDER: (
        "e2e/test_endings.py::test_a_new_attempt_only_after_one_that_ended_without_success"
    ),
    Code.ALREADY_SUCCEEDED: (
        "e2e/test_endings.py::test_a_new_attempt_only_after_one_that_ended_without_success"
    ),
    Code.ALREADY_FINAL: (
        "e2e/test_endings.py::test_a_close_that_comes_too_late_leaves_the_success"
    ),
    Code.PAYMENT_UNKNOWN: "e2e/test_endings.py::test_a_close_twice_of_nothing_and_by_somebody_else",
    Code.KEY_UNKNOWN: "e2e/test_endings.py::test_a_close_twice_of_nothing_and_by_somebody_else",
    Code.MERCHANT_UNKNOWN: (
        "e2e/test_endings.py::test_a_close_twice_of_nothing_and_by_somebody_else"
    ),
    Code.DUPLICATE: "security/test_hostile_reports.py",
    Code.MALFORMED: "security/hostile_intents.py",
    Code.NETWORK_MISMATCH: "security/hostile_intents.py",
    Code.KEY_REVOKED: "security/hostile_intents.py",
    Code.KEY_NOT_YET_VALID: "security/hostile_intents.py",
    Code.SIGNATURE_INVALID: "security/hostile_intents.py",
    Code.ACQUIRER_NOT_ACCEPTABLE: "security/hostile_intents.py",
    Code.MERCHANT_CODE_MISMATCH: "security/hostile_intents.py",
    Code.EXPIRED: "security/hostile_intents.py",
    Code.NOT_YET_VALID: "security/hostile_intents.py",
    Code.CONFLICT: "security/test_hostile_intents.py",
    Code.ROLE_FORBIDDEN: "security/test_hostile_reports.py",
    Code.ACQUIRER_MISMATCH: "security/test_hostile_reports.py",
    Code.INTENT_MISMATCH: "security/test_hostile_reports.py",
    Code.AMOUNT_MISMATCH: "security/test_hostile_reports.py",
    Code.REFERENCE_MISMATCH: "security/test_hostile_reports.py",
    Code.REPORTED_CODE_MISMATCH: "security/test_hostile_reports.py",
    Code.SEQUENCE_GAP: "security/test_hostile_reports.py",
    Code.TRANSITION_FORBIDDEN: "security/test_hostile_reports.py",
    Code.LEASE_LOST: "security/test_hostile_reports.py",
    Code.NO_CONTRADICTION: "security/test_hostile_reports.py",
    Code.ACQUIRER_UNKNOWN: "security/test_hostile_reports.py",
    Code.UNAUTHENTICATED: "security/test_roles_rest.py",
    Code.TOKEN_EXPIRED: "security/test_roles_rest.py",
    Code.NOT_FOUND: "security/test_roles_rest.py",
}
# Below a whole house, which would have to be broken, filled or kept waiting for them.
BELOW = {
    Code.BATCH_TOO_LARGE: "gateway/test_batch.py",
    Code.CARD_DATA_REFUSED: "gateway/test_post.py::test_refused_at_the_door",
    Code.FUNCTION_UNKNOWN: "chaincode/test_contract_rules.py",
    Code.MERCHANT_INACTIVE: "gateway/test_post.py::test_refused_at_the_door",
    Code.ACQUIRER_INACTIVE: "gateway/test_post.py::test_refused_at_the_door",
    Code.CURRENCY_NOT_ACCEPTED: "gateway/test_post.py::test_refused_at_the_door",
    Code.LEASE_TAKEN: "connector/test_takeover.py",
    Code.METHOD_NOT_ALLOWED: "gateway/test_door_forms.py",
    Code.UNSUPPORTED_MEDIA_TYPE: "gateway/test_door_forms.py",
    Code.NOT_ACCEPTABLE: "gateway/test_door_forms.py::test_not_acceptable",
    Code.PAYLOAD_TOO_LARGE: "gateway/test_served.py",
    Code.PARAMETER_INVALID: "gateway/test_door_forms.py",
    Code.RATE_LIMITED: "gateway/test_parts.py::test_limits_are_refused_with_when_to_return",
    Code.OVERLOADED: "gateway/test_parts.py::test_a_full_queue_is_503_and_takes_again_later",
    Code.LEDGER_UNAVAILABLE: (
        "gateway/test_restart.py::test_without_a_committer_posts_are_503_and_reads_go_on"
    ),
    Code.ACQUIRER_UNAVAILABLE: (
        "gateway/test_link.py::test_down_is_refused_before_the_ledger_and_recovery_is_noticed"
    ),
    Code.BLOCK_NOT_REACHED: "gateway/test_reads.py::test_min_block_waits_and_then_says_so",
}


def test_every_code_has_its_place() -> None:
    assert set(Code) == OTHERS | set(HOUSE) | set(BELOW)
    assert not OTHERS & (set(HOUSE) | set(BELOW))
    assert not set(HOUSE) & set(BELOW)


@pytest.mark.parametrize("code", [*HOUSE, *BELOW])
def test_the_named_test_speaks_of_the_code(code: Code) -> None:
    """It is there, and it names the code beside its other assertions."""
    place = (HOUSE | BELOW)[code]
    file, _, name = place.partition("::")
    told = _function(file, name) if name else (TESTS / file).read_text(encoding="utf-8")
    assert re.search(rf'"{code.value}"|\bCode\.{code.name}\b|\b{code.value}\b', told), place


@cache
def _function(file: str, name: str) -> str:
    text = (TESTS / file).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            lines = text.splitlines()
            first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
            return "\n".join(lines[first - 1 : node.end_lineno])
    raise AssertionError(f"no test {name} in tests/{file}")
