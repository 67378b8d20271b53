"""What every operation of the OpenAPI document is made of: references, parameters, answers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from clearline.canonical import Json
from clearline.codes import Code
from clearline.jws import MAX_COMPACT
from gateway.openapi_headers import UNLIMITED, Headers, Limited
from gateway.problems import MEDIA_TYPE

COMPACT: Final[Json] = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
    "maxLength": MAX_COMPACT,
}
NOTHING_MORE: Final = Headers()


def ref(name: str) -> Json:
    """A schema of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(members: dict[str, Json], optional: Collection[str] = ()) -> dict[str, Json]:
    """An object of these members and no others; those that are not `optional` always."""
    return {
        "type": "object",
        "properties": members,
        "required": [name for name in members if name not in optional],
        "additionalProperties": False,
    }


def listed(schema: Json) -> Json:
    """A list of these."""
    return {"type": "array", "items": schema}


def query(name: str, schema: Json, description: str = "") -> Json:
    """An optional query parameter."""
    named = {"name": name, "in": "query", "schema": schema}
    return named | ({"description": description} if description else {})


def content(description: str, schema: Json, headers: Headers = NOTHING_MORE) -> Json:
    """An answer in JSON."""
    return bare(description, headers) | {"content": {"application/json": {"schema": schema}}}


def bare(description: str, headers: Headers = NOTHING_MORE) -> dict[str, Json]:
    """An answer without a body."""
    return {"description": description, "headers": headers.json()}


def problems(codes: tuple[Code, ...], limited: Limited = UNLIMITED) -> dict[str, Json]:
    """A response for each status, naming the codes that come with it."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(code.http_status, []).append(code.value)
    return {
        str(status): bare(", ".join(dict.fromkeys(names)), limited.of(status))
        | {"content": {MEDIA_TYPE: {"schema": ref("Problem")}}}
        for status, names in sorted(by_status.items())
    }
