"""POST and GET /v1/payments/{order_no}/refunds: a merchant's signed refunds in, and how they stand.

Admission holds what this gateway's projection can tell, in the contract's order: form, network,
merchant, key, signature; this very refund is on the ledger (`duplicate`); the key counts; another
is under its number (`conflict`). Whether the payment can be refunded is the contract's to say:
another gateway may be ahead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from flask import Blueprint, Response, request

from clearline import refunds, times
from clearline.answers import RefundAnswer
from clearline.cards import redact
from clearline.codes import Code, Refusal
from clearline.refunds import RefundKey, SignedRefund
from gateway import door, http, problems
from gateway.http import services
from gateway.intake import RECEIVED_STATUS
from gateway.messages import State, Submission, Submit, Submitted, Until
from gateway.payments import INTENT, bound, pause_of, posting_limits, show_limits
from gateway.prefer import Preferences
from gateway.reader import Snapshot
from gateway.reads import authenticated, check_order_no, reach
from gateway.refund_rows import received_answer

blueprint = Blueprint("refunds", __name__)


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
    """The refunds of an order on the ledger, or of the attempt that `attempt` names."""
    found = http.parameters("attempt", "min_block")
    attempt = http.number(found, "attempt", 1, 9999)
    min_block = http.number(found, "min_block", 0)
    check_order_no(order_no)
    merchant_id = authenticated()
    reach(min_block)
    with services().reader.snapshot() as snapshot:
        listed = snapshot.refunds(merchant_id, order_no, attempt)
        last_block = snapshot.last_block
    http.note(merchant=merchant_id, items=len(listed))
    body = {"refunds": listed, "last_block": last_block}
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
        refund, why = _look(snapshot, merchant_id, order_no, attempt, number)
        headers[http.BLOCK] = str(snapshot.last_block)
    if refund is None:
        members = {} if why is None else {"receipt_refusal": why.code.value}
        detail = "there is no such refund of this merchant" if why is None else str(why)
        raise problems.Declined(Code.REFUND_UNKNOWN, detail, headers, members)
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
        before = snapshot.refund(intent.key)
    if before is not None and before.intent_digest == digest:
        return _Taken(Code.DUPLICATE.http_status, before)
    key.require_active(times.now()[:10])
    if before is not None:
        raise Refusal(Code.CONFLICT, "another intent has this refund's key")
    submission = Submission(intent.key, digest, signed.compact, "", intent.expires_at)
    if asked.respond_async and asked.wait is None:
        (said,) = provided.courier.submit(Submit((submission,), Until.ACCEPTED, 0.0))
    else:
        with provided.waiting.commit() as seated:
            until = Until.COMMITTED if seated else Until.ACCEPTED
            (said,) = provided.courier.submit(Submit((submission,), until, bound(asked)))
    show_limits([said])
    return _told(signed, digest, said)


def _told(signed: SignedRefund, digest: str, said: Submitted) -> _Taken:
    """What the committer's answer means. Raises Refusal."""
    if said.state is State.REFUSED:
        code = said.code or Code.LEDGER_UNAVAILABLE
        raise problems.Declined(code, redact(said.detail), pause_of(said))
    if said.state is State.RECEIVED:
        return _Taken(RECEIVED_STATUS, received_answer(signed.intent, digest, said.receipt))
    with services().reader.snapshot() as snapshot:
        refund = snapshot.refund(signed.intent.key)
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
        return snapshot.refund(refund.key) or refund, True


def _look(
    snapshot: Snapshot, merchant_id: str, order_no: str, attempt: int | None, refund_no: int
) -> tuple[RefundAnswer | None, Refusal | None]:
    """The refund on the ledger, or the one that this gateway only holds; or why it won't be."""
    listed: Sequence[RefundAnswer] = snapshot.refunds(merchant_id, order_no, attempt)
    for refund in reversed(listed):
        if refund.refund_no == refund_no:
            return refund, None
    if attempt is None:
        newest = snapshot.newest(merchant_id, order_no)
        attempt = 1 if newest is None else newest.attempt
    held = snapshot.received_refund(RefundKey(merchant_id, order_no, attempt, refund_no))
    if held is None:
        return None, None
    answer, code, detail = held
    return (answer, None) if code is None else (None, Refusal(code, detail))


def _location(key: RefundKey) -> str:
    return f"/v1/payments/{quote(key.order_no)}/refunds/{key.refund_no}?attempt={key.attempt}"


def _note(refund: RefundAnswer) -> None:
    http.note(refund=str(refund.key), tx_id=refund.tx_id, refund_status=refund.status)
