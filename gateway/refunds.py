"""POST and GET /v1/payments/{order_no}/refunds: a merchant's signed refunds in, and how they stand.

Admission holds what this gateway's projection can tell, in the contract's order: form, network,
merchant, key, signature; this very refund is on the ledger (`duplicate`); the key counts; another
is under its number (`conflict`); its payment's acquirer, where this gateway sees the payment, takes
something now (`acquirer_unavailable`, this gateway's own). Whether the payment can be refunded is
the contract's to say: another gateway may be ahead.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from flask import Blueprint, Response, request

from clearline import refunds, times
from clearline.answers import RefundAnswer
from clearline.cards import redact
from clearline.codes import Code, Refusal
from clearline.refunds import RefundKey, SignedRefund
from gateway import door, http, problems, selection
from gateway.availability import Availability
from gateway.http import services
from gateway.intake import RECEIVED_STATUS
from gateway.messages import State, Submission, Submit, Submitted, Until
from gateway.payments import INTENT, bound, pause_of, posting_limits, show_limits
from gateway.prefer import Preferences
from gateway.reader import Snapshot
from gateway.reads import DEFAULT_PAGE, LARGEST_PAGE, authenticated, check_order_no, reach
from gateway.refund_rows import received_answer
from gateway.selection import encode_cursor

_NUMBERS: Final = 10_000  # attempts and refund numbers are below it
blueprint = Blueprint("refunds", __name__)


@dataclass(frozen=True, slots=True)
class _Found:
    """A refund, or none with the reason. `refusal`: why one that this gateway gave a receipt for
    won't be on the ledger, signed (a JWS)."""

    refund: RefundAnswer | None
    detail: str = "there is no such refund of this merchant"
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A refund that is taken: its HTTP status and how it stands."""

    status: int
    refund: RefundAnswer


@blueprint.post("/v1/payments/<order_no>/refunds")
def post_refund(order_no: str) -> Response:
    """One signed refund; 201 committed, 200 a duplicate, 202 received, or the refusal."""
    limits = posting_limits()
    compact = http.body(INTENT, limits.intent_bytes).strip(b" \t\r\n")
    http.parameters()
    check_order_no(order_no)
    asked = http.preferences()
    end = time.monotonic() + bound(asked)
    signed = refunds.parse(compact)
    if signed.intent.order_no != order_no:
        raise Refusal(Code.MALFORMED, "/order_no: the address names another order")
    taken = _take(signed, asked)
    key = taken.refund.key
    headers = {"Location": _location(key)}
    if asked.wait is not None:
        refund, waited = _to_the_end(taken.refund, end)
        arrived = taken.status == RECEIVED_STATUS and refund.block_number is not None
        taken = _Taken(Code.OK.http_status if arrived else taken.status, refund)
        if waited:
            headers["Preference-Applied"] = f"wait={asked.wait}"
    elif asked.respond_async:
        headers["Preference-Applied"] = "respond-async"
    if taken.refund.block_number is not None:
        headers[http.BLOCK] = str(taken.refund.block_number)
    _note(taken.refund)
    return http.json_response(taken.refund, taken.status, headers)


@blueprint.get("/v1/payments/<order_no>/refunds")
def list_refunds(order_no: str) -> Response:
    """A page of the refunds of an order on the ledger, or of the attempt that `attempt` names; by
    attempt and number."""
    found = http.parameters("attempt", "limit", "cursor", "min_block")
    limit = http.number(found, "limit", 1, LARGEST_PAGE) or DEFAULT_PAGE
    after = _after(found.get("cursor"))
    attempt = http.number(found, "attempt", 1, 9999)
    min_block = http.number(found, "min_block", 0)
    check_order_no(order_no)
    merchant_id = authenticated()
    reach(min_block)
    with services().reader.snapshot() as snapshot:
        page = snapshot.refunds.page((merchant_id, order_no), attempt, after, limit)
        last_block = snapshot.last_block
    http.note(merchant=merchant_id, items=len(page.refunds))
    body = {
        "refunds": page.refunds,
        "next_cursor": None if page.last is None else encode_cursor(_place(*page.last)),
        "last_block": last_block,
    }
    return http.json_response(body, 200, {http.BLOCK: str(last_block)})


@blueprint.get("/v1/payments/<order_no>/refunds/<refund_no>")
def get_refund(order_no: str, refund_no: str) -> Response:
    """One refund: of the newest attempt that has it, unless `attempt` says which."""
    found = http.parameters("attempt", "min_block")
    attempt = http.number(found, "attempt", 1, 9999)
    min_block = http.number(found, "min_block", 0)
    asked = http.preferences()
    check_order_no(order_no)
    number = http.number({"refund_no": refund_no}, "refund_no", 1, 9999) or 1
    merchant_id = authenticated()
    reach(min_block)
    headers: dict[str, str] = {}
    with services().reader.snapshot() as snapshot:
        look = _look(snapshot, merchant_id, order_no, attempt, number)
        headers[http.BLOCK] = str(snapshot.last_block)
    refund = look.refund
    if refund is None:
        members = {"receipt_refusal": look.refusal} if look.refusal else {}
        raise problems.Declined(Code.REFUND_UNKNOWN, look.detail, headers, members)
    if asked.wait is not None:
        refund, waited = _to_the_end(refund, time.monotonic() + asked.wait)
        if waited:
            headers["Preference-Applied"] = f"wait={asked.wait}"
    _note(refund)
    if refund.block_number is None:
        return http.json_response(refund, 200, headers)
    tag = f"{refund.attempt}-{refund.refund_no}-{refund.block_number}"
    if request.if_none_match.contains(tag):
        answer = Response(status=304, headers=headers)
    else:
        answer = http.json_response(refund, 200, headers)
    answer.set_etag(tag)
    return answer


def _take(signed: SignedRefund, asked: Preferences) -> _Taken:
    """Have it admitted and committed. Raises Refusal."""
    provided = services()
    intent, digest = signed.intent, signed.intent.digest()
    with provided.reader.snapshot() as snapshot:
        _, key = door.signer_of(signed, provided.settings.network, snapshot)
        before = snapshot.refunds.find(intent.key)
        payment = snapshot.payment(intent.key.payment)
    if before is not None and before.intent_digest == digest:
        return _Taken(Code.DUPLICATE.http_status, before)
    key.require_active(times.now()[:10])
    if before is not None:
        raise Refusal(Code.CONFLICT, "another intent has this refund's key")
    if payment is not None:
        _check_available(payment.acquirer_id)
    submission = Submission(intent.key, digest, signed.compact, "", intent.expires_at)
    if asked.respond_async and asked.wait is None:
        (said,) = provided.courier.submit(Submit((submission,), Until.ACCEPTED, 0.0))
    else:
        with provided.waiting.commit() as seated:
            until = Until.COMMITTED if seated else Until.ACCEPTED
            (said,) = provided.courier.submit(Submit((submission,), until, bound(asked)))
    show_limits([said])
    return _told(signed, digest, said)


def _check_available(acquirer_id: str) -> None:
    """Raises Declined when the payment's acquirer takes nothing now: a refund has no other way."""
    judgement = services().acquirers.of(acquirer_id)
    if judgement.availability is Availability.UNAVAILABLE:
        raise problems.Declined(
            Code.ACQUIRER_UNAVAILABLE,
            f"{acquirer_id}: {judgement.reason}",
            {"Retry-After": str(judgement.retry_after)},
        )


def _told(signed: SignedRefund, digest: str, said: Submitted) -> _Taken:
    """What the committer's answer means. Raises Refusal."""
    if said.state is State.REFUSED:
        code = said.code or Code.LEDGER_UNAVAILABLE
        raise problems.Declined(code, redact(said.detail), pause_of(said))
    if said.state is State.RECEIVED:
        return _Taken(RECEIVED_STATUS, received_answer(signed.intent, digest, said.receipt))
    with services().reader.snapshot() as snapshot:
        refund = snapshot.refunds.find(signed.intent.key)
    if refund is None:  # the committer answers when the projection has it
        raise Refusal(Code.LEDGER_UNAVAILABLE, "the refund is committed and not yet readable")
    code = Code.OK if said.state is State.COMMITTED else Code.DUPLICATE
    return _Taken(code.http_status, refund)


def _to_the_end(refund: RefundAnswer, end: float) -> tuple[RefundAnswer, bool]:
    """The refund as it is when it has ended, or when `end` has come; and whether it was waited
    for."""
    left = end - time.monotonic()
    if refund.final or left <= 0:
        return refund, True
    provided = services()
    with provided.waiting.long() as seated:
        if not seated:
            return refund, False
        try:
            provided.courier.wait_final(refund.key, left)
        except Refusal:
            return refund, True  # what is known stays true
    with provided.reader.snapshot() as snapshot:
        return snapshot.refunds.find(refund.key) or refund, True


def _look(
    snapshot: Snapshot, merchant_id: str, order_no: str, attempt: int | None, refund_no: int
) -> _Found:
    """The refund on the ledger, or the one that this gateway only holds; or why it won't be."""
    refund = snapshot.refunds.numbered(merchant_id, order_no, attempt, refund_no)
    if refund is not None:
        return _Found(refund)
    if attempt is None:
        newest = snapshot.newest(merchant_id, order_no)
        attempt = 1 if newest is None else newest.attempt
    held = snapshot.refunds.received(RefundKey(merchant_id, order_no, attempt, refund_no))
    if held is None:
        return _Found(None)
    if held.refusal is None:
        return _Found(held.answer)
    detail = (
        f"refund {refund_no} of attempt {attempt} was received here and is not on the ledger:"
        f" {held.refusal.value}: {held.detail}"
    )
    return _Found(None, detail, held.signed)


def _place(attempt: int, refund_no: int) -> int:
    return attempt * _NUMBERS + refund_no


def _after(text: str | None) -> tuple[int, int]:
    """The attempt and number that a page begins behind. Raises Refusal for no cursor of ours."""
    place = selection.cursor(text)
    if place is None:
        return 0, 0
    attempt, refund_no = divmod(place, _NUMBERS)
    if not (0 < attempt < _NUMBERS and refund_no > 0):
        raise Refusal(Code.PARAMETER_INVALID, "cursor: not one this gateway gave")
    return attempt, refund_no


def _location(key: RefundKey) -> str:
    return f"/v1/payments/{quote(key.order_no)}/refunds/{key.refund_no}?attempt={key.attempt}"


def _note(refund: RefundAnswer) -> None:
    http.note(refund=str(refund.key), tx_id=refund.tx_id, refund_status=refund.status)
