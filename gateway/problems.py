"""Errors as clients see them: application/problem+json (RFC 9457), whoever raised them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import orjson
from flask import Flask, Response, g
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException

from clearline.canonical import Json
from clearline.cards import redact
from clearline.codes import Code, Refusal
from clearline.logs import get_logger

MEDIA_TYPE: Final = "application/problem+json"
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_RETRY: Final = frozenset(
    {
        Code.RATE_LIMITED,
        Code.OVERLOADED,
        Code.LEDGER_UNAVAILABLE,
        Code.ACQUIRER_UNAVAILABLE,
        Code.BLOCK_NOT_REACHED,
        Code.WEBHOOKS_UNAVAILABLE,
    }
)
# What werkzeug refuses by itself, in our words. Any other of its 4xx is a malformed request.
_CODES: Final[dict[int, Code]] = {
    400: Code.MALFORMED,
    401: Code.UNAUTHENTICATED,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    406: Code.NOT_ACCEPTABLE,
    413: Code.PAYLOAD_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
    429: Code.RATE_LIMITED,
}
_log = get_logger("clearline.gateway.problems")


class Declined(Refusal):
    """A refusal with headers, or further members of its document (RFC 9457 section 3.2)."""

    def __init__(
        self,
        code: Code,
        detail: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
        members: Mapping[str, Json] = NO_HEADERS,
    ) -> None:
        super().__init__(code, detail)
        self.headers = headers
        self.members = members


def document(code: Code, detail: str) -> dict[str, Json]:
    """The members of RFC 9457 for a code, and the code itself."""
    return {
        "type": code.type_uri,
        "title": code.summary,
        "status": code.http_status,
        "detail": redact(detail),
        "code": code.value,
    }


def response(
    code: Code,
    detail: str,
    headers: Mapping[str, str] = NO_HEADERS,
    members: Mapping[str, Json] = NO_HEADERS,
) -> Response:
    """A refusal as an HTTP response; 401 says how to authenticate, 429 and 503 when to return."""
    instance = {"instance": f"urn:clearline:request:{g.request_id}"}
    body = document(code, detail) | instance | dict(members)
    answer = Response(orjson.dumps(body), code.http_status, mimetype=MEDIA_TYPE)
    answer.headers["Link"] = f'</problems/{code.value}>; rel="help"'
    if code.http_status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="clearline", scope="read"'
    if code in _RETRY:
        answer.headers["Retry-After"] = "1"
    for name, value in headers.items():
        answer.headers[name] = value
    return answer


def install(app: Flask) -> None:
    """Answer every error of this application as a problem."""

    @app.errorhandler(Refusal)
    def refused(error: Refusal) -> Response:
        g.code = error.code.value
        if isinstance(error, Declined):
            return response(error.code, error.detail, error.headers, error.members)
        return response(error.code, error.detail)

    @app.errorhandler(ParseException)
    def unreadable(_error: ParseException) -> Response:
        # gunicorn finds out while the body is read, which is the application's doing.
        g.code = Code.MALFORMED.value
        return response(Code.MALFORMED, "the body's transfer coding is not that of RFC 9112")

    @app.errorhandler(HTTPException)
    def raised(error: HTTPException) -> Response:
        status = error.code or 500
        if error.response is not None and status < 400:
            return Response(status=404)  # no redirects: an address is written one way
        code = _CODES.get(status)
        if code is None and 400 <= status < 500:
            code = Code.MALFORMED
        if code is None:
            return _internal()
        g.code = code.value
        headers = {
            name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")
        }
        return response(code, code.summary, headers)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        _log.error("a request failed", exc_info=error, extra={"request_id": g.request_id})
        return _internal()


def _internal() -> Response:
    """A fault of ours: it says nothing but where to find it in the log."""
    body = {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "the gateway failed; its log has the request id",
        "code": None,
        "instance": f"urn:clearline:request:{g.request_id}",
    }
    return Response(orjson.dumps(body), 500, mimetype=MEDIA_TYPE)
