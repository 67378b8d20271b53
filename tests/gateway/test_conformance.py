"""The running gateway against its own description: schemathesis over gunicorn and TLS, bounded."""

import base64
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
import schemathesis
from helpers_described import Described
from helpers_gateway import (
    new_intent,
    signed,
    token,
    write_identity,
    write_settings,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from prometheus_client.parser import text_string_to_metric_families
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from clearline.answers import parse_receipt
from clearline.jws import Algorithm, public_key
from gateway.app import create_app
from gateway.settings import Settings


def no_fault(_: Any, response: Any, case: Any) -> None:
    """503 says when to come back; no other answer is the gateway's fault."""
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code == 503 and case.operation.path != "/readyz":
        assert response.headers["retry-after"] == ["1"]


def wrong_input_is_refused(context: Any, response: Any, case: Any) -> bool | None:
    """As schemathesis has it; but too long is 413, and a batch refuses its bad items singly."""
    if response.status_code == 413 or case.operation.path == "/v1/payments/batch":
        return None
    sent = parse_qs(urlsplit(response.request.url).query, keep_blank_values=True)
    if any(name not in sent for name in case.query or ()):
        return None  # a parameter without a value: what is wrong did not get onto the wire
    return checks.negative_data_rejection(context, response, case)


# These send requests of their own, which hardly depend on the example: a few are enough.
DEAR_CHECKS = [
    checks.missing_required_header,
    checks.unsupported_method,
    checks.ignored_auth,
]
DEAR = 3  # examples of an operation that they are held against
CHECKS = [
    no_fault,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    wrong_input_is_refused,
]

PATIENT = 1  # examples of an operation that wait for a block that never comes

CONFIG = settings(
    max_examples=20,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


_OF_A_REFUND = "/v1/payments/{order_no}/refunds/{refund_no}"
_OF_A_SETTLEMENT = "/v1/settlements/{acquirer_id}/{merchant_code}/{currency}/{clearing_date}/{run}"
_OF_A_WEBHOOK = "/v1/webhooks/{webhook_id}"
# There is none of these where the description is held: 404 is what a reader gets.
_NONE_THERE = (_OF_A_WEBHOOK, _OF_A_REFUND)
OPERATIONS = [
    ("POST", "/v1/payments"),
    ("GET", "/v1/payments"),
    ("POST", "/v1/payments/batch"),
    ("GET", "/v1/payments/{order_no}"),
    ("GET", "/v1/payments/{order_no}/receipts"),
    ("GET", "/v1/settlements"),
    ("GET", _OF_A_SETTLEMENT),
    ("POST", "/v1/payments/{order_no}/refunds"),
    ("GET", "/v1/payments/{order_no}/refunds"),
    ("GET", _OF_A_REFUND),
    ("GET", "/v1/webhooks"),
    ("GET", "/v1/webhooks/{webhook_id}"),
    ("PUT", "/v1/webhooks/{webhook_id}"),
    ("DELETE", "/v1/webhooks/{webhook_id}"),
    ("GET", "/v1/events"),
    ("GET", "/v1/gateway"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/problems"),
    ("GET", "/problems/{code}"),
    ("GET", "/metrics"),
]


def test_every_operation_is_in_the_list(schema: Any) -> None:
    described = {(o.ok().method.upper(), o.ok().path) for o in schema.get_all_operations()}
    assert described == set(OPERATIONS)


@schemathesis.serializer("application/jose")
def _jose(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_operation_is_as_described(
    described: Described, schema: Any, method: str, path: str, mode: GenerationMode
) -> None:
    operation = schema[path][method]
    seen: Counter[int] = Counter()
    known = {name: one for name, one in described.known.items() if f"{{{name}}}" in path}
    known |= {"refund_no": 1} if path == _OF_A_REFUND else {}

    @CONFIG
    @given(case=st.data())
    def hold(case: Any) -> None:
        chosen = case.draw(operation.as_strategy(mode))
        if known and mode is GenerationMode.POSITIVE and case.draw(st.booleans()):
            chosen.path_parameters = dict(known)
        if mode is GenerationMode.POSITIVE and seen[503] >= PATIENT and chosen.query:
            chosen.query.pop("min_block", None)
        headers, transport = _headers(path, method), {"verify": described.session.verify}
        answer = chosen.call(described.url, described.session, headers, timeout=20, **transport)
        held = CHECKS + DEAR_CHECKS if seen.total() < DEAR else CHECKS
        chosen.validate_response(answer, checks=held, headers=headers, transport_kwargs=transport)
        seen[answer.status_code] += 1

    try:
        hold()
    except Unsatisfiable:  # what takes no input has no wrong one
        assert mode is GenerationMode.NEGATIVE
        return
    assert seen
    if mode is GenerationMode.POSITIVE and method == "GET" and path not in _NONE_THERE:
        assert 200 in seen


def _headers(path: str, method: str) -> dict[str, str]:
    own = ("/v1/payments", "/v1/settlements", "/v1/webhooks", "/v1/events")
    return token() if method == "GET" and path.startswith(own) else {}


@pytest.mark.parametrize(
    "path", ["/docs", "/problems", "/problems/expired", "/openapi.json", "/v1/gateway"]
)
@pytest.mark.parametrize("accept", ["text/html,*/*;q=0.8", "application/json", "*/*"])
def test_pages_are_there_for_people_and_programs(
    described: Described, path: str, accept: str
) -> None:
    answer = described.session.get(described.url + path, headers={"Accept": accept}, timeout=10)
    assert answer.status_code == 200
    html = path == "/docs" or (path.startswith("/problems") and accept.startswith("text/html"))
    assert answer.headers["Content-Type"].startswith("text/html" if html else "application/json")
    policies = [v for n, v in answer.raw.headers.items() if n == "Content-Security-Policy"]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'")
    if html:
        style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policies[0]
        assert "<script" not in answer.text
        assert not re.search(r"(src|href)=.https?:", answer.text)


def test_every_problem_names_its_page(described: Described) -> None:
    refused = described.session.post(
        f"{described.url}/v1/payments",
        data="x",
        headers={"Content-Type": "application/jose"},
        timeout=10,
    )
    assert refused.json()["type"] == "urn:clearline:problem:malformed"
    page = described.session.get(
        urljoin(refused.url, refused.links["help"]["url"]),
        headers={"Accept": "application/json"},
        timeout=10,
    )
    assert page.json()["type"] == refused.json()["type"]
    assert page.json()["title"] == refused.json()["title"]


def test_the_gateway_shows_the_key_that_signs_its_receipts(described: Described) -> None:
    shown = described.session.get(f"{described.url}/v1/gateway", timeout=10).json()
    answer = described.session.post(
        f"{described.url}/v1/payments",
        data=signed(new_intent()),
        headers={"Content-Type": "application/jose", "Prefer": "respond-async"},
        timeout=10,
    )
    receipt, taken = parse_receipt(answer.json()["receipt"])
    (key,) = shown["receipt_keys"]
    assert (taken.key_id, receipt.gateway) == (key["kid"], shown["name"])
    public_key(key["jwk"], Algorithm(key["alg"])).verify(taken)


def test_metrics_count_over_all_workers_and_the_committer(described: Described) -> None:
    def counted(name: str) -> float:
        text = described.session.get(f"{described.url}/metrics", timeout=10).text
        families = {
            s.name: s
            for f in text_string_to_metric_families(text)
            for s in f.samples
            if s.labels in ({}, {"endpoint": "health.healthz", "status": "200"})
        }
        return families[name].value if name in families else 0.0

    before = counted("clearline_http_requests_total")
    committed = counted("clearline_queue_committed_total")
    for _ in range(20):
        # A connection each, so that both workers have some.
        answer = requests.get(
            f"{described.url}/healthz", verify=described.session.verify, timeout=10
        )
        assert answer.ok
    assert counted("clearline_http_requests_total") == before + 20
    described.session.post(
        f"{described.url}/v1/payments",
        data=signed(new_intent()),
        headers={"Content-Type": "application/jose"},
        timeout=10,
    )
    assert counted("clearline_queue_committed_total") >= committed + 1
    assert counted("clearline_committer_up") == 1
    assert counted("clearline_last_block") > 0


def test_metrics_are_for_the_addresses_in_the_settings(tmp_path: Path) -> None:
    write_identity(tmp_path)
    path = write_settings(tmp_path, "127.0.0.1:7051")
    document = json.loads(path.read_text()) | {"metrics_from": ["10.0.0.0/8"]}
    path.write_text(json.dumps(document))
    client = create_app(Settings.load(path)).test_client()
    for address, status in (("127.0.0.1", 404), ("10.1.2.3", 200), ("nonsense", 404)):
        answer = client.get("/metrics", environ_overrides={"REMOTE_ADDR": address})
        assert answer.status_code == status
    assert (
        "clearline_committer_up 0.0"
        in client.get("/metrics", environ_overrides={"REMOTE_ADDR": "10.1.2.3"}).text
    )
