"""/docs and /problems: the interface and every code, readable; made from what the code uses."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

from flask import Blueprint, Response, request
from jinja2 import Environment, FileSystemLoader

from clearline.canonical import Json
from clearline.codes import Code, Refusal
from gateway import http, openapi
from gateway.http import services

blueprint = Blueprint("pages", __name__)
_HTML: Final = "text/html"
_JSON: Final = "application/json"
_ADVICE: Final[dict[int, str]] = {
    200: "Nothing: it is done.",
    201: "Nothing: it is done.",
    400: "Mend the request as the detail says; the same again is refused again.",
    401: "Look at the key and the clock of the signer, and at the registration at the bank.",
    403: "The registration must be mended at the bank.",
    404: "Check the address or the name; what another gateway saw may need min_block.",
    405: "Use a method that the Allow header names.",
    406: "Accept application/json.",
    409: "Ask for the payment's status; it says what is possible now.",
    413: "Send fewer or smaller items.",
    415: "Send the media type that the Accept-Post header names.",
    422: "Mend the item as the detail says; the same again is refused again.",
    429: "Send the same again after Retry-After. The same intent sent twice is one payment.",
    503: "Send the same again after Retry-After, here or at another gateway. The same intent sent"
    " twice is one payment.",
}
_PAGES: Final = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
_STYLE: Final = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"
)


@blueprint.get("/docs")
def docs() -> Response:
    """The description at /openapi.json as a page; no script, nothing from elsewhere."""
    return _page("docs.html", api=openapi.document(services().settings))


@blueprint.get("/problems")
def problems() -> Response:
    """Every code."""
    if _wants_html():
        return _page("problems.html", codes=[_code(code) for code in Code])
    return _vary(http.json_response({"problems": [_code(code) for code in Code]}))


@blueprint.get("/problems/<code>")
def problem(code: str) -> Response:
    """One code: what it means and what to do. Raises Refusal for what is none."""
    try:
        described = _code(Code(code))
    except ValueError:
        raise Refusal(Code.NOT_FOUND, "there is no such code") from None
    if _wants_html():
        return _page("problems.html", codes=[described])
    return _vary(http.json_response(described))


def _code(code: Code) -> dict[str, Json]:
    return {
        "code": code.value,
        "type": code.type_uri,
        "title": code.summary,
        "status": code.http_status,
        "advice": _ADVICE[code.http_status],
    }


def _wants_html() -> bool:
    return request.accept_mimetypes.best_match((_JSON, _HTML), _JSON) == _HTML


def _page(template: str, **values: Json) -> Response:
    answer = Response(_PAGES.get_template(template).render(style=_STYLE, **values), mimetype=_HTML)
    answer.headers["Content-Security-Policy"] = _POLICY
    return _vary(answer)


def _vary(answer: Response) -> Response:
    answer.vary.add("Accept")
    return answer
