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
from gateway.advice import ADVICE
from gateway.http import services
from gateway.openapi_headers import EVERY

blueprint = Blueprint("pages", __name__)
_HTML: Final = "text/html"
_JSON: Final = "application/json"
_PAGES: Final = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
_STYLE: Final = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"
)


@blueprint.get("/docs")
def docs() -> Response:
    """The description at /openapi.json as a page; no script, nothing from elsewhere."""
    return _page("docs.html", api=openapi.document(services().settings), every=EVERY)


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
        "advice": ADVICE[code],
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
