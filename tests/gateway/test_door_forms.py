"""Bad input at the gateway's door: each a problem document with its code, never a 500."""

import base64
import json
import time
from typing import Any

import pytest
from helpers_gateway import (
    AUDIENCE,
    MERCHANT,
    OTHER,
    OTHER_MERCHANT,
    OWNER,
    REVOKED,
    SUSPENDED,
    SUSPENDED_MERCHANT,
    Site,
    new_intent,
    signed,
    token,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearline import canonical, jws
from clearline.jws import KeySigner, Typ


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: bytes, payload: bytes, signer: KeySigner = OWNER) -> str:
    """A JWS over exactly these bytes, well signed."""
    signing_input = f"{encode(header)}.{encode(payload)}"
    return f"{signing_input}.{encode(signer.sign(signing_input.encode()))}"


def header(**changes: Any) -> bytes:
    members = {"alg": "Ed25519", "kid": OWNER.key_id, "typ": "clearline-intent+jws"} | changes
    return json.dumps(members).encode()


def payload(**changes: Any) -> bytes:
    return json.dumps(new_intent().payload() | changes).encode()


def nested(depth: int) -> bytes:
    return b'{"kind":' + b"[" * depth + b"]" * depth + b"}"


def twice(name: bytes) -> bytes:
    """A payload that holds a member twice."""
    return payload()[:-1] + b', "' + name + b'": 1}'


GOOD = signed()
INTENTS: dict[str, str | bytes] = {
    "empty": "",
    "one part": "abc",
    "truncated": GOOD[:200],
    "four parts": GOOD + ".abc",
    "base64 with padding": GOOD + "==",
    "not base64": GOOD[:20] + "*" + GOOD[21:],
    "invalid UTF-8": b"\xff\xfe" + GOOD.encode(),
    "NUL bytes": GOOD.encode() + b"\x00",
    "NUL in the payload": forged(header(), payload(order_no="a\x00b")),
    "alg none": f"{encode(header(alg='none'))}.{encode(payload())}.",
    "alg HS256": forged(header(alg="HS256"), payload()),
    "alg twice": forged(header()[:-1] + b', "alg": "none"}', payload()),
    "crit": forged(header(crit=["b64"]), payload()),
    "embedded key": forged(header(jwk=OWNER.jwk), payload()),
    "without kid": forged(b'{"alg":"Ed25519","typ":"clearline-intent+jws"}', payload()),
    "a receipt's typ": forged(header(typ="clearline-receipt+jws"), payload()),
    "member twice": forged(header(), twice(b"amount")),
    "unknown member": forged(header(), payload(note="hello")),
    "missing member": forged(header(), b'{"kind":"pay"}'),
    "deep JSON": forged(header(), nested(3000)),
    "not JSON": forged(header(), b"pay me"),
    "JSON list": forged(header(), b"[]"),
    "payload of invalid UTF-8": forged(header(), b'{"kind":"\xff"}'),
    "lone surrogate": forged(header(), b'{"kind":"\\ud800"}'),
    "float amount": forged(header(), payload(amount=1.5)),
    "amount as text": forged(header(), payload(amount="100")),
    "true as amount": forged(header(), payload(amount=True)),
    "zero amount": forged(header(), payload(amount=0)),
    "amount beyond 2^53": forged(header(), payload(amount=2**60)),
    "huge integer": forged(header(), payload()[:-1].replace(b"2933", b"9" * 5000) + b"}"),
    "NaN": forged(header(), payload(amount=float("nan"))),
    "order number with a slash": forged(header(), payload(order_no="a/b")),
    "order number with a newline": forged(header(), payload(order_no="a\n")),
    "attempt zero": forged(header(), payload(attempt=0)),
    "no acquirers": forged(header(), payload(acquirers=[])),
    "expires before it is created": forged(
        header(), payload(expires_at="2000-01-01T00:00:00.000Z")
    ),
    "time without a zone": forged(header(), payload(created="2026-11-23T08:00:00")),
    "version 2": forged(header(), payload(version=2)),
}


@pytest.mark.parametrize("name", INTENTS)
def test_malformed_intents(site: Site, name: str) -> None:
    answer = site.post(INTENTS[name])
    assert (answer.status_code, answer.json["code"]) == (400, "malformed"), name
    assert answer.content_type == "application/problem+json"


def test_a_signature_of_the_wrong_algorithm_or_key(site: Site) -> None:
    other = OTHER.sign(b"x")
    cases = {
        "another's signature": forged(header(), payload(), OTHER),
        "the key's id under another alg": forged(header(alg="ES256"), payload()),
        "a signature of another text": GOOD.rpartition(".")[0] + "." + encode(other),
        "no signature": GOOD.rpartition(".")[0] + ".",
        "a short signature": GOOD.rpartition(".")[0] + "." + encode(other[:63]),
    }
    for name, compact in cases.items():
        answer = site.post(compact)
        assert (answer.status_code, answer.json["code"]) == (401, "signature_invalid"), name
        assert "WWW-Authenticate" in answer.headers


def test_an_unknown_kid(site: Site) -> None:
    answer = site.post(forged(header(kid="A" * 43), payload()))
    assert (answer.status_code, answer.json["code"]) == (401, "key_unknown")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", GOOD, 415, "unsupported_media_type"),
        ("text/plain", GOOD, 415, "unsupported_media_type"),
        ("", GOOD, 415, "unsupported_media_type"),
        ("application/jose; charset=utf-8", "x", 400, "malformed"),
        ("application/jose", "x" * 16_385, 413, "payload_too_large"),
        ("application/jose", b"\x00" * 2_000_000, 413, "payload_too_large"),
    ],
)
def test_bodies(site: Site, content_type: str, body: Any, status: int, code: str) -> None:
    answer = site.client.post("/v1/payments", data=body, content_type=content_type)
    assert (answer.status_code, answer.json["code"]) == (status, code)


def test_an_encoded_body(site: Site) -> None:
    answer = site.post(GOOD, Content_Encoding="gzip")
    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "text",
    [
        "wait=-1",
        "wait=abc",
        "wait=1.5",
        "wait=",
        "wait",
        "=5",
        ";;;",
        "a b",
        '"',
        "wait=9999999999",
    ],
)
def test_bad_prefer(site: Site, text: str) -> None:
    for answer in (site.post(GOOD, Prefer=text), site.get("/v1/payments/x", Prefer=text)):
        assert (answer.status_code, answer.json["code"]) == (400, "parameter_invalid")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=-1", "limit=201", "limit=abc", "limit=1&limit=2", "limit=", "limit=1.0",
        "limit=%00", "limit=١", "cursor=", "cursor=xyz", "cursor=%ff", "cursor=djEuMA",
        "cursor=djEuOTk5OTk5OTk5OTk5OTk5OTk5OQ", "cursor=é", "status=paid", "status=received",
        "status=", "min_block=-1", "min_block=99999999999999999999", "what=1", "order_no=1",
    ],
)  # fmt: skip
def test_bad_list_parameters(site: Site, query: str) -> None:
    answer = site.get(f"/v1/payments?{query}")
    assert (answer.status_code, answer.json["code"]) == (400, "parameter_invalid")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/payments/a%00b", "/v1/payments/" + "a" * 65, "/v1/payments/a%0Ab",
        "/v1/payments/%E2%82%AC", "/v1/payments/a%20b", "/v1/payments/x?attempt=0",
        "/v1/payments/x?attempt=10000", "/v1/payments/x?attempt=-1", "/v1/payments/x?a=1",
        "/v1/payments/x?attempt=1&attempt=1", "/v1/payments/%ff",
    ],
)  # fmt: skip
def test_bad_reads(site: Site, path: str) -> None:
    answer = site.get(path)
    assert (answer.status_code, answer.json["code"]) == (400, "parameter_invalid")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/payments/", 404, "not_found"),
        ("GET", "//v1/payments", 404, "not_found"),
        ("GET", "/v1/payments/a/b", 404, "not_found"),
        ("GET", "/v1/payments/../../etc/passwd", 404, "not_found"),
        ("DELETE", "/v1/payments", 405, "method_not_allowed"),
        ("PUT", "/v1/payments/x", 405, "method_not_allowed"),
        ("POST", "/v1/payments/x", 405, "method_not_allowed"),
        ("TRACE", "/v1/payments", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_addresses_and_methods(site: Site, method: str, path: str, status: int, code: str) -> None:
    answer = site.client.open(path, method=method)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert ("Allow" in answer.headers) is (status == 405)


def test_an_order_may_be_called_batch(site: Site) -> None:
    intent = new_intent(order_no="batch")
    assert site.post(signed(intent)).status_code == 201
    assert site.get("/v1/payments/batch").json["order_no"] == "batch"


def test_not_acceptable(site: Site) -> None:
    answer = site.get("/v1/payments", Accept="text/html")
    assert (answer.status_code, answer.json["code"]) == (406, "not_acceptable")
    for accepted in ("*/*", "application/json", "application/problem+json", "application/*"):
        assert site.get("/v1/payments", Accept=accepted).status_code == 200


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": MERCHANT,
        "sub": MERCHANT,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 60,
        "jti": "x",
        "scope": "read",
    } | changes


def bad_tokens() -> dict[str, tuple[str | None, str]]:
    """Made when they are used: a token lives for minutes only."""
    now = int(time.time())
    return {
        "none": (None, "unauthenticated"),
        "basic": ("Basic bWU6bWU=", "unauthenticated"),
        "empty": ("Bearer ", "unauthenticated"),
        "garbage": ("Bearer abc", "unauthenticated"),
        "an intent": (f"Bearer {GOOD}", "unauthenticated"),
        "another gateway's": (
            "Bearer " + jws.sign(claims(aud="https://127.0.0.1:9"), Typ.BEARER, OWNER),
            "unauthenticated",
        ),
        "expired": (
            "Bearer " + jws.sign(claims(iat=now - 200, exp=now - 100), Typ.BEARER, OWNER),
            "token_expired",
        ),
        "too long-lived": (
            "Bearer " + jws.sign(claims(exp=now + 86_400), Typ.BEARER, OWNER),
            "token_expired",
        ),
        "of the future": (
            "Bearer " + jws.sign(claims(iat=now + 3600, exp=now + 3700), Typ.BEARER, OWNER),
            "unauthenticated",
        ),
        "no merchant's": (
            "Bearer " + jws.sign(claims(iss="nobody", sub="nobody"), Typ.BEARER, OWNER),
            "unauthenticated",
        ),
        "iss is not sub": (
            "Bearer " + jws.sign(claims(sub=OTHER_MERCHANT), Typ.BEARER, OWNER),
            "unauthenticated",
        ),
        "scope": (
            "Bearer " + jws.sign(claims(scope="write"), Typ.BEARER, OWNER),
            "unauthenticated",
        ),
        "another's key": ("Bearer " + jws.sign(claims(), Typ.BEARER, OTHER), "key_unknown"),
        "a revoked key": ("Bearer " + jws.sign(claims(), Typ.BEARER, REVOKED), "key_revoked"),
        "altered": (
            "Bearer " + forged(header(typ="JWT"), canonical.dumps(claims()), OTHER),
            "signature_invalid",
        ),
    }


@pytest.mark.parametrize("name", bad_tokens())
def test_tokens(site: Site, name: str) -> None:
    text, code = bad_tokens()[name]
    headers = {} if text is None else {"Authorization": text}
    for path in ("/v1/payments", "/v1/payments/x"):
        answer = site.client.get(path, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (401, code)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_merchant_sees_its_own_payments_only(site: Site) -> None:
    intent = new_intent()
    site.post(signed(intent))
    path = f"/v1/payments/{intent.order_no}"
    assert site.get(path).status_code == 200
    answer = site.get(path, **token(OTHER_MERCHANT, OTHER))
    assert (answer.status_code, answer.json["code"]) == (404, "payment_unknown")


def test_a_suspended_merchant_may_still_read(site: Site) -> None:
    assert site.get("/v1/payments", **token(SUSPENDED_MERCHANT, SUSPENDED)).status_code == 200


@given(data=st.binary(max_size=400))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_bytes_give_a_500(site: Site, data: bytes) -> None:
    assert 400 <= site.post(data).status_code < 500
    assert 400 <= site.post(encode(data) + "." + encode(data) + ".").status_code < 500
    for body in (data, b'{"intents": ' + data + b"}", b'{"intents": ["' + data + b'"]}'):
        answer = site.client.post("/v1/payments/batch", data=body, content_type="application/json")
        assert answer.status_code < 500
    text = data.decode("latin-1")
    query = {"limit": text, "cursor": text, "status": text, text or "x": text}
    assert site.client.get("/v1/payments", query_string=query).status_code < 500


def test_every_answer_is_safe_to_keep_nowhere(site: Site) -> None:
    for answer in (site.post(signed()), site.post("x"), site.client.get("/nowhere")):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Request-Id"]


def test_request_ids_are_taken_over_when_they_are_harmless(site: Site) -> None:
    assert site.get("/v1/payments", X_Request_Id="abc-1").headers["X-Request-Id"] != ""
    given_id = {"X-Request-Id": "abc-1"}
    assert site.client.get("/healthz", headers=given_id).headers["X-Request-Id"] == "abc-1"
    for bad in ("4111111111111111", "a b", "x" * 65):
        answer = site.client.get("/healthz", headers={"X-Request-Id": bad})
        assert answer.headers["X-Request-Id"] != bad
