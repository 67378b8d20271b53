"""Rows of SubmitIntents and SubmitReports about refunds, and of SubmitEvidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import contract_world as w
from contract_world import Ledger, refund_item, refund_report_item, registered
from rule_rows import (
    ACCEPTED,
    DECLINED,
    PAN,
    REVERSED,
    SUCCEEDED,
    UNKNOWN,
    Row,
    lease,
    reported,
    tampered,
)
from samples import INTENT, REFUND
from samples import REPORT as SAMPLE_REPORT

from chaincode.contract.context import Submitter
from clearline import jws
from clearline.codes import Code
from clearline.jws import Typ
from clearline.statuses import Reason, Status

SUBMIT, REPORT, SHOW = "SubmitIntents", "SubmitReports", "SubmitEvidence"
FOREIGN = Submitter("BankTwo", "connector", "person-connector-2")
SECOND = replace(REFUND, refund_no=2, amount=INTENT.amount - REFUND.amount)
LATE: dict[str, Any] = {"amount": 500, "reason": Reason.INVALID_AMOUNT}
paid = reported(SUCCEEDED)
late = reported(DECLINED, LATE)
given_back = reported(DECLINED, LATE, REVERSED | {"amount": 500})


def refunding(*items: dict[str, Any], of: Callable[[], Ledger] = paid) -> Callable[[], Ledger]:
    """The sample refund requested, with these reports, numbered from 1."""

    def given() -> Ledger:
        ledger = of()
        assert ledger.codes(SUBMIT, [refund_item()]) == ["ok"]
        for sequence, changed in enumerate(items, 1):
            item = refund_report_item(**(changed | {"sequence": sequence}))
            (code,) = ledger.codes(REPORT, [item])
            assert Code(code).taken
        return ledger

    return given


def changed(kind: str, **body: Any) -> Callable[[], Ledger]:
    """Paid, then this change of the registry approved."""

    def given() -> Ledger:
        ledger = paid()
        assert w.approved(ledger, w.proposal("r", kind, **body)) == ["ok"]
        return ledger

    return given


def revoked_after_refund() -> Ledger:
    ledger = refunding()()
    body = {"merchant_id": INTENT.merchant_id, "action": "revoke", "key_id": w.MERCHANT.key_id}
    assert w.approved(ledger, w.proposal("r", "merchant_key", **body)) == ["ok"]
    return ledger


def bank_key_revoked() -> Ledger:
    ledger = refunding()()
    body = {"acquirer_id": "unionpay", "action": "revoke", "key_id": w.BANK.key_id}
    assert w.approved(ledger, w.proposal("r", "acquirer_key", **body)) == ["ok"]
    return ledger


def leased_refund() -> Ledger:
    ledger = refunding()()
    assert ledger.codes("TakeLease", [lease(1, "a")]) == ["ok"]
    return ledger


def contradicted() -> Ledger:
    ledger = refunding({})()
    assert ledger.codes(REPORT, [refund_report_item(**DECLINED)]) == ["equivocation"]
    return ledger


SUSPENDED = changed("merchant_status", merchant_id=INTENT.merchant_id, status="suspended")
NO_ACQUIRER = changed("acquirer_status", acquirer_id="unionpay", status="suspended")
REVOKED = changed(
    "merchant_key", merchant_id=INTENT.merchant_id, action="revoke", key_id=w.MERCHANT.key_id
)
REFUNDS = [
    Row("refund: part of it", "ok", SUBMIT, refund_item(), paid),
    Row("refund: all of it", "ok", SUBMIT, refund_item(amount=INTENT.amount), paid),
    Row("refund: by a suspended merchant", "ok", SUBMIT, refund_item(), SUSPENDED),
    Row("refund: at a suspended acquirer", "ok", SUBMIT, refund_item(), NO_ACQUIRER),
    Row("refund: an ES256 key", "ok", SUBMIT, refund_item(w.MERCHANT_ES256), paid),
    Row("refund 1 a route with it", "malformed", SUBMIT, refund_item() | {"acquirer_id": "u"},
        paid),
    Row("refund 1 number 0", "malformed", SUBMIT, refund_item(refund_no=0), paid),
    Row("refund 1 nothing of it", "malformed", SUBMIT, refund_item(amount=0), paid),
    Row("refund 1 expires first", "malformed", SUBMIT,
        refund_item(expires_at=REFUND.created), paid),
    Row("refund 1 unknown member", "malformed", SUBMIT,
        {"intent": jws.sign(REFUND.payload() | {"x": 1}, Typ.INTENT, w.MERCHANT)}, paid),
    Row("refund 2 card data", "card_data_refused", SUBMIT, refund_item(order_no=PAN), paid),
    Row("refund 3 another network", "network_mismatch", SUBMIT, refund_item(network="x"), paid),
    Row("refund 4 unknown merchant", "merchant_unknown", SUBMIT,
        refund_item(merchant_id="M-9"), paid),
    Row("refund 5 unknown key", "key_unknown", SUBMIT, refund_item(w.STRANGER), paid),
    Row("refund 5 the acquirer's key", "key_unknown", SUBMIT, refund_item(w.BANK), paid),
    Row("refund 6 signature", "signature_invalid", SUBMIT,
        {"intent": tampered(refund_item()["intent"])}, paid),
    Row("refund 7 again", "duplicate", SUBMIT, refund_item(), refunding()),
    Row("refund 7 signed again", "duplicate", SUBMIT,
        refund_item(created="2026-11-23T08:00:25.000Z"), refunding()),
    Row("refund 7 again after its end", "duplicate", SUBMIT, refund_item(), refunding({})),
    Row("refund 7 again, the key revoked since", "duplicate", SUBMIT, refund_item(),
        revoked_after_refund),
    Row("refund 8 the key is revoked", "key_revoked", SUBMIT, refund_item(), REVOKED),
    Row("refund 9 another amount under its number", "conflict", SUBMIT, refund_item(amount=999),
        refunding()),
    Row("refund 10 no such payment", "payment_unknown", SUBMIT, refund_item(), registered),
    Row("refund 11 not ended", "not_refundable", SUBMIT, refund_item(), w.requested),
    Row("refund 11 declined", "not_refundable", SUBMIT, refund_item(), reported(DECLINED)),
    Row("refund 11 a late success given back", "not_refundable", SUBMIT,
        refund_item(amount=500), given_back),
    Row("refund 12 more than was paid", "refund_amount_refused", SUBMIT,
        refund_item(amount=INTENT.amount + 1), paid),
    Row("refund 12 another currency", "refund_amount_refused", SUBMIT,
        refund_item(currency="USD"), paid),
    Row("refund 12 more than is left", "refund_amount_refused", SUBMIT,
        refund_item(refund_no=2, amount=SECOND.amount + 1), refunding({})),
    Row("refund 12 all that is left", "ok", SUBMIT,
        refund_item(refund_no=2, amount=SECOND.amount), refunding({})),
    Row("refund 12 a declined one leaves all", "ok", SUBMIT,
        refund_item(refund_no=2, amount=INTENT.amount), refunding(DECLINED)),
    Row("refund 12 part of a late success", "refund_amount_refused", SUBMIT,
        refund_item(amount=499), late),
    Row("refund 12 all of a late success", "ok", SUBMIT, refund_item(amount=500), late),
    Row("refund 13 of the future", "not_yet_valid", SUBMIT, refund_item(), paid,
        after=timedelta(minutes=-6)),
    Row("refund 14 too late", "expired", SUBMIT, refund_item(), paid, after=timedelta(hours=1)),
    Row("refund 15 the second first", "refund_out_of_order", SUBMIT,
        refund_item(refund_no=2), paid),
    Row("refund 15 while one is open", "refund_out_of_order", SUBMIT,
        refund_item(refund_no=2), refunding(UNKNOWN)),
    Row("refund 15 the third after the first", "refund_out_of_order", SUBMIT,
        refund_item(refund_no=3), refunding({})),
]  # fmt: skip
OTHER = replace(REFUND, refund_no=7)
REFUND_REPORTS = [
    Row("refund: success at once", "ok", REPORT, refund_report_item(), refunding()),
    Row("refund: declined", "ok", REPORT, refund_report_item(**DECLINED), refunding()),
    Row("refund: accepted", "ok", REPORT, refund_report_item(**ACCEPTED), refunding()),
    Row("refund: unknown", "ok", REPORT, refund_report_item(**UNKNOWN), refunding()),
    Row("refund: unknown is left again", "ok", REPORT,
        refund_report_item(sequence=3, **ACCEPTED), refunding(ACCEPTED, UNKNOWN)),
    Row("refund 1 a reversal of it", "malformed", REPORT, refund_report_item(**REVERSED),
        refunding()),
    Row("refund 1 closed", "malformed", REPORT, refund_report_item(status=Status.CLOSED),
        refunding()),
    Row("refund 1 a result says unknown", "malformed", REPORT,
        refund_report_item(status=Status.UNKNOWN), refunding()),
    Row("refund 1 number as a text", "malformed", REPORT,
        jws.sign(w.report(refund_no=1).payload() | {"refund_no": "1"}, Typ.REPORT, w.BANK),
        refunding()),
    Row("refund 2 card data", "card_data_refused", REPORT,
        refund_report_item(merchant_name=PAN), refunding()),
    Row("refund 3 another network", "network_mismatch", REPORT,
        refund_report_item(network="x"), refunding()),
    Row("refund 4 unknown acquirer", "acquirer_unknown", REPORT,
        refund_report_item(acquirer_id="x"), refunding()),
    Row("refund 5 another bank's connector", "role_forbidden", REPORT, refund_report_item(),
        refunding(), FOREIGN),
    Row("refund 6 unknown key", "key_unknown", REPORT, refund_report_item(w.STRANGER),
        refunding()),
    Row("refund 7 signature", "signature_invalid", REPORT, tampered(refund_report_item()),
        refunding()),
    Row("refund 8 no such refund", "refund_unknown", REPORT, refund_report_item(of=OTHER),
        refunding()),
    Row("refund 10 again", "duplicate", REPORT, refund_report_item(), refunding({})),
    Row("refund 11 an epoch before", "lease_lost", REPORT, refund_report_item(), leased_refund),
    Row("refund 12 the key is revoked", "key_revoked", REPORT, refund_report_item(),
        bank_key_revoked),
    Row("refund 13 another with its number", "equivocation", REPORT,
        refund_report_item(**DECLINED), refunding({}), writes=True),
    Row("refund 13 a second other one is not kept", "equivocation", REPORT,
        refund_report_item(**UNKNOWN), contradicted),
    Row("refund 14 another intent", "intent_mismatch", REPORT,
        refund_report_item(intent_digest="0" * 64), refunding()),
    Row("refund 15 a number left out", "sequence_gap", REPORT, refund_report_item(sequence=2),
        refunding()),
    Row("refund 16 another amount", "amount_mismatch", REPORT, refund_report_item(amount=999),
        refunding()),
    Row("refund 16 the payment's reference", "reference_mismatch", REPORT,
        refund_report_item(acquirer_reference=SAMPLE_REPORT.acquirer_reference), refunding()),
    Row("refund 16 another's merchant code", "reported_code_mismatch", REPORT,
        refund_report_item(merchant_code="OTHER"), refunding()),
    Row("refund 19 success after the end", "already_final", REPORT,
        refund_report_item(sequence=2), refunding(DECLINED)),
    Row("refund 20 accepted twice", "transition_forbidden", REPORT,
        refund_report_item(sequence=2, **ACCEPTED), refunding(ACCEPTED)),
    Row("refund evidence", "ok", SHOW, refund_report_item(**DECLINED), refunding({})),
    Row("refund evidence again", "duplicate", SHOW, refund_report_item(**DECLINED), contradicted),
    Row("refund evidence of nothing", "no_contradiction", SHOW, refund_report_item(),
        refunding({})),
    Row("refund evidence of no refund", "refund_unknown", SHOW, refund_report_item(of=OTHER),
        refunding()),
]  # fmt: skip
