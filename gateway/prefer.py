"""The `Prefer` request header (RFC 7240): `wait=N` and `respond-async`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clearline.codes import Code, Refusal

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  RFC 9110 section 5.6.2
_QUOTED: Final = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*"'
_PARAMETER: Final = rf"{_TOKEN}(?:[ \t]*+=[ \t]*+(?:{_TOKEN}|{_QUOTED}))?"
_PREFERENCE: Final = re.compile(
    rf"[ \t]*+({_PARAMETER})((?:[ \t]*+;[ \t]*+(?:{_PARAMETER})?)*)[ \t]*+"
)
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client prefers: `wait` in seconds (None when it did not say), `respond_async`."""

    wait: int | None = None
    respond_async: bool = False


def parse(headers: Sequence[str]) -> Preferences:
    """All of a request's Prefer header lines. Unknown preferences are ignored, the first of a name
    counts (RFC 7240 section 2). Raises Refusal `parameter_invalid` for what is no Prefer header.
    """
    found: dict[str, str] = {}
    for text in headers:
        if len(text) > 1024:
            raise Refusal(Code.PARAMETER_INVALID, "Prefer: longer than 1024 characters")
        for name, value in _preferences(text):
            found.setdefault(name, value)
    wait = found.get("wait")
    if wait is not None and not _SECONDS.fullmatch(wait):
        raise Refusal(Code.PARAMETER_INVALID, "Prefer: wait must be a number of seconds")
    return Preferences(None if wait is None else int(wait), "respond-async" in found)


def _preferences(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    place = 0
    while place < len(text):
        match = _PREFERENCE.match(text, place)
        if match is None:
            if text[place] in ", \t":  # an empty list element (RFC 9110 section 5.6.1)
                place += 1
                continue
            raise Refusal(Code.PARAMETER_INVALID, "Prefer: not of the form of RFC 7240")
        place = match.end()
        if place < len(text) and text[place] != ",":
            raise Refusal(Code.PARAMETER_INVALID, "Prefer: not of the form of RFC 7240")
        place += 1
        name, _, value = match[1].partition("=")
        found.append((name.strip().lower(), value.strip().strip('"')))
    return found
