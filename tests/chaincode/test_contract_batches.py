"""Lists of intents: conflicts inside one list, good beside bad, what stands on the ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import contract_world as w
import pytest
from contract_world import (
    intent_item,
    registered,
    report_item,
    requested,
)
from samples import INTENT

from chaincode.contract import functions
from chaincode.contract.overlay import Overlay, PlanError
from clearline import canonical, jws, records
from clearline.codes import Refusal
from clearline.records import Payment, payment_key


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


def test_a_key_the_plan_forgot_is_a_defect() -> None:
    overlay = Overlay({})
    with pytest.raises(PlanError):
        overlay.get(Payment, "payment/M/o/0001")
    with pytest.raises(PlanError):
        overlay.put("entity/E", records.Entity("E", "n", "CN", "1", "BankOne"))


def test_a_batch_of_the_largest_size() -> None:
    ledger = registered()
    items = [intent_item(order_no=f"n-{number}") for number in range(functions.MAX_ITEMS)]
    assert ledger.codes("SubmitIntents", items) == ["ok"] * functions.MAX_ITEMS
