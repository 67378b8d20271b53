"""Rows of SubmitReports, SubmitEvidence and TakeLease."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import contract_world as w
from contract_world import (
    Ledger,
    approved,
    intent_item,
    proposal,
    report_item,
    requested,
)
from rule_rows import (
    ACCEPTED,
    DECLINED,
    PAN,
    REVERSED,
    SUCCEEDED,
    TWO_ROUTES,
    UNKNOWN,
    Row,
    lease,
    leased,
    reported,
    revoked,
    routed_to_the_first,
    taken_over,
    tampered,
    under,
)
from samples import INTENT, REPORT

from chaincode.contract.context import Submitter
from clearline import jws
from clearline.jws import Typ
from clearline.statuses import Reason, ReportKind, Status

OK_INTENT = intent_item()
OVERPAID: dict[str, Any] = {"amount": 2934, "reason": Reason.INVALID_AMOUNT}
FOREIGN = Submitter("BankTwo", "connector", "person-connector-2")
OTHER_PAYMENT = replace(INTENT, order_no="other")
REPORTS = [
    Row("success at once", "ok", "SubmitReports", report_item(), requested),
    Row("a response", "ok", "SubmitReports", report_item(**ACCEPTED), requested),
    Row("unknown", "ok", "SubmitReports", report_item(**UNKNOWN), requested),
    Row(
        "unknown is left again",
        "ok",
        "SubmitReports",
        report_item(sequence=3, **ACCEPTED),
        reported(ACCEPTED, UNKNOWN),
    ),
    Row("1 neither text nor object", "malformed", "SubmitReports", 7, requested),
    Row("1 unknown members", "malformed", "SubmitReports", {"x": 1}, requested),
    Row("1 no epoch", "malformed", "SubmitReports", {"report": report_item()}, requested),
    Row(
        "1 an epoch below 0",
        "malformed",
        "SubmitReports",
        {"report": report_item(), "epoch": -1},
        requested,
    ),
    Row(
        "1 a reversal for another reason",
        "malformed",
        "SubmitReports",
        report_item(**(REVERSED | {"reason": Reason.OTHER})),
        requested,
    ),
    Row(
        "1 a reversal can't succeed",
        "malformed",
        "SubmitReports",
        report_item(**(REVERSED | {"status": Status.SUCCEEDED})),
        requested,
    ),
    Row("11 no lease, epoch 0", "ok", "SubmitReports", under(0), requested),
    Row("11 no lease, epoch 1", "lease_lost", "SubmitReports", under(1), requested),
    Row("11 the epoch in force", "ok", "SubmitReports", under(2), leased("a", "b")),
    Row("11 an epoch before", "lease_lost", "SubmitReports", under(1), leased("a", "b")),
    Row("11 an epoch to come", "lease_lost", "SubmitReports", under(3), leased("a", "b")),
    Row("11 a bare text", "lease_lost", "SubmitReports", report_item(), leased("a")),
    Row("10 again after a takeover", "duplicate", "SubmitReports", under(1), taken_over),
    Row(
        "11 a contradiction from before a takeover is not kept",
        "lease_lost",
        "SubmitReports",
        under(1, **DECLINED),
        taken_over,
    ),
    Row("1 an intent", "malformed", "SubmitReports", OK_INTENT["intent"], requested),
    Row(
        "1 no such status",  # the detail lists all there are: in one order at every endorser
        "malformed",
        "SubmitReports",
        jws.sign(REPORT.payload() | {"status": "lost"}, Typ.REPORT, w.BANK),
        requested,
    ),
    Row(
        "1 a response can't succeed",
        "malformed",
        "SubmitReports",
        report_item(kind=ReportKind.RESPONSE),
        requested,
    ),
    Row(
        "3 another network",
        "network_mismatch",
        "SubmitReports",
        report_item(network="other"),
        requested,
    ),
    Row(
        "4 unknown acquirer",
        "acquirer_unknown",
        "SubmitReports",
        report_item(acquirer_id="other"),
        requested,
    ),
    Row(
        "5 another bank's connector",
        "role_forbidden",
        "SubmitReports",
        report_item(),
        requested,
        FOREIGN,
    ),
    Row("6 unknown key", "key_unknown", "SubmitReports", report_item(w.STRANGER), requested),
    Row("6 the merchant's key", "key_unknown", "SubmitReports", report_item(w.MERCHANT), requested),
    Row("7 signature", "signature_invalid", "SubmitReports", tampered(report_item()), requested),
    Row(
        "8 unknown payment",
        "payment_unknown",
        "SubmitReports",
        report_item(of=OTHER_PAYMENT),
        requested,
    ),
    Row(
        "10 again",
        "duplicate",
        "SubmitReports",
        report_item(),
        reported(SUCCEEDED),
    ),
    Row(
        "10 an earlier one again",
        "duplicate",
        "SubmitReports",
        report_item(**ACCEPTED),
        reported(ACCEPTED, SUCCEEDED),
    ),
    Row(
        "11 revoked key",
        "key_revoked",
        "SubmitReports",
        report_item(),
        revoked("acquirer_key", "acquirer_id", "unionpay", w.BANK),
    ),
    Row(
        "12 another intent",
        "intent_mismatch",
        "SubmitReports",
        report_item(intent_digest="1" * 64),
        requested,
    ),
    Row(
        "13 other content under one number",
        "equivocation",
        "SubmitReports",
        report_item(**DECLINED),
        reported(SUCCEEDED),
        writes=True,
    ),
    Row(
        "13 other content under an earlier number",
        "equivocation",
        "SubmitReports",
        report_item(**UNKNOWN),
        reported(ACCEPTED, SUCCEEDED),
        writes=True,
    ),
    Row("14 a gap", "sequence_gap", "SubmitReports", report_item(sequence=2), requested),
    Row(
        "16 another reference",
        "reference_mismatch",
        "SubmitReports",
        report_item(acquirer_reference="0" * 40),
        requested,
    ),
    Row(
        "16 a decline with another reference",
        "reference_mismatch",
        "SubmitReports",
        report_item(**(DECLINED | {"acquirer_reference": "0" * 40})),
        requested,
    ),
    Row(
        "16 paid at another code",
        "reported_code_mismatch",
        "SubmitReports",
        report_item(merchant_code="1"),
        requested,
    ),
    Row(
        "16 accepted at another code",
        "reported_code_mismatch",
        "SubmitReports",
        report_item(**(ACCEPTED | {"merchant_code": "1"})),
        requested,
    ),
    Row(
        "16 paid late at another code",
        "reported_code_mismatch",
        "SubmitReports",
        report_item(sequence=2, merchant_code="1"),
        reported(DECLINED),
    ),
    Row(
        "16 paid at the payment's code",
        "ok",
        "SubmitReports",
        report_item(merchant_code=w.CODE),
        requested,
    ),
    Row(
        "16 a decline that names another code",
        "ok",
        "SubmitReports",
        report_item(**(DECLINED | {"merchant_code": "1"})),
        requested,
    ),
    Row("15 another amount", "amount_mismatch", "SubmitReports", report_item(amount=1), requested),
    Row(
        "15 another currency",
        "amount_mismatch",
        "SubmitReports",
        report_item(currency="USD"),
        requested,
    ),
    Row(
        "17 late success",
        "late_success",
        "SubmitReports",
        report_item(sequence=2),
        reported(DECLINED),
    ),
    Row(
        "17 late success of another amount",
        "late_success",
        "SubmitReports",
        report_item(sequence=2, **OVERPAID),
        reported(DECLINED),
    ),
    Row(
        "18 its reversal, of that amount",
        "ok",
        "SubmitReports",
        report_item(sequence=3, **(REVERSED | {"amount": 2934})),
        reported(DECLINED, OVERPAID),
    ),
    Row(
        "16 its reversal, of the amount that was asked",
        "amount_mismatch",
        "SubmitReports",
        report_item(sequence=3, **REVERSED),
        reported(DECLINED, OVERPAID),
    ),
    Row(
        "16 a reversal of another amount",
        "amount_mismatch",
        "SubmitReports",
        report_item(sequence=3, **(REVERSED | {"amount": 2934})),
        reported(DECLINED, SUCCEEDED),
    ),
    Row(
        "16 a reversal in another currency",
        "amount_mismatch",
        "SubmitReports",
        report_item(sequence=3, **(REVERSED | {"currency": "USD"})),
        reported(DECLINED, SUCCEEDED),
    ),
    Row(
        "17 late success again",
        "duplicate",
        "SubmitReports",
        report_item(sequence=2),
        reported(DECLINED, SUCCEEDED),
    ),
    Row(
        "17 another one after its reversal",
        "late_success",
        "SubmitReports",
        report_item(sequence=4),
        reported(DECLINED, SUCCEEDED, REVERSED),
    ),
    Row(
        "18 its reversal",
        "ok",
        "SubmitReports",
        report_item(sequence=3, **REVERSED),
        reported(DECLINED, SUCCEEDED),
    ),
    Row(
        "18 its reversal with another status",
        "transition_forbidden",
        "SubmitReports",
        report_item(sequence=3, **(REVERSED | {"status": Status.CLOSED})),
        reported(DECLINED, SUCCEEDED),
    ),
    Row(
        "19 a second success while the first is open",
        "already_final",
        "SubmitReports",
        report_item(sequence=3),
        reported(DECLINED, SUCCEEDED),
    ),
    Row(
        "19 a second reversal",
        "already_final",
        "SubmitReports",
        report_item(sequence=4, **REVERSED),
        reported(DECLINED, SUCCEEDED, REVERSED),
    ),
    Row(
        "19 a reversal of nothing",
        "already_final",
        "SubmitReports",
        report_item(sequence=2, **REVERSED),
        reported(DECLINED),
    ),
    Row(
        "19 a success after success",
        "already_final",
        "SubmitReports",
        report_item(sequence=2),
        reported(SUCCEEDED),
    ),
    Row(
        "19 a failure after success",
        "already_final",
        "SubmitReports",
        report_item(sequence=2, **DECLINED),
        reported(SUCCEEDED),
    ),
    Row(
        "19 another failure",
        "already_final",
        "SubmitReports",
        report_item(sequence=2, **DECLINED),
        reported(DECLINED),
    ),
    Row(
        "20 a reversal before the end",
        "transition_forbidden",
        "SubmitReports",
        report_item(sequence=2, **REVERSED),
        reported(ACCEPTED),
    ),
    Row(
        "20 accepted twice",
        "transition_forbidden",
        "SubmitReports",
        report_item(sequence=2, **ACCEPTED),
        reported(ACCEPTED),
    ),
]


def with_card(field: str) -> str:
    changed: dict[str, Any] = {field: PAN}
    return report_item(**changed)


REPORTS += [
    Row(f"2 in {name}", "card_data_refused", "SubmitReports", with_card(name), requested)
    for name in (
        *("network", "acquirer_id", "merchant_id", "order_no"),
        *("merchant_name", "payer_token", "clearing_route", "acquirer_reference"),
    )
]
REPORTS.append(
    Row(
        "2 in merchant_code",
        "card_data_refused",
        "SubmitReports",
        report_item(merchant_code="378282246310005"),
        requested,
    )
)


def second_acquirer() -> Ledger:
    """Another acquirer of BankOne; the sample payment goes through the first."""
    ledger = requested()
    body = w.acquirer("second")
    assert approved(ledger, proposal("a2", "acquirer", **body)) == ["ok"]
    return ledger


REPORTS.append(
    Row(
        "9 another acquirer of the bank",
        "acquirer_mismatch",
        "SubmitReports",
        report_item(acquirer_id="second"),
        second_acquirer,
    )
)
# After commit the route is fixed, whatever other acquirers the intent lists.
REPORTS += [
    Row(
        "9 the acquirer the payment went to, of two it lists",
        "ok",
        "SubmitReports",
        report_item(of=TWO_ROUTES),
        routed_to_the_first,
    ),
    Row(
        "9 the other acquirer it lists",
        "acquirer_mismatch",
        "SubmitReports",
        report_item(of=TWO_ROUTES, acquirer_id="second"),
        routed_to_the_first,
    ),
]


TAKE = "TakeLease"
BANK_TWO = replace(w.CONNECTOR, msp_id="BankTwo")
LEASES = [
    Row("the first", "ok", TAKE, lease(1, "a"), requested),
    Row("a takeover", "ok", TAKE, lease(2, "b"), leased("a")),
    Row("the holder again in a new epoch", "ok", TAKE, lease(2, "a"), leased("a")),
    Row("1 not an object", "malformed", TAKE, "unionpay", requested),
    Row("1 a holder without a name", "malformed", TAKE, lease(1, ""), requested),
    Row("2 in holder", "card_data_refused", TAKE, lease(1, PAN), requested),
    Row("2 in acquirer_id", "card_data_refused", TAKE, lease(1, "a", PAN), requested),
    Row("3 unknown acquirer", "acquirer_unknown", TAKE, lease(1, "a", "none"), requested),
    Row("4 another bank's", "role_forbidden", TAKE, lease(1, "a"), requested, BANK_TWO),
    Row("5 again", "duplicate", TAKE, lease(2, "b"), leased("a", "b")),
    Row("6 the same epoch", "lease_taken", TAKE, lease(1, "b"), leased("a")),
    Row("6 an epoch before", "lease_taken", TAKE, lease(1, "a"), leased("a", "b")),
    Row("6 an epoch left out", "lease_taken", TAKE, lease(3, "b"), leased("a")),
    Row("6 epoch 0", "lease_taken", TAKE, lease(0, "a"), requested),
]


def shown() -> Ledger:
    """A contradiction of the result is on the ledger."""
    ledger = reported(SUCCEEDED)()
    assert ledger.codes("SubmitEvidence", [report_item(**DECLINED)]) == ["ok"]
    return ledger


def bank_key_revoked() -> Ledger:
    ledger = reported(SUCCEEDED)()
    body = {"acquirer_id": "unionpay", "action": "revoke", "key_id": w.BANK.key_id}
    assert approved(ledger, proposal("r", "acquirer_key", **body)) == ["ok"]
    return ledger


SHOW = "SubmitEvidence"
OTHER = report_item(**DECLINED)
EVIDENCE = [
    *(
        Row(f"by {role}", "ok", SHOW, OTHER, reported(SUCCEEDED), Submitter("BankTwo", role, "p"))
        for role in ("gateway", "connector", "supervisor", "auditor")
    ),
    Row("of a response", "ok", SHOW, report_item(**UNKNOWN), reported(ACCEPTED, SUCCEEDED)),
    Row(
        "of a late success",
        "ok",
        SHOW,
        report_item(sequence=2, **REVERSED),
        reported(DECLINED, SUCCEEDED),
    ),
    Row(
        "about another intent",
        "ok",
        SHOW,
        report_item(intent_digest="1" * 64),
        reported(SUCCEEDED),
    ),
    Row("signed with a key revoked since", "ok", SHOW, OTHER, bank_key_revoked),
    Row("1 an intent", "malformed", SHOW, OK_INTENT["intent"], reported(SUCCEEDED)),
    Row("1 an object", "malformed", SHOW, under(0), reported(SUCCEEDED)),
    Row("2 in order_no", "card_data_refused", SHOW, report_item(order_no=PAN), requested),
    Row("3 network", "network_mismatch", SHOW, report_item(network="other"), requested),
    Row("4 acquirer", "acquirer_unknown", SHOW, report_item(acquirer_id="other"), requested),
    Row("5 key", "key_unknown", SHOW, report_item(w.STRANGER), reported(SUCCEEDED)),
    Row("6 signature", "signature_invalid", SHOW, tampered(OTHER), reported(SUCCEEDED)),
    Row("7 payment", "payment_unknown", SHOW, report_item(of=OTHER_PAYMENT), requested),
    Row("8 route", "acquirer_mismatch", SHOW, report_item(acquirer_id="second"), second_acquirer),
    Row("9 no report yet", "no_contradiction", SHOW, OTHER, requested),
    Row("9 the same report", "no_contradiction", SHOW, report_item(), reported(SUCCEEDED)),
    Row("10 again", "duplicate", SHOW, OTHER, shown),
    Row("10 a third one", "duplicate", SHOW, report_item(**ACCEPTED), shown),
    Row("13 reported when it is known", "equivocation", "SubmitReports", OTHER, shown),
]
