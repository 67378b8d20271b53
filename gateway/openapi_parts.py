"""What every operation of the OpenAPI document is made of: references, parameters, answers."""

from __future__ import annotations

from clearline.canonical import Json
from clearline.codes import Code
from gateway.problems import MEDIA_TYPE


def ref(name: str) -> Json:
    """A schema of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def query(name: str, schema: Json) -> Json:
    """An optional query parameter."""
    return {"name": name, "in": "query", "schema": schema}


def content(description: str, schema: Json) -> Json:
    """An answer in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def problems(codes: tuple[Code, ...]) -> dict[str, Json]:
    """A response for each status, naming the codes that come with it."""
    by_status: dict[str, list[str]] = {}
    for code in codes:
        by_status.setdefault(str(code.http_status), []).append(code.value)
    return {
        status: {
            "description": ", ".join(dict.fromkeys(names)),
            "content": {MEDIA_TYPE: {"schema": ref("Problem")}},
        }
        for status, names in sorted(by_status.items())
    }
