"""The description is sharp: what an answer lacks or has too much is seen, member by member."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from helpers_described import Described
from helpers_gateway import new_intent, signed, token
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import JsonSchemaError, MissingHeaders
from schemathesis.specs.openapi import checks

from gateway.openapi_headers import EVERY

ANSWERS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "posted": ("POST", "/v1/payments", 201, {}),
    "refused": ("POST", "/v1/payments", 400, {"data": "x"}),
    "batch": ("POST", "/v1/payments/batch", 200, {}),
    "read": ("GET", "/v1/payments/{order_no}", 200, {}),
    "receipts": ("GET", "/v1/payments/{order_no}/receipts", 200, {"query": "?attempt=1"}),
    "listed": ("GET", "/v1/payments", 200, {}),
    "no_token": ("GET", "/v1/payments", 401, {"headers": {}}),
    "webhooks": ("GET", "/v1/webhooks", 200, {}),
    "events": ("GET", "/v1/events", 200, {}),
    "gateway": ("GET", "/v1/gateway", 200, {}),
    "alive": ("GET", "/healthz", 200, {}),
    "ready": ("GET", "/readyz", 200, {}),
    "code": ("GET", "/problems/{code}", 200, {}),
    "no_code": ("GET", "/problems/{code}", 404, {"code": "nothing"}),
}


class Answer:
    """What an operation answered, as schemathesis holds it against its description."""

    def __init__(self, operation: Any, answer: requests.Response) -> None:
        places = {"order_no": "x", "code": "x"}
        named = [name for name in places if f"{{{name}}}" in operation.path]
        self.case = operation.Case(path_parameters={name: places[name] for name in named})
        self.headers = operation.responses.find_by_status_code(answer.status_code).headers
        self.sent = Response.from_requests(answer, verify=True)

    def held(self, **changes: Any) -> None:
        """Raises for what is not as described, when its `headers` or `content` were others."""
        sent = self.sent
        parts = {"headers": sent.headers, "content": sent.content} | changes
        self.case.validate_response(
            Response(sent.status_code, request=sent.request, elapsed=0.1, verify=True, **parts),
            checks=[checks.response_headers_conformance, checks.response_schema_conformance],
        )

    def missed(self, name: str) -> None:
        """Fails unless it is seen that a header is not there."""
        headers = {key: value for key, value in self.sent.headers.items() if key != name.lower()}
        assert len(headers) == len(self.sent.headers) - 1
        with pytest.raises(FailureGroup) as raised:
            self.held(headers=headers)
        assert [type(one) for one in raised.value.exceptions] == [MissingHeaders]


@pytest.fixture(scope="module", params=ANSWERS)
def answered(request: Any, described: Described, schema: Any) -> Answer:
    method, path, status, given = ANSWERS[request.param]
    body = {"/v1/payments": signed, "/v1/payments/batch": lambda: json.dumps({"intents": ["x"]})}
    media = "application/json" if path.endswith("batch") else "application/jose"
    headers = {"Content-Type": media} if method == "POST" else token()
    sent = described.session.request(
        method,
        described.url
        + path.format(order_no=described.order_no, code=given.get("code", "expired"))
        + given.get("query", ""),
        data=given.get("data") or (body[path]() if method == "POST" else None),
        headers=given.get("headers", headers),
        timeout=10,
    )
    assert sent.status_code == status, sent.text
    return Answer(schema[path][method], sent)


def test_each_header_that_comes_always_is_missed(answered: Answer) -> None:
    answered.held()
    required = {name for name, header in answered.headers.items() if header.is_required}
    assert required >= set(EVERY)
    for name in required:
        answered.missed(name)


def test_no_header_is_told_that_is_not_described(answered: Answer) -> None:
    usual = {"date", "content-type", "content-length", "connection", "server"}
    assert set(answered.sent.headers) - usual <= {
        name.lower() for name, _ in answered.headers.items()
    }


def test_each_object_is_closed_and_whole(answered: Answer) -> None:
    """A member more, anywhere, is seen; and each that goes missing."""
    count = 0
    for change in _changes(json.loads(answered.sent.content)):
        with pytest.raises(FailureGroup) as raised:
            answered.held(content=json.dumps(change).encode())
        assert [type(one) for one in raised.value.exceptions] == [JsonSchemaError]
        count += 1
    assert count > 1


def _changes(document: Any) -> Iterator[Any]:
    """Copies of a document, each with a member too much in one of its objects, or one less."""
    for path in _objects(document, ()):
        for change in (_add, *(_dropping(name) for name in _at(document, path))):
            other = copy.deepcopy(document)
            change(_at(other, path))
            yield other


def _objects(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in inside:
        if isinstance(inner, dict | list):
            yield from _objects(inner, (*path, name))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def _add(held: dict[str, Any]) -> None:
    held["more"] = 1


def _dropping(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda held: held.__delitem__(name)


def test_what_is_only_held_is_described_too(described: Described, schema: Any) -> None:
    """202: without a block, and with a receipt."""
    described.ledger.down()
    try:
        sent = described.session.post(
            f"{described.url}/v1/payments",
            data=signed(new_intent()),
            headers={"Content-Type": "application/jose", "Prefer": "respond-async"},
            timeout=10,
        )
    finally:
        described.ledger.up()
    assert sent.status_code == 202
    answer = Answer(schema["/v1/payments"]["POST"], sent)
    answer.held()
    assert "clearline-block" not in answer.sent.headers
    answer.missed("Location")
    answer.missed("RateLimit-Policy")
