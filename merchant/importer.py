"""Reading order files: CSV and JSON lines, a line at a time, each line judged alone.

A line is a row: none of an order's fields can hold a line end, so a quote left open spoils its
own line and no other, and line numbers are exact. A fault of the file as a whole (encoding,
header) stops before the first row; a fault of a row stops nothing else.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Final

from clearline.cards import holds_card_number, redact
from clearline.schema import ORDER_NO
from merchant.orders import (
    CODE_FOR,
    COLUMNS,
    REQUIRED,
    TOKEN_FOR,
    Order,
    OrderRefusedError,
    RowCode,
    known_column,
    take,
)
from merchant.profile import Profile

MAX_LINE: Final = 65_536  # bytes
_NUMBERS: Final = frozenset({"amount", "order_no", "mcc"})  # JSON numbers are taken for these
_BOM: Final = b"\xef\xbb\xbf"
# An order's digest as a word of its line; the field it stands in is judged with the row.
_DIGEST_WORD: Final = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{64}(?![0-9A-Za-z])")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class FileCode(StrEnum):
    """Why a file as a whole is not taken."""

    FILE_EMPTY = "file_empty"
    ENCODING_INVALID = "encoding_invalid"
    LINE_ENDS_INVALID = "line_ends_invalid"
    HEADER_INVALID = "header_invalid"
    HEADER_MISSING = "header_missing"
    COLUMN_UNKNOWN = "column_unknown"
    COLUMN_MISSING = "column_missing"
    COLUMN_TWICE = "column_twice"


class FileRefusedError(ValueError):
    """The file is not taken, none of its rows: the code and what to do."""

    def __init__(self, code: FileCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Format(StrEnum):
    """How a file writes orders."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Taken:
    """A good row: its line number from 1 (the header counts) and its order."""

    line: int
    order: Order


@dataclass(frozen=True, slots=True)
class Bad:
    """A bad row; `order_no` is empty when the row has none that can be shown."""

    line: int
    order_no: str
    code: RowCode
    detail: str


class _NumberText(str):
    """A JSON number as it was written, so that 29.33 stays exact."""

    __slots__ = ()


def read(stream: BinaryIO, form: Format, profile: Profile) -> Iterator[Taken | Bad]:
    """Each row of a file in order. Blank lines are left out.

    Raises FileRefusedError before the first row when the file as a whole can't be taken.
    """
    lines = _lines(stream)
    rows = _csv(lines, profile) if form is Format.CSV else _jsonl(lines, profile)
    seen = False
    for row in rows:
        seen = True
        yield row
    if not seen:
        raise FileRefusedError(FileCode.FILE_EMPTY, "the file holds no orders")


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Number and bytes of each line without its end; None for a line over MAX_LINE."""
    number = 0
    while data := stream.readline(MAX_LINE + 1):
        number += 1
        if number == 1:
            if data.startswith(_UTF16):
                raise FileRefusedError(
                    FileCode.ENCODING_INVALID, "the file is UTF-16; save it as UTF-8"
                )
            data = data.removeprefix(_BOM)
        if len(data) > MAX_LINE:
            # A last long line without an end leaves an empty rest, which ends the loop too.
            while data and not data.endswith(b"\n"):
                data = stream.readline(MAX_LINE)
            yield number, None
            continue
        line = data.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1 and b"\r" in line:
            raise FileRefusedError(
                FileCode.LINE_ENDS_INVALID, "lines end in CR; save the file with LF or CRLF"
            )
        if line.strip():
            yield number, line


def _csv(lines: Iterator[tuple[int, bytes | None]], profile: Profile) -> Iterator[Taken | Bad]:
    first = next(lines, None)
    if first is None:
        raise FileRefusedError(FileCode.FILE_EMPTY, "the file is empty")
    columns = _header(first[1], profile)
    for number, line in lines:
        try:
            values = _split(_text(line))
        except OrderRefusedError as error:
            yield Bad(number, "", error.code, error.detail)
            continue
        if len(values) != len(columns):
            few = len(values) < len(columns)
            code = RowCode.FIELDS_MISSING if few else RowCode.FIELDS_SURPLUS
            detail = f"the row has {len(values)} fields, the header {len(columns)}"
            yield Bad(number, _shown(values[0]) if columns[0] == "order_no" else "", code, detail)
            continue
        yield _taken(number, dict(zip(columns, values, strict=True)), profile)


def _header(line: bytes | None, profile: Profile) -> list[str]:
    if line is None:
        raise FileRefusedError(FileCode.HEADER_INVALID, f"line 1 is longer than {MAX_LINE} bytes")
    try:
        columns = [name.strip() for name in _split(_text(line))]
    except OrderRefusedError as error:
        code = (
            FileCode.ENCODING_INVALID
            if error.code is RowCode.ENCODING_INVALID
            else FileCode.HEADER_INVALID
        )
        raise FileRefusedError(code, f"line 1: {error.detail}") from None
    known = [known_column(name, profile) for name in columns]
    if not any(known):
        hint = "; fields are separated by commas" if ";" in columns[0] or "\t" in columns[0] else ""
        raise FileRefusedError(
            FileCode.HEADER_MISSING,
            f"line 1 names no known column; it must be a header such as {','.join(COLUMNS)}{hint}",
        )
    for name, is_known in zip(columns, known, strict=True):
        if not is_known:
            raise FileRefusedError(
                FileCode.COLUMN_UNKNOWN,
                f"column {redact(name[:40])!r}; known are {', '.join(COLUMNS)} "
                f"and {TOKEN_FOR}ACQUIRER and {CODE_FOR}ACQUIRER for an acquirer of the profile",
            )
        if columns.count(name) > 1:
            raise FileRefusedError(FileCode.COLUMN_TWICE, f"column {name} is there twice")
    for name in REQUIRED:
        if name not in columns:
            raise FileRefusedError(FileCode.COLUMN_MISSING, f"column {name} is missing")
    return columns


def _jsonl(lines: Iterator[tuple[int, bytes | None]], profile: Profile) -> Iterator[Taken | Bad]:
    for number, line in lines:
        try:
            row = _fields(_object(_text(line)), profile)
        except OrderRefusedError as error:
            yield Bad(number, "", error.code, error.detail)
            continue
        yield _taken(number, row, profile)


def _taken(number: int, row: dict[str, str], profile: Profile) -> Taken | Bad:
    try:
        return Taken(number, take(row, profile))
    except OrderRefusedError as error:
        return Bad(number, _shown(row.get("order_no", "")), error.code, error.detail)


def _text(line: bytes | None) -> str:
    """A line's text; refuses what could be a card number before anything could quote it."""
    if line is None:
        raise OrderRefusedError(RowCode.LINE_TOO_LONG, f"the line is longer than {MAX_LINE} bytes")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise OrderRefusedError(
            RowCode.ENCODING_INVALID, f"byte {error.start + 1} of the line is not UTF-8"
        ) from None
    if holds_card_number(_DIGEST_WORD.sub("#", text)):
        raise OrderRefusedError(
            RowCode.CARD_DATA_REFUSED, "the line holds a card number; use a payer token"
        )
    return text


def _split(text: str) -> list[str]:
    """The fields of one CSV line (RFC 4180, with no line ends inside fields)."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise OrderRefusedError(RowCode.QUOTING_INVALID, f"not CSV: {error}") from None
    return rows[0]


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise OrderRefusedError(RowCode.JSON_INVALID, "a member is there twice")
    return members


def _no_constant(text: str) -> object:
    raise OrderRefusedError(RowCode.JSON_INVALID, f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_float=_NumberText,
    parse_int=_NumberText,
    parse_constant=_no_constant,
)


def _object(text: str) -> dict[str, object]:
    """The members of one JSON line that are given: null is "not given"."""
    try:
        value = _DECODER.decode(text)
    except OrderRefusedError:
        raise
    except (ValueError, RecursionError) as error:
        detail = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
        raise OrderRefusedError(RowCode.JSON_INVALID, f"not JSON: {detail}") from None
    if not isinstance(value, dict):
        raise OrderRefusedError(RowCode.JSON_INVALID, "the line is not an object")
    return {name: member for name, member in value.items() if member is not None}


def _fields(members: dict[str, object], profile: Profile) -> dict[str, str]:
    """A JSON row as fields; the numbers of _NUMBERS count as they are written."""
    # Names before values: what is no member has no type to be wrong.
    for name in members:
        if not known_column(name, profile):
            raise OrderRefusedError(
                RowCode.MEMBER_UNKNOWN, f"{redact(name[:40])!r} is not an order's member"
            )
    row: dict[str, str] = {}
    for name, member in members.items():
        number = name in _NUMBERS
        if not isinstance(member, str) or (isinstance(member, _NumberText) and not number):
            wanted = "a string or a number" if number else "a string"
            raise OrderRefusedError(RowCode.FIELD_INVALID, f"{redact(name[:40])} must be {wanted}")
        row[name] = str(member)
    return row


def _shown(order_no: str) -> str:
    """An order number for a report, or nothing when the text can't be one."""
    text = order_no.strip()
    return text if ORDER_NO.fits(text) and not holds_card_number(text) else ""
