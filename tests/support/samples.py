"""Well-formed objects that tests vary."""

from clearline.intents import PayIntent, Route
from clearline.reports import Report, acquirer_reference
from clearline.statuses import Reason, ReportKind, Status

INTENT = PayIntent(
    network="clearline-dev",
    merchant_id="M-0001",
    order_no="20261123-0001",
    attempt=1,
    amount=2933,
    currency="CNY",
    acquirers=(Route("unionpay", "898310148990001", "tok_approve"),),
    created="2026-11-23T08:00:00.000Z",
    expires_at="2026-11-23T09:00:00.000Z",
    store="store-1",
    terminal="T0000001",
    mcc="5411",
    product="card",
    goods_category="groceries",
    site="shop.example",
    order_digest="0" * 64,
)
REPORT = Report(
    kind=ReportKind.RESULT,
    network=INTENT.network,
    acquirer_id="unionpay",
    merchant_id=INTENT.merchant_id,
    order_no=INTENT.order_no,
    attempt=INTENT.attempt,
    intent_digest=INTENT.digest(),
    sequence=1,
    status=Status.SUCCEEDED,
    reason=Reason.APPROVED,
    amount=INTENT.amount,
    currency=INTENT.currency,
    acquirer_reference=acquirer_reference(INTENT.key, INTENT.network),
    clearing_date="2026-11-23",
    ended_at="2026-11-23T08:00:01.000Z",
)
