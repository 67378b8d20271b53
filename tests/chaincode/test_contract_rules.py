"""One row a rule: each way an item, or a whole call, can end."""

from __future__ import annotations

from dataclasses import replace

import contract_world as w
import pytest
from contract_world import (
    GATEWAY,
    NOW,
    intent_item,
    registered,
    report_item,
    requested,
)
from rule_rows import PAN, Row
from rules_of_changes import CHANGES
from rules_of_clearing import CLEARING, DECIDING_SETTLEMENTS
from rules_of_intents import CLOSES, INTENTS
from rules_of_refunds import REFUND_REPORTS, REFUNDS
from rules_of_registry import DECIDING, PROPOSING
from rules_of_relations import RELATIONS, SHARED
from rules_of_reports import EVIDENCE, LEASES, REPORTS
from rules_of_supervision import CHECKPOINTING, SUPERVISING
from samples import INTENT

from chaincode.contract.context import Role, Submitter
from clearline import reports
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.statuses import Status

ROWS = [
    *RELATIONS, *SHARED,
    *CHANGES, *INTENTS, *CLOSES, *REFUNDS, *REPORTS, *REFUND_REPORTS, *EVIDENCE, *LEASES,
    *PROPOSING, *DECIDING, *CLEARING, *DECIDING_SETTLEMENTS, *SUPERVISING, *CHECKPOINTING,
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.function} {row.rule}: {row.code}")
def test_rule(row: Row) -> None:
    ledger = row.given()
    if row.code == Code.CARD_DATA_REFUSED:
        with pytest.raises(Refusal, match=r"^card_data_refused: item 0: ") as refusal:
            ledger.decide(row.function, [row.item], row.submitter, NOW + row.after)
        assert PAN not in refusal.value.detail
        return
    decision = ledger.decide(row.function, [row.item], row.submitter, NOW + row.after)
    (outcome,) = decision.outcomes
    assert outcome.code.value == row.code, outcome.detail
    if row.writes or outcome.code in (Code.OK, Code.LATE_SUCCESS):
        assert decision.writes
        assert outcome.tx_id == f"tx{ledger.height + 1}"
    else:
        assert decision.writes == ()
        assert decision.event == b""
    assert PAN not in decision.answer().decode()


# Whole calls that are refused before any item is looked at.
CALLS = [
    ("no such function", "function_unknown", "Steal", b"[]", GATEWAY),
    ("not JSON", "malformed", "SubmitIntents", b"{", GATEWAY),
    ("not a list", "malformed", "SubmitIntents", b"{}", GATEWAY),
    ("an empty list", "malformed", "SubmitIntents", b"[]", GATEWAY),
    ("too many items", "batch_too_large", "SubmitIntents", b"[" + b"1," * 500 + b"1]", GATEWAY),
    (
        "too many bytes",
        "batch_too_large",
        "SubmitIntents",
        b'["' + b"x" * 4 * 1024 * 1024 + b'"]',
        GATEWAY,
    ),
    ("a payment key of two parts", "malformed", "GetPayments", b'[["M","o"]]', w.AUDITOR),
    ("an attempt as a text", "malformed", "GetPayments", b'[["M","o","1"]]', w.AUDITOR),
    ("an unknown kind", "malformed", "GetRecords", b'[["loan","1"]]', w.AUDITOR),
    (
        "a limit of 201",
        "malformed",
        "ListPayments",
        b'{"merchant_id":"M","start_after":null,"limit":201}',
        w.AUDITOR,
    ),
    (
        "another acquirer's settlement",
        "malformed",
        "ListSettlements",
        b'{"acquirer_id":"a","start_after":"b/1/CNY/2026-11-23/01","limit":1}',
        w.AUDITOR,
    ),
    (
        "a relation's id of one part",
        "malformed",
        "ListRelations",
        b'{"entity_id":null,"start_after":"E-1","limit":1}',
        w.AUDITOR,
    ),
    (
        "a status of none",
        "malformed",
        "ListProposals",
        b'{"status":"x","start_after":null,"limit":1}',
        w.AUDITOR,
    ),
]
ALLOWED = {name: {usual.role} for name, usual in w.USUAL.items()} | {
    "SubmitEvidence": {"gateway", "connector", "supervisor", "auditor"}
}
for name in w.USUAL:
    for role in ("", "admin", *(role for role in Role if role not in ALLOWED[name])):
        CALLS.append(
            (
                f"{name} by {role or 'nobody'}",
                "role_forbidden",
                name,
                b"[1]",
                Submitter("BankOne", role, "p"),
            )
        )
for name in ("GetPayments", "GetRecords", "ListPayments", "ListProposals", "ListSettlements",
             "ListRelations"):  # fmt: skip
    CALLS.append(
        (f"{name} by nobody", "role_forbidden", name, b"[1]", Submitter("BankOne", "", "p"))
    )
_CARD = "4111111111111111"
for name, asked in (
    ("GetPayments", f'[["{_CARD}","o",1]]'),
    ("GetPayments", f'[["M","{_CARD}",1]]'),
    ("GetRecords", f'[["merchant","{_CARD}"]]'),
    ("GetRecords", f'[["merchant_code","unionpay/{_CARD}"]]'),
    ("ListPayments", f'{{"merchant_id":"{_CARD}","start_after":null,"limit":1}}'),
    ("ListPayments", f'{{"merchant_id":"M","start_after":["{_CARD}",1],"limit":1}}'),
    ("ListProposals", f'{{"status":null,"start_after":"{_CARD}","limit":1}}'),
    ("ListSettlements", f'{{"acquirer_id":"{_CARD}","start_after":null,"limit":1}}'),
    ("ListRelations", f'{{"entity_id":"{_CARD}","start_after":null,"limit":1}}'),
    ("GetRecords", f'[["relation","{"a" * 64}/{_CARD}"]]'),
):
    CALLS.append(
        (
            f"{name} of a card number",
            "card_data_refused",
            name,
            asked.encode(),
            Submitter("Supervisor", "auditor", "p"),
        )
    )


@pytest.mark.parametrize(
    ("code", "name", "argument", "submitter"),
    [call[1:] for call in CALLS],
    ids=[call[0] for call in CALLS],
)
def test_call_refused(code: str, name: str, argument: bytes, submitter: Submitter) -> None:
    from chaincode.contract.functions import KeyReader, RangeReader, function

    with pytest.raises(Refusal) as refusal:
        called = function(name, submitter)
        if isinstance(called, KeyReader | RangeReader):
            called.asked(argument)
        else:
            called.batch(argument)
    assert refusal.value.code.value == code


# A gateway's own codes, which the contract never gives: the enumeration has them last.
GATEWAYS = frozenset(code.value for code in list(Code)[list(Code).index(Code.UNAUTHENTICATED) :])


def test_every_code_of_the_contract_is_reached() -> None:
    reached = {row.code for row in ROWS} | {call[1] for call in CALLS}
    assert {code.value for code in Code} - GATEWAYS - reached == set()
    assert reached & GATEWAYS == set()


def test_every_status_is_reached() -> None:
    ends = {Status.SUCCEEDED, Status.DECLINED, Status.CLOSED, Status.EXPIRED}
    for status in ends:
        ledger = requested()
        item = report_item(status=status)
        (outcome,) = ledger.submit("SubmitReports", [item])
        assert (outcome.code, outcome.status) == (Code.OK, status.value)


def test_own_reference_is_not_taken_for_a_card_number() -> None:
    # Of 40 hex digits about one in 3,000 texts holds a run of digits that looks like a card number.
    intent = replace(INTENT, order_no="o-3214")
    reference = reports.acquirer_reference(intent.key, intent.network)
    assert holds_card_number(reference)
    ledger = registered()
    assert ledger.codes("SubmitIntents", [intent_item(order_no=intent.order_no)]) == ["ok"]
    assert ledger.codes("SubmitReports", [report_item(of=intent)]) == ["ok"]


def test_an_accounts_id_is_no_card_number() -> None:
    from chaincode.contract import reads

    digest = "a" + _CARD + "b" * 47
    assert holds_card_number(digest)
    assert reads.record_keys([["account", digest]]) == [f"account/{digest}"]
    assert reads.record_keys([["relation", f"{digest}/E-2"]]) == [f"relation/{digest}/E-2"]
    asked = {"entity_id": None, "start_after": f"{digest}/E-2", "limit": 1}
    assert reads.relations_range(asked).start == f"relation/{digest}/E-2-"
