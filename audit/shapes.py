"""What a value of a signed object or an item may be, written a second time.

A shape says yes or no; only a closed object says which member is at fault, since that is what a
finding names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from clearline.money import MINOR_DIGITS

Shape = Callable[[Any], bool]
_TIME: Final = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]{3}Z")
_DATE: Final = re.compile(r"[0-9]{4}(-[0-9]{2}){2}")


def text(pattern: str) -> Shape:
    """A text that `pattern` matches whole."""
    whole = re.compile(pattern).fullmatch
    return lambda value: isinstance(value, str) and whole(value) is not None


def printable(most: int) -> Shape:
    """A name for people, of 1 to `most` characters."""

    def check(value: Any) -> bool:
        if not isinstance(value, str) or not 0 < len(value) <= most:
            return False
        return value.isprintable() and value.strip() == value

    return check


def integer(least: int, most: int) -> Shape:
    """An integer from `least` to `most`; true is none."""
    return lambda value: type(value) is int and least <= value <= most


def one_of(*values: str) -> Shape:
    """One of these texts."""
    allowed = frozenset(values)
    return lambda value: isinstance(value, str) and value in allowed


def constant(wanted: int) -> Shape:
    """This number."""
    return lambda value: type(value) is int and value == wanted


def nullable(inner: Shape) -> Shape:
    """`inner`, or null."""
    return lambda value: value is None or inner(value)


def listed(inner: Shape, most: int) -> Shape:
    """A list of 1 to `most` values of `inner`."""
    return lambda value: (
        isinstance(value, list) and 0 < len(value) <= most and all(map(inner, value))
    )


def mapped(names: Shape, values: Shape, most: int) -> Shape:
    """An object of at most `most` members, names and values of these shapes."""

    def check(value: Any) -> bool:
        if not isinstance(value, dict) or len(value) > most:
            return False
        return all(names(name) and values(one) for name, one in value.items())

    return check


def moment(value: Any) -> bool:
    """A time in UTC with milliseconds (RFC 3339)."""
    return isinstance(value, str) and _TIME.fullmatch(value) is not None and _is(datetime, value)


def day(value: Any) -> bool:
    """A calendar date."""
    return isinstance(value, str) and _DATE.fullmatch(value) is not None and _is(date, value)


def currency(value: Any) -> bool:
    """An ISO 4217 code of this network's list."""
    return isinstance(value, str) and value in MINOR_DIGITS


def anything(value: Any) -> bool:
    """Any value: it has a shape of its own, held against it later."""
    return True


def _is(kind: type[date], value: str) -> bool:
    try:
        kind.fromisoformat(value)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Closed:
    """An object of these members and no others; those in `optional` may be absent."""

    members: Mapping[str, Shape]
    optional: frozenset[str] = frozenset()

    def fault(self, value: Any) -> str | None:
        """The first thing wrong with it, None for nothing."""
        if not isinstance(value, dict):
            return "it is no object"
        for name, shape in self.members.items():
            if name not in value:
                if name not in self.optional:
                    return f"{name} is missing"
            elif not shape(value[name]):
                return f"{name} is not of its form"
        if len(value) > len(self.members) or not value.keys() <= self.members.keys():
            return f"{sorted(value.keys() - self.members.keys())[0][:64]} is no member of it"
        return None

    def __call__(self, value: Any) -> bool:
        """As a shape."""
        return self.fault(value) is None
