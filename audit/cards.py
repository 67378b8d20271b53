"""Card numbers, found a second time: the ranges and the reading are the auditor's own.

A number counts when its prefix *and* its length are a card scheme's *and* its check digit is right
(ISO/IEC 7812-1 annex B); it may be written in groups parted by one space or dash.
"""

from __future__ import annotations

import re
from typing import Any, Final

from audit.jose import JoseError, decode

# Each scheme's prefixes with the lengths its numbers have.
_SCHEMES: Final = {
    "visa": (("4",), {13, 16, 19}),
    "mastercard": (("51-55", "2221-2720"), {16}),
    "american express": (("34", "37"), {15}),
    "unionpay": (("62", "81"), range(16, 20)),
    "jcb": (("3528-3589",), range(16, 20)),
    "discover": (("6011", "644-649", "65"), range(16, 20)),
    "diners": (("300-305", "36", "38-39"), range(14, 20)),
    "mir": (("2200-2204",), range(16, 20)),
    "maestro": (("5018", "5020", "5038", "5893", "6304", "6759", "6761-6763"), range(12, 20)),
    "rupay": (("508", "60", "82"), {16}),
}
_SHORTEST, _LONGEST = 12, 19
_RUN: Final = re.compile(r"\d+(?:[ -]\d+)*", re.ASCII)
_FULL_WIDTH: Final = {0xFF10 + digit: 0x30 + digit for digit in range(10)}
_LONG_ENOUGH: Final = re.compile(r"\d(?:[ -]?\d){11}", re.ASCII)


def _prefixes() -> dict[int, frozenset[str]]:
    """By length of the number, every prefix spelt out."""
    found: dict[int, set[str]] = {length: set() for length in range(_SHORTEST, _LONGEST + 1)}
    for spans, lengths in _SCHEMES.values():
        for span in spans:
            low, _, high = span.partition("-")
            for prefix in range(int(low), int(high or low) + 1):
                for length in lengths:
                    found[length].add(str(prefix))
    return {length: frozenset(prefixes) for length, prefixes in found.items()}


_PREFIXES: Final = _prefixes()


def held(text: str) -> bool:
    """Whether this text could hold a card number."""
    if len(text) < _SHORTEST:
        return False
    plain = text if text.isascii() else text.translate(_FULL_WIDTH)
    return _LONG_ENOUGH.search(plain) is not None and any(
        map(_joined, (run[0] for run in _RUN.finditer(plain)))
    )


def held_anywhere(value: Any) -> bool:
    """Whether a text or number anywhere in a JSON value, or in the parts of a JWS in it, could."""
    if isinstance(value, str):
        return held(value) or any(_encoded(part) for part in value.split(".")[:3])
    if isinstance(value, dict):
        return any(held_anywhere(name) or held_anywhere(one) for name, one in value.items())
    if isinstance(value, list):
        return any(held_anywhere(one) for one in value)
    return isinstance(value, int) and held(str(value))


def _encoded(part: str) -> bool:
    try:
        return held(decode(part).decode("utf-8", "replace"))
    except JoseError:
        return False


def _joined(run: str) -> bool:
    """Whether neighbouring groups of a run of digits, put together, are a card number."""
    groups = run.replace("-", " ").split(" ")
    return any(
        _is_card("".join(groups[first:last]))
        for first in range(len(groups))
        for last in range(first + 1, min(len(groups), first + _LONGEST) + 1)
    )


def _is_card(digits: str) -> bool:
    prefixes = _PREFIXES.get(len(digits), frozenset())
    return any(digits[:size] in prefixes for size in (1, 2, 3, 4)) and _check_digit(digits)


def _check_digit(digits: str) -> bool:
    even, odd = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, even)) + sum(sum(divmod(2 * int(one), 10)) for one in odd)) % 10 == 0
