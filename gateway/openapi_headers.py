"""The headers of the answers, as the OpenAPI document describes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clearline.canonical import MAX_INTEGER, Json

_SECONDS: Final[Json] = {"type": "integer", "minimum": 1, "maximum": 86_400}
_BLOCK: Final[Json] = {"type": "integer", "minimum": -1, "maximum": MAX_INTEGER}
_LEFT: Final = r'^"(intents|reads)";r=(0|[1-9][0-9]*);t=[1-9][0-9]*$'
_POLICY: Final = r'^"(intents|reads)";q=[1-9][0-9]*;w=[1-9][0-9]*$'
_CSP: Final = "^default-src 'none'; .*frame-ancestors 'none'"


def _text(pattern: str) -> Json:
    return {"type": "string", "pattern": pattern}


def _constant(value: str) -> Json:
    return {"type": "string", "const": value}


_DESCRIBED: Final[dict[str, tuple[str, Json]]] = {
    "X-Request-Id": (
        "The request's own, or a new one; the gateway's log has it.",
        _text("^[A-Za-z0-9._-]{1,64}$"),
    ),
    "Cache-Control": ("", _constant("no-store")),
    "X-Content-Type-Options": ("", _constant("nosniff")),
    "Referrer-Policy": ("", _constant("no-referrer")),
    "Strict-Transport-Security": ("", _text("^max-age=[1-9][0-9]*$")),
    "Content-Security-Policy": ("", _text(_CSP)),
    "RateLimit-Policy": (
        "draft-ietf-httpapi-ratelimit-headers: a bucket of `q` that is full again after `w` s.",
        _text(_POLICY),
    ),
    "RateLimit": ("What is left (`r`); in `t` seconds there is more.", _text(_LEFT)),
    "Retry-After": ("Seconds; the same again then is safe.", _SECONDS),
    "Location": (
        "Where the payment, or the refund, is.",
        _text(
            r"^/v1/payments/[A-Za-z0-9._-]{1,64}(/refunds/[1-9][0-9]{0,3})?\?attempt=[1-9][0-9]{0,3}$"
        ),
    ),
    "Clearline-Block": ("The block the answer is of; for `min_block` elsewhere.", _BLOCK),
    "ETag": ("For If-None-Match.", _text('^"[1-9][0-9]*(-[0-9]+){1,2}"$')),
    "Preference-Applied": ("RFC 7240.", _text("^(wait=[0-9]+|respond-async)$")),
    "Link": (
        "The page about the code.",
        _text(r'^</problems/[a-z_]+>; rel="help"$'),
    ),
    "WWW-Authenticate": ("RFC 6750.", _text("^Bearer realm=")),
    "Accept-Post": ("The media type that is taken.", _text("^application/(jose|json)$")),
    "Accept-Encoding": ("Bodies are not encoded.", _constant("identity")),
    "Vary": ("", _constant("Accept")),
}
EVERY: Final = (
    "X-Request-Id",
    "Cache-Control",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Strict-Transport-Security",
    "Content-Security-Policy",
)
# Beside those of every answer: always, and sometimes.
_OF_PROBLEMS: Final[dict[int, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    401: (("WWW-Authenticate",), ()),
    415: ((), ("Accept-Post", "Accept-Encoding")),
    429: (("Retry-After",), ()),
    503: (("Retry-After",), ()),
}


@dataclass(frozen=True, slots=True)
class Headers:
    """Those of one answer, beside what every answer has: by name, `always` and `sometimes`."""

    always: tuple[str, ...] = ()
    sometimes: tuple[str, ...] = ()

    def json(self) -> dict[str, Json]:
        """The `headers` of a response object."""
        always = {name: _reference(name) for name in (*EVERY, *self.always)}
        return always | {name: _header(name) for name in self.sometimes}


@dataclass(frozen=True, slots=True)
class Limited:
    """An operation that a bucket limits: the statuses of problems that come with its policy
    always, and with what is left as well."""

    policy: frozenset[int] = frozenset()
    left: frozenset[int] = frozenset()

    def of(self, status: int) -> Headers:
        """What a problem of this status has."""
        always, sometimes = _OF_PROBLEMS.get(status, ((), ()))
        always = ("Link", *always)
        names = ("RateLimit-Policy", "RateLimit")
        if not self.policy:
            return Headers(always, sometimes)
        if status in self.left:
            return Headers((*always, *names), sometimes)
        if status in self.policy:
            return Headers((*always, names[0]), (*sometimes, names[1]))
        return Headers(always, (*sometimes, *names))


UNLIMITED: Final = Limited()


def components() -> dict[str, Json]:
    """The document's `components.headers`: each as it is where it comes always."""
    return {name: _header(name) | {"required": True} for name in _DESCRIBED}


def _header(name: str) -> dict[str, Json]:
    description, schema = _DESCRIBED[name]
    return ({"description": description} if description else {}) | {"schema": schema}


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}
