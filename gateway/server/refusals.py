"""What the server says by itself, without a thread or the application: problem documents too."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections import Counter
from functools import lru_cache
from typing import Final

from gunicorn.util import http_date

from clearline.codes import Code
from clearline.logs import get_logger
from gateway import problems
from gateway.limits import POLICY_HEADER
from gateway.routing import Unavailable
from gateway.server.lanes import Kind

_REASONS: Final = {400: "Bad Request", 503: "Service Unavailable"}
_ID: Final = b"{" + b"#" * 28 + b"}"  # nothing else in a response looks like it
_log = get_logger("clearline.gateway.server")


def answer(code: Code, detail: str, request_id: str, *headers: str) -> bytes:
    """A whole HTTP/1.1 response that refuses a request; many in a second differ in their ids only,
    all of which are as long as _ID."""
    made = _made(code, detail, headers, int(time.time()))
    return made.replace(_ID, request_id.encode("ascii"))


@lru_cache(maxsize=64)
def _made(code: Code, detail: str, headers: tuple[str, ...], now: int) -> bytes:
    """The response with _ID for the request's."""
    request_id = _ID.decode("ascii")
    document = problems.document(code, detail)
    document["instance"] = f"urn:clearline:request:{request_id}"
    body = json.dumps(document)
    lines = (
        f"HTTP/1.1 {code.http_status} {_REASONS[code.http_status]}",
        f"Date: {http_date(now)}",
        f"Content-Type: {problems.MEDIA_TYPE}",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {request_id}",
        f'Link: </problems/{code.value}>; rel="help"',
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Strict-Transport-Security: max-age=31536000",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
        *headers,
    )
    return "\r\n".join((*lines, "", body)).encode("ascii")


class Refusals:
    """Makes and counts them; one line a second in the log, however many there are."""

    def __init__(self, policy: str) -> None:
        """`policy`: the RateLimit-Policy of posts."""
        from gateway import tally  # once the folder of its counters is known

        self._tally = tally
        self._policy = f"{POLICY_HEADER}: {policy}"
        self._prefix, self._numbers = secrets.token_hex(8), itertools.count(1)
        self._refused: Counter[str] = Counter()
        self._dropped = 0

    def overloaded(self, kind: Kind) -> bytes:
        """To a request for which there is no thread soon enough."""
        self._refused[kind.value] += 1
        code = Code.OVERLOADED
        self._tally.count("none", code.http_status, 0.0, code.value)
        detail = "more requests wait than can be answered soon; come back later"
        return answer(code, detail, self._request_id(), "Retry-After: 1")

    def crowded(self, refusal: Unavailable) -> bytes:
        """To a post whose acquirers take no more now."""
        self._refused["crowded"] += 1
        code = refusal.code
        self._tally.count("none", code.http_status, 0.0, code.value)
        again = f"Retry-After: {refusal.retry_after}"
        return answer(code, refusal.detail, self._request_id(), again, self._policy)

    def malformed(self, detail: str) -> bytes:
        """To what is no request; the connection closes after it."""
        code = Code.MALFORMED
        self._tally.count("none", code.http_status, 0.0, code.value)
        return answer(code, detail, self._request_id(), "Connection: close")

    def dropped(self) -> None:
        """A connection had to make room."""
        self._dropped += 1
        self._tally.DROPPED.inc()

    def report(self) -> None:
        """Say in the log what was refused since the last time."""
        if self._refused or self._dropped:
            fields = {**self._refused, "connections": self._dropped}
            _log.warning("overloaded: refused", extra=fields)
            self._refused.clear()
            self._dropped = 0

    def _request_id(self) -> str:
        return f"{self._prefix}-r{next(self._numbers):012x}"
