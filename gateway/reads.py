"""GET /v1/payments and /v1/payments/{order_no}: a merchant's own payments."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from flask import Blueprint, Response, g, request

from clearline import bearer, times
from clearline.answers import PaymentAnswer
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.jws import JwsError
from clearline.schema import ORDER_NO, SchemaError
from gateway import http, problems, selection
from gateway.http import services
from gateway.reader import ReceivedView, Snapshot, verification_key
from gateway.selection import FILTERS, encode_cursor

DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 200
blueprint = Blueprint("reads", __name__)


@dataclass(frozen=True, slots=True)
class _Found:
    """A payment, or none with the reason; and the block it was read at. `refusal`: why an intent
    that this gateway gave a receipt for won't be on the ledger, signed (a JWS)."""

    payment: PaymentAnswer | None
    last_block: int
    detail: str = "there is no such payment of this merchant"
    refusal: str = ""


@blueprint.get("/v1/payments/<order_no>")
def get_payment(order_no: str) -> Response:
    """One attempt at an order, the newest unless `attempt` says which."""
    found = http.parameters("attempt", "min_block")
    attempt = http.number(found, "attempt", 1, 9999)
    min_block = http.number(found, "min_block", 0)
    asked = http.preferences()
    check_order_no(order_no)
    merchant_id = authenticated()
    reach(min_block)
    seen = _look(merchant_id, order_no, attempt)
    headers: dict[str, str] = {}
    if asked.wait is not None and seen.payment is not None:
        with services().waiting.long() as seated:
            if seated:
                seen = _wait(merchant_id, seen.payment, asked.wait)
                headers["Preference-Applied"] = f"wait={asked.wait}"
    headers[http.BLOCK] = str(seen.last_block)
    payment = seen.payment
    if payment is None:
        members = {"receipt_refusal": seen.refusal} if seen.refusal else {}
        raise problems.Declined(Code.PAYMENT_UNKNOWN, seen.detail, headers, members)
    http.note(
        payment=f"{merchant_id}/{payment.order_no}/{payment.attempt}",
        tx_id=payment.tx_id,
        payment_status=payment.status,
    )
    if payment.block_number is None:
        return http.json_response(payment, 200, headers)
    with services().reader.snapshot() as snapshot:
        shown = snapshot.refunds.of_payment(payment.key)
    # A payment, and each refund of it, changes at most once a block that is seen, so the newest of
    # those blocks names the representation.
    tag = f"{payment.attempt}-{max(payment.block_number, shown.block_number)}"
    if request.if_none_match.contains(tag):
        answer = Response(status=304, headers=headers)
    else:
        body = payment.to_json() | ({"refunds": shown.refunds} if shown.refunds else {})
        answer = http.json_response(body, 200, headers)
    answer.set_etag(tag)
    return answer


@blueprint.get("/v1/payments")
def list_payments() -> Response:
    """A page of payments on the ledger, newest first."""
    found = http.parameters("limit", "cursor", "min_block", *FILTERS, several="status")
    limit = http.number(found, "limit", 1, LARGEST_PAGE) or DEFAULT_PAGE
    before = selection.cursor(found.get("cursor"))
    wanted = selection.parse(found, request.args.getlist("status"))
    min_block = http.number(found, "min_block", 0)
    merchant_id = authenticated()
    reach(min_block)
    with services().reader.snapshot() as snapshot:
        page = snapshot.page(merchant_id, wanted, before, limit)
        last_block = snapshot.last_block
    body = {
        "payments": page.payments,
        "next_cursor": None if page.next_seq is None else encode_cursor(page.next_seq),
        "last_block": last_block,
    }
    http.note(merchant=merchant_id, items=len(page.payments))
    return http.json_response(body, 200, {http.BLOCK: str(last_block)})


def check_order_no(order_no: str) -> None:
    """Raises Refusal unless it is of an order number's form."""
    try:
        ORDER_NO.check(order_no, "")
    except SchemaError as error:
        raise Refusal(Code.PARAMETER_INVALID, f"order_no: {error.reason}") from None


def authenticated() -> str:
    """The merchant whose bearer token this is. Raises Refusal."""
    scheme, _, compact = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not compact:
        raise Refusal(Code.UNAUTHENTICATED, "reading takes a bearer token")
    provided = services()
    claimed = bearer.parse(compact.strip(), provided.settings.audience, time.time())
    with provided.reader.snapshot() as snapshot:
        merchant = snapshot.merchant(claimed.merchant_id)
    if merchant is None:
        raise Refusal(Code.UNAUTHENTICATED, "the token is no registered merchant's")
    key = merchant.keys.get(claimed.token.key_id)
    if key is None:
        raise Refusal(Code.KEY_UNKNOWN, "the merchant has no such key")
    try:
        verification_key(key).verify(claimed.token)
    except JwsError as error:
        raise Refusal(Code.SIGNATURE_INVALID, str(error)) from None
    key.require_active(times.now()[:10])
    allowance = provided.reads.take(claimed.merchant_id)
    headers = provided.settings.limits.reads.headers(allowance)
    if not allowance.granted:
        raise problems.Declined(Code.RATE_LIMITED, "too many reads", headers)
    g.headers = headers
    return claimed.merchant_id


def reach(min_block: int | None) -> None:
    """Wait a little until the projection has `min_block`. Raises Refusal `block_not_reached`."""
    if min_block is None:
        return
    provided = services()
    with provided.reader.snapshot() as snapshot:
        last = snapshot.last_block
    if last >= min_block:
        return
    with provided.waiting.long() as seated:
        if seated:
            last = provided.courier.wait_block(min_block, provided.settings.limits.block_wait_s)
    if last < min_block:
        raise problems.Declined(
            Code.BLOCK_NOT_REACHED,
            f"this gateway has seen block {last}, not yet {min_block}",
            {http.BLOCK: str(last)},
        )


def _look(merchant_id: str, order_no: str, attempt: int | None) -> _Found:
    """The payment on the ledger, or the newer intent that this gateway only holds."""
    with services().reader.snapshot() as snapshot:
        payment = _on_ledger(snapshot, merchant_id, order_no, attempt)
        if payment is not None and attempt is not None:
            return _Found(payment, snapshot.last_block)
        received = snapshot.received(merchant_id, order_no, attempt)
        if received is None or (payment is not None and _older(received, payment)):
            return _Found(payment, snapshot.last_block)
        if received.refusal is None:
            return _Found(received.answer, snapshot.last_block)
        detail = (
            f"attempt {received.answer.attempt} was received here and is not on the ledger:"
            f" {received.refusal.value}: {received.detail}"
        )
        return _Found(None, snapshot.last_block, detail, received.signed)


def _on_ledger(
    snapshot: Snapshot, merchant_id: str, order_no: str, attempt: int | None
) -> PaymentAnswer | None:
    if attempt is None:
        return snapshot.newest(merchant_id, order_no)
    return snapshot.payment(PaymentKey(merchant_id, order_no, attempt))


def _older(received: ReceivedView, payment: PaymentAnswer) -> bool:
    """Whether what is only received says less than what is on the ledger."""
    return received.refusal is not None or received.answer.attempt <= payment.attempt


def _wait(merchant_id: str, payment: PaymentAnswer, seconds: int) -> _Found:
    """The same attempt when it has ended, or after `seconds`."""
    if not payment.final:
        services().courier.wait_final(payment.key, float(seconds))
    return _look(merchant_id, payment.order_no, payment.attempt)
