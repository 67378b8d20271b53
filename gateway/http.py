"""What every endpoint needs of a request and of its answer."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

import orjson
from flask import Flask, Response, current_app, g, request

from clearline.canonical import MAX_INTEGER, Json
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.logs import get_logger
from gateway import prefer, problems
from gateway.courier import Courier
from gateway.intake import Intake
from gateway.limits import TokenBuckets
from gateway.prefer import Preferences
from gateway.reader import Reader
from gateway.settings import Settings
from gateway.waiting import WaitingRoom

REQUEST_ID: Final = "X-Request-Id"
BLOCK: Final = "Clearline-Block"
_REQUEST_ID_SHAPE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_SECURITY: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Strict-Transport-Security", "max-age=31536000"),
)
_EXTENSION: Final = "clearline"
_log = get_logger("clearline.gateway.access")


@dataclass(frozen=True, slots=True)
class Services:
    """What a worker's endpoints work with."""

    settings: Settings
    reader: Reader
    courier: Courier
    intake: Intake
    reads: TokenBuckets
    waiting: WaitingRoom


def services() -> Services:
    """Those of the application that answers now."""
    return cast(Services, current_app.extensions[_EXTENSION])


def install(app: Flask, provided: Services) -> None:
    """Request ids, content negotiation, security headers and the access log."""
    app.extensions[_EXTENSION] = provided
    # Random once a worker, then counted: the system's randomness is dear under load.
    prefix, numbers = secrets.token_hex(8), itertools.count(1)

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        offered = request.headers.get(REQUEST_ID, "")
        acceptable = _REQUEST_ID_SHAPE.fullmatch(offered) and not holds_card_number(offered)
        g.request_id = offered if acceptable else f"{prefix}-{next(numbers):x}"
        if request.accept_mimetypes and not (
            request.accept_mimetypes.accept_json or request.accept_mimetypes[problems.MEDIA_TYPE]
        ):
            raise Refusal(Code.NOT_ACCEPTABLE, "answers are application/json")

    @app.after_request
    def end(answer: Response) -> Response:
        answer.headers[REQUEST_ID] = g.request_id
        for name, value in _SECURITY:
            answer.headers[name] = value
        _log.info("answered", extra=_access(answer))
        return answer


def note(**fields: object) -> None:
    """Say more in this request's line of the access log. Ids only, never contents."""
    g.fields = {**g.get("fields", {}), **fields}


def json_response(
    body: Json, status: int = 200, headers: Mapping[str, str] = problems.NO_HEADERS
) -> Response:
    """`body` as JSON; dataclasses in it become objects."""
    answer = Response(orjson.dumps(body), status, mimetype="application/json")
    for name, value in headers.items():
        answer.headers[name] = value
    return answer


def body(media_type: str, most: int) -> bytes:
    """The request's body. Raises Refusal for another media type or a longer body."""
    if request.mimetype != media_type:
        raise problems.Declined(
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"the body must be {media_type}",
            {"Accept-Post": media_type},
        )
    if request.content_encoding:
        raise problems.Declined(
            Code.UNSUPPORTED_MEDIA_TYPE, "bodies are not encoded", {"Accept-Encoding": "identity"}
        )
    # One more than is taken: werkzeug cuts a body of unknown length at its limit without a word.
    request.max_content_length = most + 1
    data = request.get_data(cache=False)
    if len(data) > most:
        raise Refusal(Code.PAYLOAD_TOO_LARGE, f"the body may have {most} bytes")
    return data


def parameters(*known: str) -> dict[str, str]:
    """The query's parameters. Raises Refusal for one that is not `known` or stands twice."""
    found: dict[str, str] = {}
    for name, values in request.args.lists():
        if name not in known:
            raise Refusal(Code.PARAMETER_INVALID, f"{name[:40]}: there is no such parameter")
        if len(values) != 1:
            raise Refusal(Code.PARAMETER_INVALID, f"{name}: given more than once")
        found[name] = values[0]
    return found


def number(found: Mapping[str, str], name: str, least: int, most: int = MAX_INTEGER) -> int | None:
    """A parameter as a whole number, None when it is not there. Raises Refusal."""
    text = found.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise Refusal(Code.PARAMETER_INVALID, f"{name}: must be a number in {least}..{most}")
    return int(text)


def preferences() -> Preferences:
    """The request's Prefer headers, `wait` held to what this gateway grants. Raises Refusal."""
    asked = prefer.parse(request.headers.getlist("Prefer"))
    if asked.wait is None:
        return asked
    most = services().settings.limits.preferred_wait_s
    return Preferences(min(asked.wait, most), asked.respond_async)


def _access(answer: Response) -> dict[str, object]:
    return {
        "request_id": g.request_id,
        "method": request.method,
        "path": request.path[:256],
        "status": answer.status_code,
        "code": g.get("code"),
        "milliseconds": round((time.perf_counter() - g.started) * 1000, 1),
        **g.get("fields", {}),
    }
