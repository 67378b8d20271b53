"""Rows of SubmitClearing and DecideSettlements, and the ledgers they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import contract_world as w
from contract_world import CHECKER, MAKER, Ledger, approved, proposal, report_item, requested
from rule_rows import DECLINED, PAN, Row, reported, tampered
from samples import INTENT, REFUND

from clearline import clearing
from clearline.clearing import Adjustment, Cleared, Entry, Filing, Part, Payout
from clearline.clearing_schema import Cause, Paid
from clearline.jws import KeySigner

CLEAR, RULE = "SubmitClearing", "DecideSettlements"
DAY = "2026-11-23"
FILE = "f" * 64
FEE = 11
CHARGEBACK = -3000
COMMON: dict[str, Any] = {
    "network": INTENT.network,
    "acquirer_id": "unionpay",
    "merchant_id": INTENT.merchant_id,
    "merchant_code": w.CODE,
    "currency": "CNY",
    "clearing_date": DAY,
}
PAID = Entry("payment", INTENT.order_no, 1, 0, INTENT.amount)
TAKEN_FEE = Entry("fee", INTENT.order_no, 1, 0, FEE)
BACK = Entry("adjustment", "CB-1", 0, 0, CHARGEBACK)
TOTALS: dict[str, Any] = {"payments": INTENT.amount, "refunds": 0, "fees": FEE, "adjustments": 0}
FILING = Filing(**COMMON, file_digest=FILE, lines=2, **TOTALS)
PART = Part(
    **COMMON,
    run=1,
    file_digest=FILE,
    account_id=w.ACCOUNT,
    lines=2,
    **TOTALS,
    carried=0,
    net=INTENT.amount - FEE,
    parts=1,
    part=1,
    entries=(PAID, TAKEN_FEE),
)
ADJUSTMENT = Adjustment(
    **COMMON,
    reference="CB-1",
    cause=Cause.CHARGEBACK,
    amount=CHARGEBACK,
    order_no=INTENT.order_no,
    attempt=1,
)
PAYOUT = Payout(
    **COMMON,
    run=1,
    account_id=w.ACCOUNT,
    amount=PART.net,
    status=Paid.PAID,
    reference="PAY-1",
    value_date="2026-11-24",
)
NAME = f"unionpay/{w.CODE}/CNY/{DAY}/01"


def item(of: Cleared, signer: KeySigner = w.BANK, **changed: Any) -> str:
    """An item of SubmitClearing: this with these fields changed."""
    said: Any = replace(of, **changed)
    return clearing.sign(said, signer)


def ruling(decision: str = "approve", settlement: str = NAME) -> dict[str, str]:
    return {"settlement": settlement, "decision": decision}


def taken(*items: str) -> Callable[[], Ledger]:
    """The sample payment succeeded, and these taken, one list each."""

    def given() -> Ledger:
        ledger = reported({})()
        for one in items:
            assert ledger.codes(CLEAR, [one]) == ["ok"]
        return ledger

    return given


def filed(**changed: Any) -> Callable[[], Ledger]:
    return taken(item(FILING, **changed))


def proposed() -> Ledger:
    return taken(item(FILING), item(PART))()


def decided(decision: str) -> Callable[[], Ledger]:
    def given() -> Ledger:
        ledger = proposed()
        assert ledger.codes(RULE, [ruling(decision)]) == ["ok"]
        return ledger

    return given


stated, rejected = decided("approve"), decided("reject")


def paid_out(**changed: Any) -> Callable[[], Ledger]:
    def given() -> Ledger:
        ledger = stated()
        assert ledger.codes(CLEAR, [item(PAYOUT, **changed)]) == ["ok"]
        return ledger

    return given


def key_revoked() -> Ledger:
    ledger = filed()()
    body = {"acquirer_id": "unionpay", "action": "revoke", "key_id": w.BANK.key_id}
    assert approved(ledger, proposal("r", "acquirer_key", **body)) == ["ok"]
    return ledger


def moved() -> Ledger:
    """The merchant's account changes from the next day on."""
    ledger = filed()()
    other = proposal("a2", "account", **w.account(w.OTHER_ACCOUNT))
    assert approved(ledger, other) == ["ok"]
    change = proposal("c2", "merchant_account", **w.account_body())
    assert approved(ledger, change) == ["ok"]
    return ledger


def moved_and_filed() -> Ledger:
    ledger = moved()
    assert ledger.codes(CLEAR, [item(FILING, **NEXT, **NOTHING)]) == ["ok"]
    return ledger


def with_adjustment() -> Ledger:
    """The file of a day with a payment, its fee, and a chargeback larger than both."""
    return taken(item(FILING, lines=3, adjustments=CHARGEBACK), item(ADJUSTMENT))()


def other_bank() -> Ledger:
    """The merchant has a code at BankTwo's acquirer as well."""
    ledger = reported({})()
    body = w.acquirer("second", keys=[w.STRANGER.jwk])
    code = {"merchant_id": INTENT.merchant_id, "acquirer_id": "second", "code": w.CODE}
    assert approved(ledger, proposal("a2", "acquirer", **body), bank="BankTwo") == ["ok"]
    assert approved(ledger, proposal("c2", "merchant_code", **code), bank="BankTwo") == ["ok"]
    assert ledger.codes(CLEAR, [item(FILING)]) == ["ok"]
    return ledger


def other_banks_file() -> Ledger:
    ledger = other_bank()
    filing = item(FILING, w.STRANGER, acquirer_id="second")
    maker = replace(MAKER, msp_id="BankTwo")
    assert ledger.codes(CLEAR, [filing], submitter=maker) == ["ok"]
    return ledger


def half() -> Ledger:
    """The first part of two is taken."""
    return taken(item(FILING), item(PART, parts=2, entries=(PAID,)))()


def declined() -> Ledger:
    ledger = reported(DECLINED)()
    assert ledger.codes(CLEAR, [item(FILING)]) == ["ok"]
    return ledger


def undated() -> Ledger:
    """The bank's report left the clearing date out."""
    ledger = requested()
    assert ledger.codes("SubmitReports", [report_item(clearing_date=None)]) == ["ok"]
    assert ledger.codes(CLEAR, [item(FILING)]) == ["ok"]
    return ledger


def next_day_filed() -> Ledger:
    """Settled; a file of the next day names the same payment again."""
    ledger = stated()
    assert ledger.codes(CLEAR, [item(FILING, **NEXT)]) == ["ok"]
    return ledger


def carried_changed() -> Ledger:
    """The next day is proposed with nothing carried; then the payout of the first comes back."""
    ledger = stated()
    filing, part = item(FILING, **NEXT, **NOTHING), item(PART, **NEXT, **NOTHING, net=0, entries=())
    assert ledger.codes(CLEAR, [filing, part]) == ["ok", "ok"]
    assert ledger.codes(CLEAR, [item(PAYOUT, status=Paid.RETURNED)]) == ["ok"]
    return ledger


def overtaken() -> Ledger:
    """Both days are proposed with nothing to settle, the later one is stated."""
    ledger = reported({})()
    for day in ({}, NEXT):
        items = [item(FILING, **day, **NOTHING), item(PART, **day, **NOTHING, net=0, entries=())]
        assert ledger.codes(CLEAR, items) == ["ok", "ok"]
    assert ledger.codes(RULE, [ruling(settlement=NEXT_NAME)]) == ["ok"]
    return ledger


def refund_of(**changed: Any) -> Callable[[], Ledger]:
    """The sample payment, its refund as reported so, and a file with both."""

    def given() -> Ledger:
        ledger = reported({})()
        assert ledger.codes("SubmitIntents", [w.refund_item()]) == ["ok"]
        assert ledger.codes("SubmitReports", [w.refund_report_item(**changed)]) == ["ok"]
        assert ledger.codes(CLEAR, [item(FILING, lines=3, refunds=REFUND.amount)]) == ["ok"]
        return ledger

    return given


refunded, refunded_next_day = refund_of(), refund_of(clearing_date="2026-11-24")
refund_declined = refund_of(**DECLINED)
GIVEN_BACK = Entry("refund", INTENT.order_no, 1, 1, REFUND.amount)
REFUNDED: dict[str, Any] = {
    "lines": 3,
    "refunds": REFUND.amount,
    "net": PART.net - REFUND.amount,
    "entries": (PAID, TAKEN_FEE, GIVEN_BACK),
}
NEXT: dict[str, Any] = {"clearing_date": "2026-11-24"}
NEXT_NAME = NAME.replace(DAY, NEXT["clearing_date"])
NOTHING: dict[str, Any] = {"lines": 0, "payments": 0, "fees": 0}
FROM_TWO = replace(MAKER, msp_id="BankTwo")
MORE: dict[str, Any] = {"fees": 12, "net": PART.net - 1}
ADJUSTED: dict[str, Any] = {"lines": 3, "adjustments": CHARGEBACK, "net": PART.net + CHARGEBACK}
ALL_THREE = (PAID, TAKEN_FEE, BACK)


def row(rule: str, code: str, what: Any, given: Callable[[], Ledger], **more: Any) -> Row:
    return Row(rule, code, CLEAR, what, given, **more)


def part(rule: str, code: str, given: Callable[[], Ledger], **changed: Any) -> Row:
    return Row(rule, code, CLEAR, item(PART, **changed), given)


CLEARING = [
    row("a file", "ok", item(FILING), reported({})),
    row("an adjustment", "ok", item(ADJUSTMENT), reported({})),
    row(
        "an adjustment about no payment",
        "ok",
        item(ADJUSTMENT, order_no=None, attempt=None, cause=Cause.CORRECTION, amount=5),
        reported({}),
    ),
    row("1 not a text", "malformed", 7, reported({})),
    row("1 a report", "malformed", report_item(), reported({})),
    row("1 a fee before its payment", "malformed", item(PART, entries=(TAKEN_FEE,)), filed()),
    row(
        "1 a fee of another payment",
        "malformed",
        item(PART, entries=(PAID, TAKEN_FEE._replace(attempt=2))),
        filed(),
    ),
    row("1 two fees", "malformed", item(PART, entries=(PAID, TAKEN_FEE, TAKEN_FEE)), filed()),
    row("1 a negative fee", "malformed", item(FILING, fees=-1), reported({})),
    row("1 a part beyond the last", "malformed", item(PART, part=2), filed()),
    row("1 no adjustment", "malformed", item(ADJUSTMENT, amount=0), reported({})),
    row("1 an order without attempt", "malformed", item(ADJUSTMENT, attempt=None), reported({})),
    row("2 in a reference", "card_data_refused", item(ADJUSTMENT, reference=PAN), reported({})),
    row(
        "2 in a line",
        "card_data_refused",
        item(PART, entries=(PAID._replace(name=PAN),)),
        filed(),
    ),
    row("3 network", "network_mismatch", item(FILING, network="other"), reported({})),
    row("4 acquirer", "acquirer_unknown", item(FILING, acquirer_id="other"), reported({})),
    row("5 another bank's", "role_forbidden", item(FILING), reported({}), submitter=FROM_TWO),
    row("6 key", "key_unknown", item(FILING, w.STRANGER), reported({})),
    row("7 signature", "signature_invalid", tampered(item(FILING)), reported({})),
    row("8 code", "merchant_code_mismatch", item(FILING, merchant_code="1"), reported({})),
    row("8 merchant", "merchant_code_mismatch", item(FILING, merchant_id="M-2"), reported({})),
    row("9 the file again", "duplicate", item(FILING), filed()),
    row("9 the file again, key revoked since", "duplicate", item(FILING), key_revoked),
    row("9 the adjustment again", "duplicate", item(ADJUSTMENT), with_adjustment),
    row("9 the part again", "duplicate", item(PART), stated),
    row("9 the payout again", "duplicate", item(PAYOUT), paid_out()),
    row("10 key revoked", "key_revoked", item(PART), key_revoked),
    row("11 another file", "conflict", item(FILING, file_digest="0" * 64), filed()),
    row("11 another adjustment", "conflict", item(ADJUSTMENT, amount=-1), with_adjustment),
    row("12 of no payment", "payment_unknown", item(ADJUSTMENT, attempt=2), reported({})),
    row("12 of a declined one", "payment_unknown", item(ADJUSTMENT), reported(DECLINED)),
    part("a settlement", "ok", filed()),
    part("with a chargeback", "ok", with_adjustment, **ADJUSTED, entries=ALL_THREE),
    part("a first part", "ok", filed(), parts=2, entries=(PAID,)),
    part("the second one, empty", "ok", filed(), parts=2, part=2, entries=()),
    part("a day that the report left out", "ok", undated),
    part("the run after a rejected one", "ok", rejected, run=2),
    part("the day before the account changes", "ok", moved),
    part("11 another part", "conflict", half, parts=2, entries=()),
    part("12 no file", "file_unknown", reported({})),
    part("12 another file", "file_unknown", filed(), file_digest="0" * 64),
    part("13 other fees than the file", "totals_mismatch", filed(), **MORE),
    part("13 other lines than the file", "totals_mismatch", filed(), lines=3),
    part("13 a net that is another", "totals_mismatch", filed(), net=PART.net + 1),
    part("14 carried", "totals_mismatch", filed(), carried=-5, net=PART.net - 5),
    part("15 another payee", "payee_mismatch", filed(), account_id=w.OTHER_ACCOUNT),
    part("15 the payee to come", "payee_mismatch", moved, account_id=w.OTHER_ACCOUNT),
    part(
        "15 the payee of before",
        "payee_mismatch",
        moved_and_filed,
        **NEXT,
        **NOTHING,
        net=0,
        entries=(),
    ),
    part(
        "15 the payee of that day",
        "ok",
        moved_and_filed,
        **NEXT,
        **NOTHING,
        net=0,
        entries=(),
        account_id=w.OTHER_ACCOUNT,
    ),
    part("16 the run before is proposed", "settlement_closed", proposed, run=2),
    part("16 there is no run before", "settlement_closed", filed(), run=2),
    part("16 stated", "settlement_closed", stated, run=2),
    part("16 rejected", "settlement_closed", rejected, parts=2, part=2, entries=()),
    part("16 another header", "conflict", half, parts=3, part=2, entries=()),
    Row(
        "16 another maker",
        "role_forbidden",
        CLEAR,
        item(PART, parts=2, part=2, entries=()),
        half,
        replace(MAKER, person="third"),
    ),
    part("17 no such payment", "line_unknown", filed(), entries=(PAID._replace(attempt=2),)),
    part("17 declined", "line_unknown", declined),
    part("17 no such adjustment", "line_unknown", filed(), entries=(BACK,)),
    part(
        "17 no such refund",
        "line_unknown",
        filed(),
        entries=(GIVEN_BACK,),
    ),
    part("17 a refund that was declined", "line_unknown", refund_declined, **REFUNDED),
    part("a refund", "ok", refunded, **REFUNDED),
    part(
        "18 a refund's amount",
        "line_mismatch",
        refunded,
        **(REFUNDED | {"entries": (PAID, TAKEN_FEE, GIVEN_BACK._replace(amount=999))}),
    ),
    part("18 a refund of another day", "line_mismatch", refunded_next_day, **REFUNDED),
    part(
        "19 a refund twice",
        "already_settled",
        refunded,
        **(REFUNDED | {"entries": (PAID, GIVEN_BACK, GIVEN_BACK)}),
    ),
    Row(
        "17 at another acquirer",
        "line_unknown",
        CLEAR,
        item(PART, w.STRANGER, acquirer_id="second"),
        other_banks_file,
        FROM_TWO,
    ),
    part("18 amount", "line_mismatch", filed(), entries=(PAID._replace(amount=1), TAKEN_FEE)),
    part(
        "18 an adjustment's amount",
        "line_mismatch",
        with_adjustment,
        **ADJUSTED,
        entries=(PAID, TAKEN_FEE, BACK._replace(amount=-1)),
    ),
    part("18 day", "line_mismatch", taken(item(FILING, **NEXT)), **NEXT),
    part("19 twice in a part", "already_settled", filed(), entries=(PAID, PAID)),
    part(
        "19 twice in a settlement",
        "already_settled",
        half,
        parts=2,
        part=2,
        entries=(PAID, TAKEN_FEE),
    ),
    part("18 of a day that is settled", "line_mismatch", next_day_filed, **NEXT),
    part("20 a line is missing", "totals_mismatch", filed(), entries=(PAID,)),
    part("20 in the last part", "totals_mismatch", half, parts=2, part=2, entries=()),
    row("paid", "ok", item(PAYOUT), stated),
    row("returned", "ok", item(PAYOUT, status=Paid.RETURNED), stated),
    row("11 no such settlement", "settlement_unknown", item(PAYOUT), filed()),
    row("12 not stated yet", "settlement_closed", item(PAYOUT), proposed),
    row("12 paid", "settlement_closed", item(PAYOUT, reference="PAY-2"), paid_out()),
    row("13 another account", "payee_mismatch", item(PAYOUT, account_id=w.OTHER_ACCOUNT), stated),
    row("14 another amount", "totals_mismatch", item(PAYOUT, amount=1), stated),
]
CARD_CODE = NAME.replace(w.CODE, "378282246310005")
DECIDING_SETTLEMENTS = [
    Row("approve", "ok", RULE, ruling(), proposed),
    Row("reject", "ok", RULE, ruling("reject"), proposed),
    Row("reject one that is open", "ok", RULE, ruling("reject"), half),
    Row("1 no id", "malformed", RULE, ruling(settlement="x"), proposed),
    Row("1 a code", "card_data_refused", RULE, ruling(settlement=CARD_CODE), proposed),
    Row("2 none", "settlement_unknown", RULE, ruling(), filed()),
    Row(
        "3 another bank decides",
        "role_forbidden",
        RULE,
        ruling(),
        proposed,
        replace(CHECKER, msp_id="BankTwo"),
    ),
    Row(
        "4 the maker's own",
        "same_person",
        RULE,
        ruling(),
        proposed,
        replace(CHECKER, person=MAKER.person),
    ),
    Row("5 again", "duplicate", RULE, ruling(), stated),
    Row("5 again, paid since", "duplicate", RULE, ruling(), paid_out()),
    Row("5 rejected again", "duplicate", RULE, ruling("reject"), rejected),
    Row("6 a part is missing", "settlement_closed", RULE, ruling(), half),
    Row("6 stated", "settlement_closed", RULE, ruling("reject"), stated),
    Row(
        "6 by somebody else",
        "settlement_closed",
        RULE,
        ruling(),
        stated,
        replace(CHECKER, person="third"),
    ),
    Row("7 a later day is settled", "settlement_closed", RULE, ruling(), overtaken),
    Row(
        "7 a payout came back since",
        "totals_mismatch",
        RULE,
        ruling(settlement=NEXT_NAME),
        carried_changed,
    ),
]
