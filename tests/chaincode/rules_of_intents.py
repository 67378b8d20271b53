"""Rows of SubmitIntents: requests and closes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import contract_world as w
from contract_world import (
    CLOSE,
    Ledger,
    close_item,
    intent_item,
    registered,
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
    claims_es256,
    merchant_key_revoked,
    reported,
    revoked,
    routed_to_the_first,
    suspended,
    suspended_after_request,
    tampered,
    two_acquirers,
)
from samples import INTENT

from clearline import jws
from clearline.intents import Route
from clearline.jws import Typ
from clearline.statuses import Reason, Status

LATER = timedelta(hours=2)
OK_INTENT = intent_item()
ROUTELESS = {"intent": OK_INTENT["intent"]}
INTENTS = [
    Row("all checks pass", "ok", "SubmitIntents", OK_INTENT, registered),
    Row("an ES256 key", "ok", "SubmitIntents", intent_item(w.MERCHANT_ES256), registered),
    Row("1 not an object", "malformed", "SubmitIntents", "x", registered),
    Row("1 unknown member", "malformed", "SubmitIntents", OK_INTENT | {"x": 1}, registered),
    Row(
        "1 a report as an intent",
        "malformed",
        "SubmitIntents",
        {"intent": report_item(), "acquirer_id": "unionpay"},
        registered,
    ),
    Row("1 no JWS", "malformed", "SubmitIntents", OK_INTENT | {"intent": "a.b"}, registered),
    Row(
        "3 another network",
        "network_mismatch",
        "SubmitIntents",
        intent_item(network="other"),
        registered,
    ),
    Row(
        "4 unknown merchant",
        "merchant_unknown",
        "SubmitIntents",
        intent_item(merchant_id="M-9"),
        registered,
    ),
    Row("5 unknown key", "key_unknown", "SubmitIntents", intent_item(w.STRANGER), registered),
    Row(
        "5 the acquirer's key",
        "key_unknown",
        "SubmitIntents",
        intent_item(w.BANK),
        registered,
    ),
    Row(
        "6 signature",
        "signature_invalid",
        "SubmitIntents",
        OK_INTENT | {"intent": tampered(OK_INTENT["intent"])},
        registered,
    ),
    Row(
        "6 the header's algorithm is not the record's",
        "signature_invalid",
        "SubmitIntents",
        claims_es256(OK_INTENT),
        registered,
    ),
    Row("7 again", "duplicate", "SubmitIntents", OK_INTENT, requested),
    Row(
        "7 same intent, signed later",
        "duplicate",
        "SubmitIntents",
        intent_item(created="2026-11-23T08:00:20.000Z"),
        requested,
    ),
    Row(
        "7 again after it expired", "duplicate", "SubmitIntents", OK_INTENT, requested, None, LATER
    ),
    Row(
        "7 again, but not signed by the merchant",
        "signature_invalid",
        "SubmitIntents",
        OK_INTENT | {"intent": tampered(OK_INTENT["intent"])},
        requested,
    ),
    Row(
        "8 revoked key",
        "key_revoked",
        "SubmitIntents",
        OK_INTENT,
        revoked("merchant_key", "merchant_id", INTENT.merchant_id, w.MERCHANT),
    ),
    Row(
        "12 the second acquirer it lists",
        "ok",
        "SubmitIntents",
        intent_item(acquirer_id="second", acquirers=TWO_ROUTES.acquirers),
        two_acquirers,
    ),
    Row(
        "7 again, to the other acquirer it lists",  # the payment keeps its route
        "duplicate",
        "SubmitIntents",
        intent_item(acquirer_id="second", acquirers=TWO_ROUTES.acquirers),
        routed_to_the_first,
    ),
    Row(
        "9 to the other acquirer alone",
        "conflict",
        "SubmitIntents",
        intent_item(acquirer_id="second", acquirers=TWO_ROUTES.acquirers[1:]),
        routed_to_the_first,
    ),
    Row("9 other amount", "conflict", "SubmitIntents", intent_item(amount=2934), requested),
    Row(
        "10 suspended merchant",
        "merchant_inactive",
        "SubmitIntents",
        OK_INTENT,
        suspended("merchant_status", "merchant_id", INTENT.merchant_id),
    ),
    Row(
        "11 an acquirer the intent does not name",
        "acquirer_not_acceptable",
        "SubmitIntents",
        intent_item(acquirer_id="other"),
        registered,
    ),
    Row(
        "12 unknown acquirer",
        "acquirer_unknown",
        "SubmitIntents",
        intent_item(acquirer_id="other", acquirers=(Route("other", w.CODE, "tok"),)),
        registered,
    ),
    Row(
        "13 suspended acquirer",
        "acquirer_inactive",
        "SubmitIntents",
        OK_INTENT,
        suspended("acquirer_status", "acquirer_id", "unionpay"),
    ),
    Row(
        "13 licence over",
        "acquirer_inactive",
        "SubmitIntents",
        intent_item(created="2031-01-01T00:00:00.000Z", expires_at="2031-01-02T00:00:00.000Z"),
        registered,
        None,
        timedelta(days=1501),
    ),
    Row(
        "14 another's merchant code",
        "merchant_code_mismatch",
        "SubmitIntents",
        intent_item(acquirers=(Route("unionpay", "898310148990002", "tok"),)),
        registered,
    ),
    Row(
        "15 currency",
        "currency_not_accepted",
        "SubmitIntents",
        intent_item(currency="EUR"),
        registered,
    ),
    Row(
        "16 from the future",
        "not_yet_valid",
        "SubmitIntents",
        intent_item(created="2026-11-23T08:06:00.000Z"),
        registered,
    ),
    Row(
        "16 a clock a little ahead",
        "ok",
        "SubmitIntents",
        intent_item(created="2026-11-23T08:05:00.000Z"),
        registered,
    ),
    Row(
        "17 in its last second",
        "ok",
        "SubmitIntents",
        OK_INTENT,
        registered,
        None,
        timedelta(minutes=59, seconds=29),
    ),
    Row("17 expired", "expired", "SubmitIntents", OK_INTENT, registered, None, LATER),
    Row(
        "17 expires at this very moment",
        "expired",
        "SubmitIntents",
        intent_item(expires_at="2026-11-23T08:00:30.000Z"),
        registered,
    ),
    Row(
        "18 succeeded before",
        "already_succeeded",
        "SubmitIntents",
        intent_item(attempt=2),
        reported(SUCCEEDED),
    ),
    Row(
        "19 no attempt before",
        "attempt_out_of_order",
        "SubmitIntents",
        intent_item(attempt=2),
        registered,
    ),
    Row(
        "19 the one before is open",
        "attempt_out_of_order",
        "SubmitIntents",
        intent_item(attempt=2),
        requested,
    ),
    Row(
        "19 the one before is unknown",
        "attempt_out_of_order",
        "SubmitIntents",
        intent_item(attempt=2),
        reported(UNKNOWN),
    ),
    Row(
        "19 the one before has an open exception",
        "attempt_out_of_order",
        "SubmitIntents",
        intent_item(attempt=2),
        reported(DECLINED, SUCCEEDED),
    ),
    Row(
        "the exception of the one before is resolved",
        "ok",
        "SubmitIntents",
        intent_item(attempt=2),
        reported(DECLINED, SUCCEEDED, REVERSED),
    ),
    Row("1 pay without a route", "malformed", "SubmitIntents", ROUTELESS, registered),
    Row("after a decline", "ok", "SubmitIntents", intent_item(attempt=2), reported(DECLINED)),
    Row(
        "19 an attempt left out",
        "attempt_out_of_order",
        "SubmitIntents",
        intent_item(attempt=3),
        reported(DECLINED),
    ),
]
# 2: a card number in each field that people or tills fill in.
WITH_CARD_NUMBER: dict[str, dict[str, Any]] = {
    "network": {"network": PAN},
    "merchant_id": {"merchant_id": PAN},
    "order_no": {"order_no": f"o-{PAN}"},
    "store": {"store": PAN},
    "terminal": {"terminal": PAN},
    "goods_category": {"goods_category": PAN},
    "site": {"site": PAN},
    "acquirers": {"acquirers": (Route(PAN, w.CODE, "tok"),)},
    "payer_token": {"acquirers": (Route("unionpay", w.CODE, PAN),)},
    "merchant_code": {"acquirers": (Route("unionpay", "378282246310005", "tok"),)},
}
INTENTS += [
    Row(f"2 in {name}", "card_data_refused", "SubmitIntents", intent_item(**changed), registered)
    for name, changed in WITH_CARD_NUMBER.items()
]


def closed() -> Ledger:
    ledger = requested()
    assert ledger.codes("SubmitIntents", [close_item()]) == ["ok"]
    return ledger


def closed_and_ended() -> Ledger:
    ledger = closed()
    item = report_item(status=Status.CLOSED, reason=Reason.CLOSED_BY_MERCHANT)
    assert ledger.codes("SubmitReports", [item]) == ["ok"]
    return ledger


CLOSES = [
    Row("close", "ok", "SubmitIntents", close_item(), requested),
    Row("close while accepted", "ok", "SubmitIntents", close_item(), reported(ACCEPTED)),
    Row("close while unknown", "ok", "SubmitIntents", close_item(), reported(UNKNOWN)),
    Row(
        "close by a suspended merchant",
        "ok",
        "SubmitIntents",
        close_item(),
        suspended_after_request,
    ),
    Row(
        "close 1 with a route",
        "malformed",
        "SubmitIntents",
        close_item() | {"acquirer_id": "unionpay"},
        requested,
    ),
    Row(
        "close 1 an unknown member",
        "malformed",
        "SubmitIntents",
        {"intent": jws.sign(CLOSE.payload() | {"amount": 1}, Typ.INTENT, w.MERCHANT)},
        requested,
    ),
    Row(
        "close 2 in order_no",
        "card_data_refused",
        "SubmitIntents",
        close_item(order_no=PAN),
        requested,
    ),
    Row(
        "close 3 another network",
        "network_mismatch",
        "SubmitIntents",
        close_item(network="other"),
        requested,
    ),
    Row(
        "close 4 unknown merchant",
        "merchant_unknown",
        "SubmitIntents",
        close_item(merchant_id="M-9"),
        requested,
    ),
    Row("close 5 a stranger", "key_unknown", "SubmitIntents", close_item(w.STRANGER), requested),
    Row("close 5 the acquirer", "key_unknown", "SubmitIntents", close_item(w.BANK), requested),
    Row(
        "close 6 signature",
        "signature_invalid",
        "SubmitIntents",
        {"intent": tampered(close_item()["intent"])},
        requested,
    ),
    Row("close 7 no payment", "payment_unknown", "SubmitIntents", close_item(), registered),
    Row(
        "close 7 no such attempt",
        "payment_unknown",
        "SubmitIntents",
        close_item(attempt=2),
        requested,
    ),
    Row("close 8 again", "duplicate", "SubmitIntents", close_item(), closed),
    Row(
        "close 8 signed later",
        "duplicate",
        "SubmitIntents",
        close_item(created="2026-11-23T08:00:29.000Z"),
        closed,
    ),
    Row("close 8 after the end", "duplicate", "SubmitIntents", close_item(), closed_and_ended),
    Row("close 9 revoked key", "key_revoked", "SubmitIntents", close_item(), merchant_key_revoked),
    Row("close 10 succeeded", "already_final", "SubmitIntents", close_item(), reported(SUCCEEDED)),
    Row("close 10 declined", "already_final", "SubmitIntents", close_item(), reported(DECLINED)),
]
