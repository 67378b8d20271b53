"""What every endpoint needs of a request and of its answer."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from flask import Flask, Request, Response, current_app, g, request

from clearline.canonical import MAX_INTEGER, Json
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.logs import get_logger
from gateway import prefer, problems, tally
from gateway.courier import Courier
from gateway.crowding import Crowding
from gateway.health_board import Availabilities
from gateway.intake import Intake
from gateway.prefer import Preferences
from gateway.reader import Reader
from gateway.settings import Settings
from gateway.shared_buckets import SharedBuckets
from gateway.waiting import WaitingRoom

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask.ctx import _AppCtxGlobals

REQUEST_ID: Final = "X-Request-Id"
BLOCK: Final = "Clearline-Block"
_REQUEST_ID_SHAPE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_POLICY: Final = "Content-Security-Policy"
_SECURITY: Final = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Strict-Transport-Security", "max-age=31536000"),
]
_SECURITY_OF_DATA: Final = [
    *_SECURITY,
    (_POLICY, "default-src 'none'; frame-ancestors 'none'"),
]
_TAKES_JSON: Final = frozenset({"*/*", "application/json", ""})
_ANY_MEDIA_TYPE: Final = frozenset({"pages", "metrics"})  # blueprints that have others than JSON
_EXTENSION: Final = "clearline"
_log = get_logger("clearline.gateway.access")


@dataclass(frozen=True, slots=True)
class Services:
    """What a worker's endpoints work with."""

    settings: Settings
    reader: Reader
    courier: Courier
    intake: Intake
    acquirers: Availabilities
    crowding: Crowding
    reads: SharedBuckets
    waiting: WaitingRoom


def services() -> Services:
    """Those of the application that answers now."""
    return cast(Services, current_app.extensions[_EXTENSION])


def install(app: Flask, provided: Services) -> None:
    """Request ids, content negotiation, security headers and the access log."""
    app.extensions[_EXTENSION] = provided
    app.wsgi_app = _Secured(app.wsgi_app)  # type: ignore[method-assign]
    # Random once a worker, then counted: the system's randomness is dear under load.
    prefix, numbers = secrets.token_hex(8), itertools.count(1)

    @app.before_request
    def begin() -> None:
        # The objects themselves: each look through flask's proxies has its price.
        context, asked = _current()
        context.started = time.perf_counter()
        offered = asked.headers.get(REQUEST_ID, "")
        acceptable = _REQUEST_ID_SHAPE.fullmatch(offered) and not holds_card_number(offered)
        context.request_id = offered if acceptable else f"{prefix}-{next(numbers):x}"
        accepted = asked.headers.get("Accept", "*/*")
        if accepted in _TAKES_JSON or asked.blueprint in _ANY_MEDIA_TYPE:
            return
        types = asked.accept_mimetypes
        if types and not (types.accept_json or types[problems.MEDIA_TYPE]):
            raise Refusal(Code.NOT_ACCEPTABLE, "answers are application/json")

    @app.after_request
    def end(answer: Response) -> Response:
        context, asked = _current()
        answer.headers[REQUEST_ID] = context.request_id
        for name, value in context.get("headers", problems.NO_HEADERS).items():
            answer.headers[name] = value
        seconds = time.perf_counter() - context.started
        code, status = context.get("code"), answer.status_code
        tally.count(asked.endpoint or "none", status, seconds, code)
        fields: dict[str, object] = {
            "request_id": context.request_id,
            "method": asked.method,
            "path": asked.path[:256],
            "status": status,
            "code": code,
            "milliseconds": round(seconds * 1000, 1),
        }
        _log.info("answered", extra=fields | context.get("fields", {}))
        return answer


def _current() -> tuple[_AppCtxGlobals, Request]:
    return g._get_current_object(), request._get_current_object()  # type: ignore[attr-defined]


class _Secured:
    """Adds what every answer carries, as it leaves: cheaper than by the framework's own headers."""

    def __init__(self, inner: WSGIApplication) -> None:
        self._inner = inner

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(
            status: str, headers: list[tuple[str, str]], fault: Any = None
        ) -> Callable[[bytes], object]:
            has_policy = any(name == _POLICY for name, _ in headers)
            headers += _SECURITY if has_policy else _SECURITY_OF_DATA
            return start_response(status, headers, fault)

        return self._inner(environ, start)


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


def parameters(*known: str, several: str = "") -> dict[str, str]:
    """The query's parameters. Raises Refusal for one that is not `known`, or stands twice and is
    not `several`, of which the first is given."""
    found: dict[str, str] = {}
    for name, values in request.args.lists():
        if name not in known:
            raise Refusal(Code.PARAMETER_INVALID, f"{name[:40]}: there is no such parameter")
        if len(values) != 1 and name != several:
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
