"""Well-formed objects that tests vary."""

from clearline.intents import PayIntent, Route
from clearline.refunds import RefundIntent
from clearline.refunds import reference as refund_reference
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
REFUND = RefundIntent(
    network=INTENT.network,
    merchant_id=INTENT.merchant_id,
    order_no=INTENT.order_no,
    attempt=INTENT.attempt,
    refund_no=1,
    amount=1000,
    currency=INTENT.currency,
    created="2026-11-23T08:00:20.000Z",
    expires_at="2026-11-23T09:00:00.000Z",
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
REFUND_REPORT = Report(
    kind=ReportKind.RESULT,
    network=REFUND.network,
    acquirer_id="unionpay",
    merchant_id=REFUND.merchant_id,
    order_no=REFUND.order_no,
    attempt=REFUND.attempt,
    intent_digest=REFUND.digest(),
    sequence=1,
    status=Status.SUCCEEDED,
    reason=Reason.APPROVED,
    amount=REFUND.amount,
    currency=REFUND.currency,
    acquirer_reference=refund_reference(REFUND.key, REFUND.network),
    clearing_date="2026-11-23",
    ended_at="2026-11-23T08:00:21.000Z",
    refund_no=REFUND.refund_no,
)
