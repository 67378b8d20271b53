"""POST /v1/payments and /v1/payments/batch: intents in."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from flask import Blueprint, Response, g

from clearline import canonical
from clearline.answers import PaymentAnswer
from clearline.canonical import CanonicalError, Json
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.statuses import Status
from gateway import http, problems
from gateway.http import services
from gateway.intake import Entry
from gateway.limits import POLICY_HEADER, Allowance
from gateway.messages import Submitted, Until
from gateway.prefer import Preferences
from gateway.settings import Limits

INTENT: Final = "application/jose"
_AGAIN: Final = frozenset({429, 503})
blueprint = Blueprint("payments", __name__)


@blueprint.post("/v1/payments")
def post_payment() -> Response:
    """One intent, to be paid or to be closed; 201 committed, 200 a duplicate, 202 received, or the
    refusal."""
    limits = posting_limits()
    compact = http.body(INTENT, limits.intent_bytes).strip(b" \t\r\n")
    http.parameters()
    asked = http.preferences()
    end = time.monotonic() + bound(asked)
    entries = _take([compact], asked)
    _show_limits(entries)
    (entry,) = entries
    if entry.payment is None:
        raise _declined(entry)
    headers = {"Location": _location(entry.payment)}
    if asked.wait is not None:
        entry, waited = _to_the_end(entry, entry.payment, end)
        if waited:
            headers["Preference-Applied"] = f"wait={asked.wait}"
    elif asked.respond_async:
        headers["Preference-Applied"] = "respond-async"
    payment = entry.payment
    assert payment is not None  # noqa: S101  it was there before
    if payment.block_number is not None:
        headers[http.BLOCK] = str(payment.block_number)
    http.note(payment=_name(payment), tx_id=payment.tx_id, payment_status=payment.status)
    return http.json_response(payment, entry.status, headers)


@blueprint.post("/v1/payments/batch")
def post_batch() -> Response:
    """Many intents; 200 and an outcome for each, in order."""
    limits = posting_limits()
    compacts = _intents(http.body("application/json", limits.batch_bytes), limits.batch_items)
    http.parameters()
    asked = http.preferences()
    entries = _take(compacts, asked)
    _show_limits(entries)
    headers: dict[str, str] = {}
    if asked.wait is not None:
        headers["Preference-Applied"] = f"wait={asked.wait}"
    elif asked.respond_async:
        headers["Preference-Applied"] = "respond-async"
    blocks = [
        entry.payment.block_number
        for entry in entries
        if entry.payment is not None and entry.payment.block_number is not None
    ]
    if blocks:
        headers[http.BLOCK] = str(max(blocks))
    pauses = [
        max(1, entry.limits.retry_after if entry.limits is not None else 1)
        for entry in entries
        if entry.status in _AGAIN
    ]
    if pauses:
        headers["Retry-After"] = str(max(pauses))
    http.note(items=len(entries), taken=sum(entry.payment is not None for entry in entries))
    return http.json_response({"outcomes": [_outcome(entry) for entry in entries]}, 200, headers)


def _take(compacts: list[Json], asked: Preferences) -> list[Entry]:
    provided = services()
    asynchronous = asked.respond_async and asked.wait is None
    if asynchronous:
        return provided.intake.take(compacts, Until.ACCEPTED, 0.0)
    with provided.waiting.commit() as seated:
        until = Until.COMMITTED if seated else Until.ACCEPTED
        return provided.intake.take(compacts, until, bound(asked))


def bound(asked: Preferences) -> float:
    """Seconds a commit is waited for."""
    limits = services().settings.limits
    return float(limits.commit_wait_s if asked.wait is None else asked.wait)


def _to_the_end(entry: Entry, payment: PaymentAnswer, end: float) -> tuple[Entry, bool]:
    """The same entry with its payment as it is when it has ended, or when `end` has come; and
    whether it was waited for."""
    if payment.final:
        return entry, True
    left = end - time.monotonic()
    if left <= 0:
        return entry, True
    provided = services()
    key = PaymentKey(payment.merchant_id, payment.order_no, payment.attempt)
    with provided.waiting.long() as seated:
        if not seated:
            return entry, False
        try:
            provided.courier.wait_final(key, left)
        except Refusal:
            return entry, True  # it is committed: what is known stays true
    with provided.reader.snapshot() as snapshot:
        now = snapshot.payment(key)
    if now is None:
        return entry, True
    # On the ledger by now; of a close that is only received that is not to be seen here.
    arrived = entry.code is None and payment.status == Status.RECEIVED
    status = Code.OK.http_status if arrived else entry.status
    return replace(entry, payment=now, status=status), True


def _intents(data: bytes, most: int) -> list[Json]:
    try:
        document = canonical.loads(data)
    except CanonicalError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    intents = document.get("intents") if isinstance(document, dict) else None
    if not isinstance(intents, list) or not intents or len(document) != 1:
        raise Refusal(
            Code.MALFORMED, 'the body must be {"intents": [JWS, ...]} with at least one intent'
        )
    if len(intents) > most:
        raise Refusal(Code.BATCH_TOO_LARGE, f"{len(intents)} intents; at most {most} in one call")
    return intents


def _declined(entry: Entry) -> problems.Declined:
    code = entry.code or Code.LEDGER_UNAVAILABLE
    return problems.Declined(code, entry.detail, pause_of(entry.limits))


def pause_of(refused: Submitted | None) -> dict[str, str]:
    """When what a limit refused may come again."""
    pause = 0 if refused is None else refused.retry_after
    return {"Retry-After": str(pause)} if pause else {}


def posting_limits() -> Limits:
    """This gateway's; from here on every answer to this request has the policy."""
    limits = services().settings.limits
    g.headers = {POLICY_HEADER: limits.posts.header}
    return limits


def _show_limits(entries: list[Entry]) -> None:
    """What is left in the bucket these intents were taken from: of several merchants' buckets the
    one that has least. What was on the ledger before took nothing from any."""
    show_limits([entry.limits for entry in entries if entry.limits])


def show_limits(answers: list[Submitted]) -> None:
    """The same of what the committer answered."""
    told = [answer for answer in answers if answer.remaining >= 0]
    if told:
        least = min(told, key=lambda one: one.remaining)
        left = Allowance(least.remaining, least.retry_after)
        headers = services().settings.limits.posts.headers(left)
        headers.pop("Retry-After", None)  # other refusals of a batch may ask for a longer pause
        g.headers = headers


def _outcome(entry: Entry) -> Json:
    return {
        "status": entry.status,
        "code": entry.code.value if entry.code else None,
        "detail": entry.detail,
        "payment": entry.payment,
    }


def _location(payment: PaymentAnswer) -> str:
    return f"/v1/payments/{quote(payment.order_no)}?attempt={payment.attempt}"


def _name(payment: PaymentAnswer) -> str:
    return f"{payment.merchant_id}/{payment.order_no}/{payment.attempt}"
