"""Each outcome code that a payment can meet, and the test that reaches it.

Through the whole house where that is possible: what is said here is held against what those tests
observed, at the end of the session (tests/conftest.py). Else the lowest test that reaches it over
real sockets, and why; that test asserts it. That the contract gives each of its own codes is held
by tests/chaincode/test_contract_rules.py.
"""

from clearline.codes import Code

# Registration, clearing, supervision, webhooks: no payment meets them; they have their own tests.
OTHERS = frozenset(
    {
        Code.PROPOSAL_UNKNOWN, Code.PROPOSAL_DECIDED, Code.SAME_PERSON, Code.ENTITY_UNKNOWN,
        Code.ACCOUNT_UNKNOWN, Code.ACCOUNT_TAKEN, Code.MERCHANT_CODE_TAKEN, Code.RECORD_EXISTS,
        Code.RECORD_FULL, Code.KEY_REFUSED, Code.CHANGE_TOO_LATE, Code.RULE_OUT_OF_ORDER,
        Code.WEBHOOK_UNKNOWN,
        Code.WEBHOOK_TARGET_REFUSED, Code.WEBHOOK_STALE, Code.WEBHOOK_LIMIT,
        Code.WEBHOOKS_UNAVAILABLE,
        Code.NOT_ATTESTED, Code.RELATION_UNKNOWN, Code.RELATION_NOT_IN_FORCE,
        Code.FILE_UNKNOWN, Code.TOTALS_MISMATCH, Code.PAYEE_MISMATCH, Code.LINE_UNKNOWN,
        Code.LINE_MISMATCH, Code.ALREADY_SETTLED, Code.SETTLEMENT_UNKNOWN, Code.SETTLEMENT_CLOSED,
    }
)  # fmt: skip
# By real processes: a house of tests/e2e, of tests/security or of tests/faults.
_INTENTS = "security/test_hostile_intents.py::test_at_the_chaincode"
_REPORTS = "security/test_hostile_reports.py::test_nothing_comes_of_it"
_MORE = "security/test_remaining_codes.py"
_FORMS = f"{_MORE}::test_forms"
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
    Code.DUPLICATE: (
        "security/test_hostile_reports.py::test_a_result_does_not_serve_another_attempt"
    ),
    Code.MALFORMED: _INTENTS,
    Code.NETWORK_MISMATCH: _INTENTS,
    Code.KEY_REVOKED: _INTENTS,
    Code.KEY_NOT_YET_VALID: _INTENTS,
    Code.SIGNATURE_INVALID: _INTENTS,
    Code.ACQUIRER_NOT_ACCEPTABLE: _INTENTS,
    Code.MERCHANT_CODE_MISMATCH: _INTENTS,
    Code.EXPIRED: _INTENTS,
    Code.NOT_YET_VALID: _INTENTS,
    Code.CONFLICT: ("security/test_hostile_intents.py::test_another_intent_for_the_same_payment"),
    Code.ROLE_FORBIDDEN: _REPORTS,
    Code.ACQUIRER_MISMATCH: _REPORTS,
    Code.INTENT_MISMATCH: _REPORTS,
    Code.AMOUNT_MISMATCH: _REPORTS,
    Code.REFERENCE_MISMATCH: _REPORTS,
    Code.REPORTED_CODE_MISMATCH: _REPORTS,
    Code.SEQUENCE_GAP: _REPORTS,
    Code.TRANSITION_FORBIDDEN: _REPORTS,
    Code.LEASE_LOST: _REPORTS,
    Code.NO_CONTRADICTION: (
        "security/test_hostile_reports.py::test_evidence_needs_the_banks_signature"
    ),
    Code.ACQUIRER_UNKNOWN: _REPORTS,
    Code.UNAUTHENTICATED: "security/test_roles_rest.py::test_a_token_is_for_one_gateway",
    Code.TOKEN_EXPIRED: "security/test_roles_rest.py::test_a_token_is_for_minutes",
    Code.NOT_FOUND: _FORMS,
    Code.MERCHANT_INACTIVE: f"{_MORE}::test_a_suspended_merchant_can_not_be_paid",
    Code.ACQUIRER_INACTIVE: f"{_MORE}::test_a_suspended_acquirer_takes_nothing",
    Code.CURRENCY_NOT_ACCEPTED: f"{_MORE}::test_what_an_acquirer_does_not_take",
    Code.LEASE_TAKEN: f"{_MORE}::test_an_epoch_that_is_not_the_next",
    Code.CARD_DATA_REFUSED: f"{_MORE}::test_a_card_number",
    Code.METHOD_NOT_ALLOWED: _FORMS,
    Code.UNSUPPORTED_MEDIA_TYPE: _FORMS,
    Code.NOT_ACCEPTABLE: _FORMS,
    Code.PAYLOAD_TOO_LARGE: _FORMS,
    Code.PARAMETER_INVALID: _FORMS,
    Code.BATCH_TOO_LARGE: _FORMS,
    **dict.fromkeys(
        (
            Code.NOT_REFUNDABLE,
            Code.REFUND_AMOUNT_REFUSED,
            Code.REFUND_OUT_OF_ORDER,
            Code.REFUND_UNKNOWN,
        ),
        "e2e/test_refunds.py::test_what_can_not_be_given_back",
    ),
    Code.FUNCTION_UNKNOWN: f"{_MORE}::test_a_function_that_there_is_not",
    Code.BLOCK_NOT_REACHED: f"{_MORE}::test_a_block_that_is_far_away",
    Code.LEDGER_UNAVAILABLE: f"{_MORE}::test_a_committer_that_stands",
    Code.ACQUIRER_UNAVAILABLE: (
        "faults/test_faults_2_stops.py::test_a_hung_acquirer_is_refused_before_the_ledger"
    ),
}
# Below a whole house, which would have to be filled for them.
BELOW = {
    Code.RATE_LIMITED: "gateway/test_parts.py::test_limits_are_refused_with_when_to_return",
    Code.OVERLOADED: "gateway/test_parts.py::test_a_full_queue_is_503_and_takes_again_later",
}
