"""Lists of reports, evidence and leases: numbers, late successes, what is read for them."""

from __future__ import annotations

import json
from typing import Any

import contract_world as w
from contract_world import (
    approved,
    intent_item,
    proposal,
    registered,
    report_item,
    requested,
)
from samples import INTENT

from chaincode.contract import functions
from clearline import canonical, records, reports
from clearline.records import Equivocation, Kept, Lease, Payment, payment_key
from clearline.statuses import Reason, ReportKind, Status

DECLINE: dict[str, Any] = {"status": Status.DECLINED, "reason": Reason.DO_NOT_HONOR}


REVERSAL: dict[str, Any] = {
    "kind": ReportKind.REVERSAL,
    "status": Status.DECLINED,
    "reason": Reason.REVERSED,
}


EVIDENCE_KEY = "equivocation/M-0001/20261123-0001/0001/0001"


def test_two_results_of_one_number_in_one_list() -> None:
    decline, third = report_item(**DECLINE), report_item(**DECLINE | {"reason": Reason.OTHER})
    items = [report_item(), decline, report_item(), third]
    ledger = requested()
    decision = ledger.decide("SubmitReports", items)
    codes = [outcome.code.value for outcome in decision.outcomes]
    assert codes == ["ok", "equivocation", "duplicate", "equivocation"]
    assert json.loads(decision.event) == [
        ["payment", "M-0001", "20261123-0001", 1, "succeeded"],
        ["equivocation", "M-0001", "20261123-0001", 1, "succeeded"],
    ]
    evidence = json.loads(dict(decision.writes)[EVIDENCE_KEY])
    assert (evidence["first"], evidence["second"]) == (report_item(), decline)


def test_evidence_is_written_once_and_stays() -> None:
    ledger = requested()
    assert ledger.codes("SubmitReports", [report_item()]) == ["ok"]
    decline, third = report_item(**DECLINE), report_item(**DECLINE | {"reason": Reason.OTHER})
    assert ledger.codes("SubmitEvidence", [decline, decline, third]) == [
        "ok",
        "duplicate",
        "duplicate",
    ]
    kept = ledger.state[EVIDENCE_KEY]
    assert records.load(Equivocation, kept) == Equivocation(
        merchant_id="M-0001",
        order_no="20261123-0001",
        attempt=1,
        sequence=1,
        acquirer_id="unionpay",
        first=report_item(),
        second=decline,
        key_status="active",
        msp_id="Supervisor",
        recorded_at="2026-11-23T08:00:30.000Z",
        txs=[f"tx{ledger.height}"],
    )
    assert ledger.codes("SubmitReports", [third]) == ["equivocation"]
    assert ledger.state[EVIDENCE_KEY] == kept


def test_evidence_with_a_revoked_key_says_so() -> None:
    ledger = requested()
    assert ledger.codes("SubmitReports", [report_item()]) == ["ok"]
    body = {"acquirer_id": "unionpay", "action": "revoke", "key_id": w.BANK.key_id}
    assert approved(ledger, proposal("r", "acquirer_key", **body)) == ["ok"]
    assert ledger.codes("SubmitEvidence", [report_item(**DECLINE)]) == ["ok"]
    assert records.load(Equivocation, ledger.state[EVIDENCE_KEY]).key_status == "revoked"


def test_late_success_and_its_reversal_in_one_list() -> None:
    texts = [report_item(**DECLINE), report_item(sequence=2), report_item(sequence=3, **REVERSAL)]
    ledger = requested()
    decision = ledger.decide("SubmitReports", texts)
    codes = [outcome.code.value for outcome in decision.outcomes]
    assert codes == ["ok", "late_success", "ok"]
    assert {outcome.status for outcome in decision.outcomes} == {"declined"}
    ledger.submit("SubmitReports", texts)
    payment = records.load(Payment, ledger.state[payment_key(INTENT.key)])
    assert (payment.status, payment.reason) == ("declined", "do_not_honor")
    assert payment.result == texts[0]
    tx = f"tx{ledger.height}"
    digests = [reports.parse(text).report.digest() for text in texts]
    assert payment.exceptions == [
        {
            "kind": "late_success",
            "sequence": 2,
            "digest": digests[1],
            "amount": payment.amount,
            "currency": payment.currency,
            "status": "resolved",
            "tx_id": tx,
        }
    ]
    assert payment.reports == [
        [1, "result", "declined", digests[0], tx],
        [2, "result", "succeeded", digests[1], tx],
        [3, "reversal", "declined", digests[2], tx],
    ]
    kept = [ledger.state.get(records.report_key(INTENT.key, number)) for number in (1, 2, 3)]
    assert kept[0] is None
    assert [records.load(Kept, one or b"").report for one in kept[1:]] == texts[1:]


def test_an_open_late_success_holds_the_next_attempt_until_its_reversal() -> None:
    ledger = requested()
    second = intent_item(attempt=2)
    assert ledger.codes("SubmitReports", [report_item(**DECLINE)]) == ["ok"]
    assert ledger.codes("SubmitReports", [report_item(sequence=2)]) == ["late_success"]
    (held,) = ledger.submit("SubmitIntents", [second])
    assert held.code.value == "attempt_out_of_order"
    assert "late success" in held.detail
    assert ledger.codes("SubmitReports", [report_item(sequence=3, **REVERSAL)]) == ["ok"]
    assert ledger.codes("SubmitIntents", [second]) == ["ok"]


def test_two_takeovers_in_one_list() -> None:
    ledger = registered()
    items = [
        {"acquirer_id": "unionpay", "epoch": epoch, "holder": holder}
        for epoch, holder in ((1, "a"), (1, "b"), (1, "a"), (2, "b"), (1, "a"))
    ]
    codes = ["ok", "lease_taken", "duplicate", "ok", "lease_taken"]
    assert ledger.codes("TakeLease", items) == codes
    lease = records.load(Lease, ledger.state["lease/unionpay"])
    tx = f"tx{ledger.height}"
    assert lease == Lease("unionpay", 2, "b", "BankOne", [tx, tx])


def test_a_report_reads_the_lease_it_was_submitted_under() -> None:
    """So that one ordered after a takeover is invalidated by its read version."""
    batch = functions.FUNCTIONS["SubmitReports"].batch(canonical.dumps([report_item()]))  # type: ignore[union-attr]
    assert "lease/unionpay" in batch.missing({})


def test_the_usual_report_is_planned_in_one_reading() -> None:
    ledger = requested()
    accepted = report_item(kind=ReportKind.RESPONSE, status=Status.ACCEPTED, reason=Reason.ACCEPTED)
    for text in (accepted, report_item(sequence=2)):
        batch = functions.FUNCTIONS["SubmitReports"].batch(canonical.dumps([text]))  # type: ignore[union-attr]
        named = batch.missing({})
        assert batch.missing({key: ledger.state.get(key) for key in named}) == []
        assert ledger.codes("SubmitReports", [text]) == ["ok"]


def test_response_and_result_in_one_list_leave_both_transactions() -> None:
    response = report_item(kind=ReportKind.RESPONSE, status=Status.ACCEPTED, reason=Reason.ACCEPTED)
    ledger = requested()
    assert ledger.codes("SubmitReports", [response, report_item(sequence=2)]) == ["ok", "ok"]
    payment = records.load(Payment, ledger.state[payment_key(INTENT.key)])
    assert payment.status == "succeeded"
    assert (payment.response, payment.result) == (response, report_item(sequence=2))
    assert [entry[:3] for entry in payment.reports] == [
        [1, "response", "accepted"],
        [2, "result", "succeeded"],
    ]
    # The request's transaction, then one a report, so that each report's can be named.
    request, first, second = payment.txs
    assert first == second == f"tx{ledger.height}"
    assert request != first
    (again,) = ledger.submit("SubmitReports", [response])
    assert (again.code.value, again.tx_id) == ("duplicate", first)
