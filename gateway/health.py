"""/healthz, /readyz and /openapi.json: for who runs a gateway and who writes a client."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response

from clearline.canonical import Json
from clearline.codes import Refusal
from gateway import http, openapi
from gateway.http import services

_NOT_READY: Final = 503
blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """The process is alive; this has a thread of its own, so it says nothing about the others."""
    return http.json_response({"status": "alive"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 when payments can be taken: the committer answers, follows its peer and is level."""
    provided = services()
    detail: dict[str, Json] = {"gateway": provided.settings.name}
    try:
        with provided.reader.snapshot() as snapshot:
            detail["last_block"] = snapshot.last_block
        standing = provided.courier.standing()
    except Refusal as refusal:
        detail |= {"status": "not_ready", "committer": False, "reason": refusal.detail}
        return http.json_response(detail, _NOT_READY, {"Retry-After": "1"})
    detail |= {
        "committer": True,
        "following": standing.following,
        "level": standing.level,
        "last_block": standing.last_block,
        "waiting": standing.depth,
    }
    if standing.following and standing.level:
        return http.json_response(detail | {"status": "ready"})
    reason = "the peer can't be reached" if not standing.following else "blocks are being caught up"
    detail |= {"status": "not_ready", "reason": reason}
    return http.json_response(detail, _NOT_READY, {"Retry-After": "1"})


@blueprint.get("/openapi.json")
def describe() -> Response:
    """This interface, in OpenAPI 3.1."""
    return http.json_response(openapi.document(services().settings))
