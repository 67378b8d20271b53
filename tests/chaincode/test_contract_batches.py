"""Lists: conflicts inside one list, good beside bad, and fold = one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import contract_world as w
import pytest
from contract_world import (
    Ledger,
    approved,
    intent_item,
    proposal,
    registered,
    report_item,
    requested,
    verdict,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import INTENT

from chaincode.contract import functions
from chaincode.contract.overlay import Overlay, PlanError
from clearline import canonical, records
from clearline.intents import PayIntent
from clearline.records import Merchant, Payment, payment_key
from clearline.statuses import Reason, ReportKind, Status


def test_two_registrations_of_one_code_in_one_list() -> None:
    ledger = registered()
    codes = {"unionpay": ["898310148990009"]}
    first = proposal("m2", "merchant", **w.merchant("M-2", codes=codes))
    second = proposal("m3", "merchant", **w.merchant("M-3", codes=codes))
    assert approved(ledger, first, second) == ["ok", "merchant_code_taken"]
    assert "merchant/M-3" not in ledger.state
    assert (
        json.loads(ledger.state["merchant_code/unionpay/898310148990009"])["merchant_id"] == "M-2"
    )


def test_two_owners_of_one_account_in_one_list() -> None:
    ledger = registered()
    codes = approved(
        ledger,
        proposal("e2", "entity", **w.entity("E-2")),
        proposal("a2", "account", **w.account(w.OTHER_ACCOUNT, "E-2")),
        proposal("a1", "account", **w.account(w.OTHER_ACCOUNT, "E-1")),
    )
    assert codes == ["ok", "ok", "account_taken"]


def test_one_proposal_decided_twice_in_one_list() -> None:
    ledger = Ledger()
    assert ledger.codes("ProposeRecords", [proposal("p", "entity", **w.entity())]) == ["ok"]
    both = [verdict("p"), verdict("p", "reject"), verdict("p")]
    assert ledger.codes("DecideRecords", both) == ["ok", "proposal_decided", "duplicate"]


def test_one_proposal_id_twice_in_one_list() -> None:
    same = proposal("p", "entity", **w.entity())
    other = proposal("p", "entity", **w.entity("E-2"))
    assert Ledger().codes("ProposeRecords", [same, same, other]) == ["ok", "duplicate", "conflict"]


def test_a_refused_approval_stays_open_and_writes_nothing() -> None:
    ledger = Ledger()
    assert approved(ledger, proposal("a", "account", **w.account())) == ["entity_unknown"]
    assert approved(ledger, proposal("e", "entity", **w.entity())) == ["ok"]
    assert ledger.codes("DecideRecords", [verdict("a")]) == ["ok"]


def test_two_intents_of_one_payment_in_one_list() -> None:
    items = [intent_item(), intent_item(), intent_item(amount=1)]
    ledger = registered()
    decision = ledger.decide("SubmitIntents", items)
    assert [outcome.code.value for outcome in decision.outcomes] == ["ok", "duplicate", "conflict"]
    # The second is answered with what the first, of the same list, was answered.
    assert decision.outcomes[1].tx_id == decision.outcomes[0].tx_id
    assert len(decision.writes) == 1


def test_two_attempts_in_one_list() -> None:
    items = [intent_item(), intent_item(attempt=2)]
    assert registered().codes("SubmitIntents", items) == ["ok", "attempt_out_of_order"]


def test_two_results_of_one_number_in_one_list() -> None:
    decline = report_item(status=Status.DECLINED, reason=Reason.DO_NOT_HONOR)
    items = [report_item(), decline, report_item()]
    assert requested().codes("SubmitReports", items) == ["ok", "equivocation", "duplicate"]


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


def test_a_duplicate_gets_the_first_answer() -> None:
    ledger = requested()
    first = f"tx{ledger.height}"
    assert ledger.codes("SubmitReports", [report_item()]) == ["ok"]
    (again,) = ledger.submit("SubmitIntents", [intent_item()])
    assert (again.code.value, again.tx_id, again.status) == ("duplicate", first, "succeeded")


def test_one_bad_item_never_spoils_its_batch() -> None:
    ledger = registered()
    bad = [None, 7, {}, {"intent": "x", "acquirer_id": "y"}, intent_item(w.STRANGER)]
    good = [intent_item(order_no=f"g-{number}") for number in range(5)]
    mixed = [item for pair in zip(bad, good, strict=True) for item in pair]
    decision = ledger.decide("SubmitIntents", mixed)
    codes = [outcome.code.value for outcome in decision.outcomes]
    assert codes[1::2] == ["ok"] * 5
    assert "ok" not in codes[::2]
    assert len(decision.writes) == 5


def test_the_event_names_only_what_changed() -> None:
    ledger = requested()
    items = [intent_item(), intent_item(order_no="new"), intent_item(w.STRANGER)]
    event = ledger.decide("SubmitIntents", items).event
    assert event == b'[["payment","M-0001","new",1,"requested"]]'
    assert ledger.decide("SubmitIntents", [intent_item()]).event == b""


def test_what_a_payment_record_holds() -> None:
    ledger = requested()
    payment = records.load(Payment, ledger.state["payment/M-0001/20261123-0001/0001"])
    assert payment == Payment(
        merchant_id="M-0001",
        order_no="20261123-0001",
        attempt=1,
        status="requested",
        acquirer_id="unionpay",
        merchant_code=w.CODE,
        amount=2933,
        currency="CNY",
        intent=intent_item()["intent"],
        intent_digest=INTENT.digest(),
        expires_at=INTENT.expires_at,
        msp_id="BankTwo",
        requested_at="2026-11-23T08:00:30.000Z",
        txs=[f"tx{ledger.height}"],
    )


def test_answers_and_writes_are_canonical() -> None:
    decision = requested().decide("SubmitReports", [report_item()])
    answer = decision.answer()
    assert canonical.dumps(json.loads(answer)) == answer
    for _, value in decision.writes:
        assert canonical.dumps(json.loads(value)) == value


def test_a_revoked_key_stays_and_cannot_come_back() -> None:
    ledger = registered()
    body = {"merchant_id": INTENT.merchant_id, "key_id": w.MERCHANT.key_id}
    assert approved(ledger, proposal("r", "merchant_key", action="revoke", **body)) == ["ok"]
    merchant = records.load(Merchant, ledger.state["merchant/M-0001"])
    assert merchant.keys[w.MERCHANT.key_id].status == "revoked"
    again = proposal("a", "merchant_key", action="add", jwk=w.MERCHANT.jwk, **body)
    assert approved(ledger, again) == ["key_refused"]
    assert ledger.codes("SubmitIntents", [intent_item(w.MERCHANT_ES256)]) == ["ok"]


def test_a_record_holds_a_bounded_number_of_keys() -> None:
    ledger = registered()
    signers = [w.ed25519_signer(f"more-{number}") for number in range(31)]
    codes = approved(
        ledger,
        *(
            proposal(
                f"k{number}",
                "merchant_key",
                merchant_id="M-0001",
                action="add",
                key_id=signer.key_id,
                jwk=signer.jwk,
            )
            for number, signer in enumerate(signers)
        ),
    )
    assert codes == ["ok"] * 30 + ["key_refused"]


def test_a_suspended_merchant_comes_back() -> None:
    ledger = registered()
    for number, (status, code) in enumerate([("suspended", "merchant_inactive"), ("active", "ok")]):
        body = {"merchant_id": "M-0001", "status": status}
        assert approved(ledger, proposal(f"s{number}", "merchant_status", **body)) == ["ok"]
        assert ledger.codes("SubmitIntents", [intent_item()]) == [code]


def test_a_key_the_plan_forgot_is_a_defect() -> None:
    overlay = Overlay({})
    with pytest.raises(PlanError):
        overlay.get(Payment, "payment/M/o/0001")
    with pytest.raises(PlanError):
        overlay.put("entity/E", records.Entity("E", "n", "CN", "1", "BankOne"))


ORDERS = ("o-1", "o-2")
REPORTS: tuple[dict[str, Any], ...] = (
    {"kind": ReportKind.RESPONSE, "status": Status.ACCEPTED, "reason": Reason.ACCEPTED},
    {"kind": ReportKind.UNKNOWN, "status": Status.UNKNOWN, "reason": Reason.TIMED_OUT},
    {"status": Status.DECLINED, "reason": Reason.DO_NOT_HONOR},
    {},
)


@lru_cache
def pooled_intent(order: str, attempt: int, amount: int, sound: bool) -> dict[str, Any]:
    signer = w.MERCHANT if sound else w.STRANGER
    return intent_item(signer, order_no=order, attempt=attempt, amount=amount)


@lru_cache
def pooled_report(order: str, attempt: int, sequence: int, which: int) -> str:
    about: PayIntent = replace(INTENT, order_no=order, attempt=attempt, amount=5)
    return report_item(of=about, sequence=sequence, amount=5, **REPORTS[which])


intent_items = st.builds(
    pooled_intent,
    st.sampled_from(ORDERS),
    st.integers(1, 3),
    st.sampled_from((5, 5, 5, 6)),
    st.sampled_from((True, True, True, False)),
)
report_items = st.builds(
    pooled_report,
    st.sampled_from(ORDERS),
    st.integers(1, 2),
    st.integers(1, 4),
    st.integers(0, 3),
)
calls = st.one_of(
    st.tuples(st.just("SubmitIntents"), st.lists(intent_items, min_size=1, max_size=8)),
    st.tuples(st.just("SubmitReports"), st.lists(report_items, min_size=1, max_size=8)),
)
REGISTERED = registered()


def without_transactions(state: dict[str, bytes]) -> dict[str, Any]:
    """Records without the transactions that made them, but with how many those were."""
    shown = {}
    for key, value in state.items():
        record = json.loads(value)
        shown[key] = record | {"txs": len(record["txs"])}
    return shown


@settings(max_examples=150, deadline=None)
@given(st.lists(calls, min_size=1, max_size=6))
def test_a_list_is_its_items_one_by_one(transactions: list[tuple[str, list[Any]]]) -> None:
    batched, single = REGISTERED.copy(), REGISTERED.copy()
    for name, items in transactions:
        together = batched.submit(name, items)
        apart = [single.submit(name, [item])[0] for item in items]
        assert [(o.code, o.key, o.status, o.detail) for o in together] == [
            (o.code, o.key, o.status, o.detail) for o in apart
        ]
    assert without_transactions(batched.state) == without_transactions(single.state)
    for value in batched.state.values():
        record = json.loads(value)
        if record["type"] == "payment":
            holds_together(records.from_json(Payment, record))


def holds_together(payment: Payment) -> None:
    """What is true of every payment, however it came about."""
    assert [entry[0] for entry in payment.reports] == list(range(1, len(payment.reports) + 1))
    assert len(payment.txs) == len(payment.reports) + 1
    assert payment.status == (payment.reports[-1][2] if payment.reports else "requested")
    assert bool(payment.result) == payment.final
    ended = [entry for entry in payment.reports if Status(entry[2]).final]
    assert len(ended) <= 1


def test_hypothesis_pool_reaches_success() -> None:
    # The pool's own soundness: its intent and its success fit together.
    ledger = registered()
    assert ledger.codes("SubmitIntents", [pooled_intent("o-1", 1, 5, True)]) == ["ok"]
    assert ledger.codes("SubmitReports", [pooled_report("o-1", 1, 1, 3)]) == ["ok"]


def test_a_batch_of_the_largest_size() -> None:
    ledger = registered()
    items = [intent_item(order_no=f"n-{number}") for number in range(functions.MAX_ITEMS)]
    assert ledger.codes("SubmitIntents", items) == ["ok"] * functions.MAX_ITEMS
