"""An acquirer's daily file as the bank reads it: strictly, so that what adds up is what was sent.

    H,clearline-acquirer-file,1,<name>,<merchant code>,<currency>,<clearing date>
    D,<acquirer's reference>,<reference>,<kind>,<amount>
    T,<lines>,<payments>,<refunds>,<fees>,<adjustments>,<net>

docs/acquirers.md describes it; the acquirer's side is another company's and has code of its own.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bank.documents import DocumentError
from clearline.cards import holds_card_number
from clearline.clearing import Place, Totals
from clearline.clearing_schema import LineKind
from clearline.codes import Code
from clearline.money import MAX_AMOUNT, MINOR_DIGITS
from clearline.times import parse_date

FORMAT: Final = ("H", "clearline-acquirer-file", "1")
MAX_BYTES: Final = 256 * 1024 * 1024
_AMOUNT: Final = re.compile("0|-?[1-9][0-9]{0,15}")
_OWN: Final = re.compile("[A-Za-z0-9._-]{1,64}")
_REFERENCE: Final = re.compile("[0-9a-f]{40}")
_CODE: Final = re.compile("[A-Za-z0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Row:
    """A line: the acquirer's own reference, ours, what it is, minor units."""

    number: int
    own_reference: str
    reference: str
    kind: LineKind
    amount: int


@dataclass(frozen=True, slots=True)
class DailyFile:
    """A file that adds up. `digest`: SHA-256 of its bytes, hex."""

    name: str
    merchant_code: str
    currency: str
    clearing_date: str
    rows: tuple[Row, ...]
    digest: str

    @property
    def totals(self) -> Totals:
        """Sums of its lines."""
        return Totals(*(self._sum(kind) for kind in LineKind))

    def place(self, acquirer_id: str) -> Place:
        """The account of clearing it is about."""
        return Place(acquirer_id, self.merchant_code, self.currency, self.clearing_date)

    def _sum(self, kind: LineKind) -> int:
        return sum(row.amount for row in self.rows if row.kind is kind)


def read(path: Path) -> DailyFile:
    """The file at `path`. Raises DocumentError naming file and line."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError(Code.MALFORMED, f"can't read {path}: {error.strerror}") from None
    try:
        return parse(data)
    except DocumentError as error:
        raise DocumentError(error.code, f"{path}: {error.detail}") from None


def parse(data: bytes) -> DailyFile:
    """A file's bytes. Raises DocumentError with the line."""
    if len(data) > MAX_BYTES:
        raise _wrong(1, f"more than {MAX_BYTES} bytes")
    try:
        lines = list(csv.reader(io.StringIO(data.decode("ascii"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _wrong(1, f"no CSV of ASCII: {error}") from None
    if len(lines) < 2 or lines[-1][:1] != ["T"]:
        raise _wrong(max(len(lines), 1), "the trailer is missing: the file is not whole")
    name, code, currency, day = _header(lines[0])
    rows = tuple(_row(number, line) for number, line in enumerate(lines[1:-1], 2))
    file = DailyFile(name, code, currency, day, rows, hashlib.sha256(data).hexdigest())
    said = [_integer(len(lines), text) for text in lines[-1][1:]]
    if said != [len(rows), *file.totals, file.totals.net]:
        raise DocumentError(
            Code.TOTALS_MISMATCH, f"line {len(lines)}: the lines do not come to these totals"
        )
    return file


def _header(line: Sequence[str]) -> tuple[str, str, str, str]:
    if len(line) != 7 or tuple(line[:3]) != FORMAT:
        raise _wrong(1, "is not the header of an acquirer's file of version 1")
    name, code, currency, day = line[3:]
    if not (_OWN.fullmatch(name) and _CODE.fullmatch(code) and currency in MINOR_DIGITS):
        raise _wrong(1, "name, merchant code or currency is of another form")
    try:
        parse_date(day)
    except ValueError as error:
        raise _wrong(1, str(error)) from None
    return name, code, currency, day


def _row(number: int, line: Sequence[str]) -> Row:
    if len(line) != 5 or line[0] != "D":
        raise _wrong(number, "is not a line D of five columns")
    own, reference, name, text = line[1:]
    if not _OWN.fullmatch(own) or not _REFERENCE.fullmatch(reference):
        raise _wrong(number, "a reference is of another form")
    if name not in tuple(LineKind):
        raise _wrong(number, "the kind is none of payment, refund, fee, adjustment")
    kind = LineKind(name)
    if kind is LineKind.ADJUSTMENT and holds_card_number(own):
        raise DocumentError(Code.CARD_DATA_REFUSED, f"line {number}: looks like a card number")
    amount = _integer(number, text)
    least = -MAX_AMOUNT if kind is LineKind.ADJUSTMENT else 1
    if amount == 0 or not least <= amount <= MAX_AMOUNT:
        raise _wrong(number, f"the amount must be {least}..{MAX_AMOUNT}, and not 0")
    return Row(number, own, reference, kind, amount)


def _integer(number: int, text: str) -> int:
    if not _AMOUNT.fullmatch(text):
        raise _wrong(number, f"{text[:24]!a} is no amount in minor units")
    return int(text)


def _wrong(number: int, detail: str) -> DocumentError:
    return DocumentError(Code.MALFORMED, f"line {number}: {detail}")
