"""Payloads made from a description's own schemas by schemathesis, right ones and wrong ones, and
signed whatever they hold: so that what is behind the signature is fuzzed too."""

import json
from collections import Counter
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from clearline.jws import Signer, Typ, encode

RIGHT, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


def bounded(examples: int) -> settings:
    """The same examples at each run."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


def no_fault(_: Any, response: Any, __: Any) -> None:
    """503 says when to come back; no other answer is the gateway's fault."""
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code == 503:
        assert int(response.headers["retry-after"][0]) >= 1


CHECKS = [
    no_fault,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@schemathesis.serializer("application/jose")
def _jose(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


class Payloads:
    """Of the shapes in a description's components: whole, or one member at a time, for an object
    all of whose members are drawn is no merchant's and gets no further than the first check."""

    def __init__(self, document: dict[str, Any], *names: str) -> None:
        self._shapes = document["components"]["schemas"]
        self._strategies: dict[tuple[str, GenerationMode], st.SearchStrategy[Any]] = {}
        parts = {
            f"{name}/{member}": {
                "type": "object",
                "properties": {member: schema},
                "required": [member],
                "additionalProperties": False,
            }
            for name in names
            for member, schema in self._shapes[name]["properties"].items()
        }
        whole = {name: {"$ref": f"#/components/schemas/{name}"} for name in names}
        self._made = schemathesis.openapi.from_dict(
            {
                "openapi": "3.1.0",
                "info": {"title": "", "version": "1"},
                "paths": {f"/{name}": _post(schema) for name, schema in (whole | parts).items()},
                "components": {"schemas": self._shapes},
            }
        )

    def varied(self, draw: Any, name: str, ours: dict[str, Any]) -> Any:
        """Ours, with none or some members as the schema has them or as it has them not; sometimes
        another thing altogether."""
        how = draw(st.integers(0, 29))
        if how < 2:
            return draw(self._of(name, (RIGHT, WRONG)[how]))
        body = dict(ours)
        for _ in range((0, 0, 1, 1, 2)[how % 5]):
            member = draw(st.sampled_from(sorted(self._shapes[name]["properties"])))
            mode = draw(st.sampled_from((RIGHT, RIGHT, WRONG)))
            part = draw(self._of(f"{name}/{member}", mode))
            if isinstance(part, dict):
                body.pop(member, None)
                body |= part
        return body

    def _of(self, name: str, mode: GenerationMode) -> st.SearchStrategy[Any]:
        if (name, mode) not in self._strategies:  # dear to make
            cases = self._made[f"/{name}"]["POST"].as_strategy(mode)
            self._strategies[name, mode] = cases.map(lambda case: case.body)
        return self._strategies[name, mode]


def _post(schema: Any) -> Any:
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"post": {"requestBody": body, "responses": {"200": {"description": ""}}}}


def sign_any(payload: Any, typ: Typ, signer: Signer) -> str:
    """A JWS over whatever it is: bytes as they are, else as JSON, canonical or not."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    header = {"alg": signer.algorithm.value, "kid": signer.key_id, "typ": typ.value}
    parts = (json.dumps(header, separators=(",", ":")).encode(), data)
    text = ".".join(encode(part) for part in parts)
    return f"{text}.{encode(signer.sign(text.encode()))}"


class Seen:
    """What was answered: statuses and codes."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()

    def hold(self, case: Any, answer: Any) -> None:
        """Hold an answer against its description and count it."""
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as group:
            raise AssertionError("\n".join(str(one) for one in group.exceptions)) from None
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 400:
            self.codes[answer.json()["code"]] += 1
