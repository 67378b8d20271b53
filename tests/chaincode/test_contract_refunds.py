"""What refunds do to a payment: amounts conserve, whatever stands in one list."""

from __future__ import annotations

import itertools
from dataclasses import replace

import contract_world as w
from contract_world import Ledger, refund_item, refund_report_item
from rules_of_refunds import late, paid, refunding
from samples import INTENT, REFUND

from clearline import canonical, records
from clearline.records import Payment
from clearline.refunds import Refund, RefundKey, refund_key
from clearline.statuses import Status


def payment_of(ledger: Ledger) -> Payment:
    return records.load(Payment, ledger.state[records.payment_key(INTENT.key)])


def refund_of(ledger: Ledger, key: RefundKey = REFUND.key) -> Refund:
    return records.load(Refund, ledger.state[refund_key(key)])


def test_a_success_moves_the_refunded_amount_and_nothing_else_of_the_payment() -> None:
    ledger = paid()
    before = payment_of(ledger)
    assert ledger.codes("SubmitIntents", [refund_item()]) == ["ok"]
    assert payment_of(ledger) == before  # a refund that is only asked for moves nothing
    decision = ledger.decide("SubmitReports", [refund_report_item()])
    ledger.state.update(decision.writes)
    after = payment_of(ledger)
    assert after == replace(before, refunded_amount=REFUND.amount, txs=after.txs)
    assert len(after.txs) == len(before.txs) + 1
    refund = refund_of(ledger)
    assert (refund.status, refund.clearing_date) == ("succeeded", "2026-11-23")
    assert refund.result == refund_report_item()
    assert canonical.loads(decision.event) == [["refund", *INTENT.key, "succeeded"]]


def test_a_declined_refund_moves_nothing() -> None:
    ledger = refunding({"status": Status.DECLINED})()
    assert payment_of(ledger).refunded_amount == 0


def test_two_conflicting_refunds_in_one_list() -> None:
    half = INTENT.amount // 2 + 1
    item, other = refund_item(amount=half), refund_item(amount=half - 1)
    following = refund_item(refund_no=2, amount=half)
    ledger = paid()
    codes = ledger.codes("SubmitIntents", [item, other, item, following])
    assert codes == ["ok", "conflict", "duplicate", "refund_out_of_order"]


def test_a_refund_and_its_end_folded_into_lists_conserve_the_amount() -> None:
    ledger = paid()
    first, second = REFUND, replace(REFUND, refund_no=2, amount=INTENT.amount - REFUND.amount + 1)
    assert ledger.codes("SubmitIntents", [refund_item()]) == ["ok"]
    reports = [refund_report_item(of=first), refund_report_item(of=first, status=Status.DECLINED)]
    assert ledger.codes("SubmitReports", reports) == ["ok", "equivocation"]
    (one,) = refund_of(ledger).contradictions
    assert one["report"] == reports[1]
    item = refund_item(refund_no=2, amount=second.amount)
    assert ledger.codes("SubmitIntents", [item]) == ["refund_amount_refused"]
    assert payment_of(ledger).refunded_amount == REFUND.amount


def test_no_order_of_refunds_gives_back_more_than_was_paid() -> None:
    amounts = (1, INTENT.amount // 2, INTENT.amount)
    for asked in itertools.product(amounts, repeat=3):
        ledger = paid()
        number, given = 1, 0
        for amount in asked:
            refund = replace(REFUND, refund_no=number, amount=amount)
            item = refund_item(refund_no=number, amount=amount)
            (code,) = ledger.codes("SubmitIntents", [item])
            fits = given + amount <= INTENT.amount
            assert code == ("ok" if fits else "refund_amount_refused")
            if fits:
                assert ledger.codes("SubmitReports", [refund_report_item(of=refund)]) == ["ok"]
                number, given = number + 1, given + amount
        assert payment_of(ledger).refunded_amount == given <= INTENT.amount


def test_a_refund_of_a_late_success_resolves_it_and_the_status_stays() -> None:
    ledger = late()
    assert payment_of(ledger).excepted
    refund = replace(REFUND, amount=500)
    assert ledger.codes("SubmitIntents", [refund_item(amount=500)]) == ["ok"]
    assert payment_of(ledger).excepted
    assert ledger.codes("SubmitReports", [refund_report_item(of=refund)]) == ["ok"]
    after = payment_of(ledger)
    assert (after.status, after.excepted, after.refunded_amount) == ("declined", False, 0)
    following = w.intent_item(attempt=2)
    assert ledger.codes("SubmitIntents", [following]) == ["ok"]


def test_reports_on_a_payment_and_on_its_refund_can_not_stand_in_for_each_other() -> None:
    ledger = refunding()()
    about_payment = w.report_item(sequence=1)
    assert ledger.codes("SubmitReports", [about_payment]) == ["duplicate"]
    assert refund_of(ledger).status == "requested"
