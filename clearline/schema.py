"""Closed schemas: what a signed object may hold, checked exactly and shown as JSON Schema.

A shape is a value; `check` holds a parsed JSON value against it and names the first place that
differs by its JSON Pointer (RFC 6901). Unknown members are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeGuard

from clearline import times
from clearline.canonical import Json
from clearline.money import MAX_AMOUNT, MINOR_DIGITS


class SchemaError(ValueError):
    """`pointer` (RFC 6901) is where the value differs, `reason` how."""

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(f"{pointer or '/'}: {reason}")
        self.pointer = pointer
        self.reason = reason


class Shape(Protocol):
    """What a value must look like."""

    def check(self, value: Json, pointer: str) -> None:
        """Raise SchemaError when `value`, found at `pointer`, is not of this shape."""

    def json_schema(self) -> dict[str, Json]:
        """The same as a JSON Schema (2020-12)."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string that `pattern` matches whole; `pattern` is anchored by us."""

    pattern: str
    description: str = ""
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", re.compile(self.pattern, re.ASCII))

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not str:
            raise SchemaError(pointer, "must be a string")
        if not self.fits(value):
            raise SchemaError(pointer, self.description or f"must match {self.pattern}")

    def fits(self, value: Json) -> TypeGuard[str]:
        """Whether `check` takes it."""
        return type(value) is str and self._compiled.fullmatch(value) is not None

    def json_schema(self) -> dict[str, Json]:
        shown: dict[str, Json] = {"type": "string", "pattern": f"^(?:{self.pattern})$"}
        return shown | ({"description": self.description} if self.description else {})


@dataclass(frozen=True, slots=True)
class Printable:
    """A name for people: 1 to `most` characters, no control characters, no outer white space."""

    most: int

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not str:
            raise SchemaError(pointer, "must be a string")
        if not 1 <= len(value) <= self.most or value != value.strip() or not value.isprintable():
            raise SchemaError(pointer, f"must be 1 to {self.most} printable characters")

    def json_schema(self) -> dict[str, Json]:
        return {"type": "string", "minLength": 1, "maxLength": self.most}


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer in `least`..`most`; true and false are not integers."""

    least: int
    most: int

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not int:
            raise SchemaError(pointer, "must be an integer")
        if not self.least <= value <= self.most:
            raise SchemaError(pointer, f"must be {self.least}..{self.most}")

    def json_schema(self) -> dict[str, Json]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few strings."""

    values: tuple[str, ...]

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not str or value not in self.values:
            raise SchemaError(pointer, f"must be one of {', '.join(self.values)}")

    def json_schema(self) -> dict[str, Json]:
        return {"type": "string", "enum": list(self.values)}


@dataclass(frozen=True, slots=True)
class Constant:
    """Exactly this value."""

    value: str | int

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not type(self.value) or value != self.value:
            raise SchemaError(pointer, f"must be {self.value!r}")

    def json_schema(self) -> dict[str, Json]:
        return {"const": self.value}


@dataclass(frozen=True, slots=True)
class Time:
    """An RFC 3339 time in UTC with milliseconds, 2026-11-23T08:00:00.000Z."""

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not str:
            raise SchemaError(pointer, "must be a string")
        try:
            times.parse(value)
        except ValueError:
            raise SchemaError(
                pointer, "must be an RFC 3339 time in UTC with milliseconds and Z"
            ) from None

    def json_schema(self) -> dict[str, Json]:
        return {"type": "string", "format": "date-time", "pattern": times.PATTERN}


@dataclass(frozen=True, slots=True)
class Date:
    """A calendar date."""

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not str:
            raise SchemaError(pointer, "must be a string")
        try:
            times.parse_date(value)
        except ValueError:
            raise SchemaError(pointer, "must be a date YYYY-MM-DD") from None

    def json_schema(self) -> dict[str, Json]:
        return {"type": "string", "format": "date", "pattern": times.DATE_PATTERN}


@dataclass(frozen=True, slots=True)
class Currency:
    """An ISO 4217 code this network knows."""

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not str or value not in MINOR_DIGITS:
            raise SchemaError(pointer, "must be an ISO 4217 currency code this network knows")

    def json_schema(self) -> dict[str, Json]:
        return {"type": "string", "pattern": "^[A-Z]{3}$"}


@dataclass(frozen=True, slots=True)
class Nullable:
    """The inner shape, or null."""

    inner: Shape

    def check(self, value: Json, pointer: str) -> None:
        if value is not None:
            self.inner.check(value, pointer)

    def json_schema(self) -> dict[str, Json]:
        return {"anyOf": [self.inner.json_schema(), {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of `least` to `most` values of one shape."""

    inner: Shape
    least: int
    most: int

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not list:
            raise SchemaError(pointer, "must be a list")
        if not self.least <= len(value) <= self.most:
            raise SchemaError(pointer, f"must have {self.least} to {self.most} items")
        for index, item in enumerate(value):
            self.inner.check(item, f"{pointer}/{index}")

    def json_schema(self) -> dict[str, Json]:
        return {
            "type": "array",
            "items": self.inner.json_schema(),
            "minItems": self.least,
            "maxItems": self.most,
        }


@dataclass(frozen=True, slots=True)
class Mapped:
    """An object whose member names are of one shape and whose values of another."""

    names: Text
    values: Shape
    most: int

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not dict:
            raise SchemaError(pointer, "must be an object")
        if len(value) > self.most:
            raise SchemaError(pointer, f"must have at most {self.most} members")
        for name, member in value.items():
            self.names.check(name, f"{pointer}/{escape(name)}")
            self.values.check(member, f"{pointer}/{escape(name)}")

    def json_schema(self) -> dict[str, Json]:
        return {
            "type": "object",
            "propertyNames": self.names.json_schema(),
            "additionalProperties": self.values.json_schema(),
            "maxProperties": self.most,
        }


@dataclass(frozen=True, slots=True)
class Members:
    """An object with exactly these members; those in `optional` may be absent."""

    members: Mapping[str, Shape]
    optional: frozenset[str] = frozenset()

    def check(self, value: Json, pointer: str) -> None:
        if type(value) is not dict:
            raise SchemaError(pointer, "must be an object")
        if not value.keys() <= self.members.keys():
            odd = next(name for name in value if name not in self.members)
            raise SchemaError(f"{pointer}/{escape(odd)}", "is not a member of this object")
        for name, shape in self.members.items():
            if name in value:
                try:
                    shape.check(value[name], "")
                except SchemaError as error:  # where is spelt out only for what is wrong
                    raise SchemaError(f"{pointer}/{name}{error.pointer}", error.reason) from None
            elif name not in self.optional:
                raise SchemaError(f"{pointer}/{name}", "is missing")

    def json_schema(self) -> dict[str, Json]:
        return {
            "type": "object",
            "properties": {name: shape.json_schema() for name, shape in self.members.items()},
            "required": [name for name in self.members if name not in self.optional],
            "additionalProperties": False,
        }


def escape(name: str) -> str:
    """A member name as a JSON Pointer token, shortened for messages."""
    return name[:64].replace("~", "~0").replace("/", "~1")


IDENTIFIER: Final = Text("[A-Za-z0-9._-]{1,32}", "must be 1 to 32 of A-Z a-z 0-9 . _ -")
# Not "." or "..": no URL can name them.
ORDER_NO: Final = Text(
    r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}", "must be 1 to 64 of A-Z a-z 0-9 . _ -, not . or .."
)
NETWORK: Final = Text("[a-z0-9.-]{1,64}", "must be 1 to 64 of a-z 0-9 . -")
TOKEN: Final = Text("[A-Za-z0-9._:-]{1,64}", "must be 1 to 64 of A-Z a-z 0-9 . _ : -")
KEY_ID: Final = Text("[A-Za-z0-9_-]{43}", "must be an RFC 7638 SHA-256 thumbprint, base64url")
SHA256_HEX: Final = Text("[0-9a-f]{64}", "must be 64 lower-case hex digits")
MCC: Final = Text("[0-9]{4}", "must be the four digits of an ISO 18245 merchant category code")
TERMINAL: Final = Text("[A-Za-z0-9]{1,16}", "must be 1 to 16 letters or digits")
MERCHANT_CODE: Final = Text("[A-Za-z0-9]{1,15}", "must be 1 to 15 letters or digits (ISO 8583 42)")
CATEGORY: Final = Text("[a-z0-9_-]{1,32}", "must be 1 to 32 of a-z 0-9 _ -")
SITE: Final = Text("[A-Za-z0-9.:_-]{1,128}", "must be a site or app id of 1 to 128 characters")
ATTEMPT: Final = Integer(1, 9999)
REFUND_NO: Final = Integer(1, 9999)
EPOCH: Final = Integer(0, 2**31 - 1)
JWS_TEXT: Final = Text(r"[A-Za-z0-9_.-]+", "must be a JWS compact text")
AMOUNT: Final = Integer(1, MAX_AMOUNT)
BANK_CODE: Final = Text("[A-Z0-9]{4,14}", "must be a BIC or national bank code")
LAST4: Final = Text("[0-9]{4}", "must be four digits")
# clearline.jws judges whether it is a key that is safe to trust.
JWK: Final = Mapped(
    Text("kty|crv|x|y", "must be a member of a public JWK"), Text("[A-Za-z0-9_-]{1,64}"), 4
)
