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
from clearline import canonical, jws, records, reports
from clearline.codes import Refusal
from clearline.intents import PayIntent, Route
from clearline.records import Equivocation, Kept, Lease, Merchant, Payment, payment_key
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


def test_pay_close_and_pay_again_in_one_list() -> None:
    items = [w.close_item(), intent_item(), w.close_item(), w.close_item(), intent_item()]
    ledger = registered()
    decision = ledger.decide("SubmitIntents", items)
    codes = [outcome.code.value for outcome in decision.outcomes]
    assert codes == ["payment_unknown", "ok", "ok", "duplicate", "duplicate"]
    # Two entries: the connector hears of the request and of the close.
    entry = ["payment", "M-0001", "20261123-0001", 1, "requested"]
    assert json.loads(decision.event) == [entry, entry]


def test_a_close_stands_on_the_payment_and_changes_nothing_else() -> None:
    ledger = requested()
    key = payment_key(INTENT.key)
    before = records.load(Payment, ledger.state[key])
    (outcome,) = ledger.submit("SubmitIntents", [w.close_item()])
    tx = f"tx{ledger.height}"
    assert (outcome.code.value, outcome.status, outcome.tx_id) == ("ok", "requested", tx)
    assert records.load(Payment, ledger.state[key]) == replace(
        before, close=w.close_item()["intent"], close_tx=tx, txs=[*before.txs, tx]
    )
    # Reports after it are answered with their own transactions, not the close's.
    assert ledger.codes("SubmitReports", [report_item()]) == ["ok"]
    reported = f"tx{ledger.height}"
    (again,) = ledger.submit("SubmitReports", [report_item()])
    assert (again.code.value, again.tx_id) == ("duplicate", reported)
    (closed,) = ledger.submit("SubmitIntents", [w.close_item()])
    assert (closed.code.value, closed.status, closed.tx_id) == ("duplicate", "succeeded", tx)


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


def test_two_entities_of_one_registration_in_one_list() -> None:
    ledger = Ledger()
    same = proposal("e2", "entity", **w.entity("E-2", registration_no="reg-e.1"))
    assert approved(ledger, proposal("e1", "entity", **w.entity()), same) == ["ok", "record_exists"]
    assert json.loads(ledger.state["registration/CN/REGE1"])["entity_id"] == "E-1"


def test_a_code_at_a_second_bank_takes_payments() -> None:
    ledger = registered()
    second = w.acquirer("second", keys=[w.STRANGER.jwk])
    assert approved(ledger, proposal("a2", "acquirer", **second), bank="BankTwo") == ["ok"]
    routed = intent_item(acquirer_id="second", acquirers=(Route("second", "77", "tok"),))
    assert ledger.codes("SubmitIntents", [routed]) == ["merchant_code_mismatch"]
    body = {"merchant_id": "M-0001", "acquirer_id": "second", "code": "77"}
    assert approved(ledger, proposal("c", "merchant_code", **body), bank="BankTwo") == ["ok"]
    merchant = records.load(Merchant, ledger.state["merchant/M-0001"])
    assert merchant.codes == {"unionpay": [w.CODE], "second": ["77"]}
    assert merchant.msp_id == "BankOne"
    assert json.loads(ledger.state["merchant_code/second/77"])["merchant_id"] == "M-0001"
    assert ledger.codes("SubmitIntents", [routed]) == ["ok"]


CARD = "4111111111111111"
CLEAN = intent_item()


@pytest.mark.parametrize(
    "item",
    [
        CARD,
        int(CARD),
        [CARD],
        {CARD: 1},
        {"x": {"y": [CARD]}},
        {"intent": CARD, "acquirer_id": "unionpay"},
        CLEAN | {"acquirer_id": CARD},
        CLEAN | {"extra": CARD},
        {"intent": jws.encode(CARD.encode()) + ".a.b", "acquirer_id": "unionpay"},
        {"intent": "a.b." + jws.encode(CARD.encode()), "acquirer_id": "unionpay"},
        {
            "intent": jws.sign(INTENT.payload() | {"note": CARD}, jws.Typ.INTENT, w.MERCHANT),
            "acquirer_id": "unionpay",
        },
        {"intent": "e30." + CLEAN["intent"].partition(".")[2], "acquirer_id": CARD},
        intent_item(order_no=CARD),
    ],
)
def test_a_call_with_card_data_is_refused_whole_and_names_the_item(item: Any) -> None:
    with pytest.raises(Refusal) as refusal:
        registered().decide("SubmitIntents", [CLEAN, intent_item(order_no="o"), item])
    assert refusal.value.code.value == "card_data_refused"
    assert refusal.value.detail.startswith("item 2: ")
    assert CARD not in refusal.value.detail


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
    {"kind": ReportKind.REVERSAL, "status": Status.DECLINED, "reason": Reason.REVERSED},
)


@lru_cache
def pooled_intent(order: str, attempt: int, amount: int, sound: bool) -> dict[str, Any]:
    signer = w.MERCHANT if sound else w.STRANGER
    return intent_item(signer, order_no=order, attempt=attempt, amount=amount)


@lru_cache
def pooled_report(order: str, attempt: int, sequence: int, which: int) -> str:
    about: PayIntent = replace(INTENT, order_no=order, attempt=attempt, amount=5)
    return report_item(of=about, sequence=sequence, amount=5, **REPORTS[which])


@lru_cache
def pooled_close(order: str, attempt: int) -> dict[str, Any]:
    return w.close_item(order_no=order, attempt=attempt)


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
    st.integers(1, 5),
    st.integers(0, len(REPORTS) - 1),
)
close_items = st.builds(pooled_close, st.sampled_from(ORDERS), st.integers(1, 2))
epoch_items = st.builds(lambda text: {"report": text, "epoch": 0}, report_items)
calls = st.one_of(
    st.tuples(
        st.just("SubmitIntents"), st.lists(intent_items | close_items, min_size=1, max_size=8)
    ),
    st.tuples(
        st.just("SubmitReports"), st.lists(report_items | epoch_items, min_size=1, max_size=8)
    ),
    st.tuples(st.just("SubmitEvidence"), st.lists(report_items, min_size=1, max_size=4)),
)
REGISTERED = registered()


def without_transactions(state: dict[str, bytes]) -> dict[str, Any]:
    """Records without the transactions that made them, but with how many those were."""
    shown = {}
    for key, value in state.items():
        record = json.loads(value)
        shown[key] = record | {"txs": len(record["txs"])}
        if record["type"] == "payment":
            shown[key] |= {
                "reports": [entry[:4] for entry in record["reports"]],
                "exceptions": [one | {"tx_id": ""} for one in record["exceptions"]],
                "close_tx": bool(record["close_tx"]),
            }
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
            holds_together(records.from_json(Payment, record), batched.state)
        if record["type"] == "equivocation":
            contradicts(record, batched.state)


def holds_together(payment: Payment, state: dict[str, bytes]) -> None:
    """What is true of every payment, however it came about."""
    entries = payment.reports
    assert [entry[0] for entry in entries] == list(range(1, len(entries) + 1))
    assert len(payment.txs) == len(entries) + 1 + bool(payment.close)
    assert {entry[4] for entry in entries} <= set(payment.txs)
    ended = next((entry for entry in entries if entry[1] == "result"), None)
    told = ended or (entries[-1] if entries else None)
    assert payment.status == (told[2] if told else "requested")
    assert bool(payment.result) == payment.final == (ended is not None)
    late = [entry for entry in entries if ended and entry[0] > ended[0]]
    assert [entry[1] for entry in late] == [("result", "reversal")[i % 2] for i in range(len(late))]
    assert [one["sequence"] for one in payment.exceptions] == [entry[0] for entry in late[::2]]
    assert payment.excepted == (len(late) % 2 == 1)
    assert not late or payment.status != "succeeded"
    for entry in entries:
        kept = state.get(records.report_key(payment.key, entry[0]))
        text = payment.result if entry is ended else records.load(Kept, kept or b"").report
        assert (kept is None) == (entry is ended)
        assert reports.parse(text).report.digest() == entry[3]


def contradicts(record: dict[str, Any], state: dict[str, bytes]) -> None:
    """What is true of all evidence."""
    first, second = (reports.parse(record[name]).report for name in ("first", "second"))
    assert (first.key, first.sequence) == (second.key, second.sequence)
    assert first.digest() != second.digest()
    payment = records.load(Payment, state[payment_key(first.key)])
    assert payment.reports[first.sequence - 1][3] == first.digest()


def test_hypothesis_pool_reaches_success() -> None:
    # The pool's own soundness: its intent and its success fit together.
    ledger = registered()
    assert ledger.codes("SubmitIntents", [pooled_intent("o-1", 1, 5, True)]) == ["ok"]
    assert ledger.codes("SubmitReports", [pooled_report("o-1", 1, 1, 3)]) == ["ok"]


def test_a_batch_of_the_largest_size() -> None:
    ledger = registered()
    items = [intent_item(order_no=f"n-{number}") for number in range(functions.MAX_ITEMS)]
    assert ledger.codes("SubmitIntents", items) == ["ok"] * functions.MAX_ITEMS
