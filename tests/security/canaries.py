"""Card numbers that belong to nobody, one an input, and the search for them in all that a house
keeps: as they are, grouped by spaces, dashes or dots, in full-width digits, and inside base64 (as a
JWS carries them, or the common alphabet) and hex, three layers deep."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clearline import jws
from clearline.cards import is_card_number, luhn
from clearline.jws import JwsError

# What could hold a card number: thirteen digits are 18 characters of base64, 26 of hex.
_ENCODED = re.compile(rb"[A-Za-z0-9_+/-]{18,}")
_HEX = re.compile(rb"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{2}){13,}(?![0-9A-Za-z])")
_DIGITS = re.compile(rb"[0-9]{13,}")
# Digits as people and forms write them: U+FF10 to U+FF19 in UTF-8 and as JSON escapes, and groups.
_WIDE = re.compile(rb"\xef\xbc([\x90-\x99])|\\u[fF][fF]1([0-9])")
_GROUPED = re.compile(rb"(?<=[0-9])[ .\-\xa0]{1,2}(?=[0-9])")
_COMMON_ALPHABET = bytes.maketrans(b"+/", b"-_")
_LAYERS = 3
_LENGTHS = (13, 15, 16, 19)


@dataclass
class Canaries:
    """Each number and where it was put in."""

    inputs: dict[str, str] = field(default_factory=dict)

    def new(self, where: str, prefix: str = "453201", length: int = 16) -> str:
        """A card number that nobody has been given before."""
        while True:
            body = prefix + str(secrets.randbelow(10 ** (length - 1 - len(prefix)))).zfill(
                length - 1 - len(prefix)
            )
            number = next(body + check for check in "0123456789" if luhn(body + check))
            if number not in self.inputs:
                assert is_card_number(number)
                self.inputs[number] = where
                return number

    def short(self, where: str) -> str:
        """One of fifteen digits, for fields that take no more."""
        return self.new(where, "37", 15)

    def found(self, content: bytes) -> set[str]:
        """The inputs whose number is in these bytes."""
        return {
            self.inputs[number.decode()]
            for text in layers(content)
            for run in digit_runs(text)
            for number in _inside(run)
            if number.decode() in self.inputs
        }


def layers(content: bytes, depth: int = _LAYERS) -> Iterator[bytes]:
    """The bytes, and what every run of base64 and hex in them decodes to, and so on."""
    yield content
    if depth == 0:
        return
    for run in _HEX.findall(content):
        yield from layers(bytes.fromhex(run.decode()), depth - 1)
    for run in _ENCODED.findall(content):
        # Text before it can hide where the encoding starts: four alignments.
        for start in range(4):
            part = run[start:]
            part = part[: len(part) - (len(part) % 4 == 1)]
            decoded = _decoded(part)
            if decoded:
                yield from layers(decoded, depth - 1)


def digit_runs(text: bytes) -> Iterator[bytes]:
    """Runs of digits as they stand, and as they are read when grouped or written wide."""
    yield from _DIGITS.findall(text)
    narrow = _WIDE.sub(_narrow, text)
    joined = _GROUPED.sub(b"", narrow)
    if joined != text:
        yield from _DIGITS.findall(joined)


def _narrow(match: re.Match[bytes]) -> bytes:
    wide, escaped = match.groups()
    return escaped if wide is None else bytes([wide[0] - 0x90 + 0x30])


def files(home: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file in a home with its bytes as they are now."""
    for path in sorted(home.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()


def _inside(run: bytes) -> Iterator[bytes]:
    for length in _LENGTHS:
        for start in range(len(run) - length + 1):
            yield run[start : start + length]


def _decoded(part: bytes) -> bytes:
    try:
        return jws.decode(_clear_loose_bits(part).translate(_COMMON_ALPHABET).decode())
    except JwsError:
        return b""


def _clear_loose_bits(part: bytes) -> bytes:
    """The last character's unused bits as our strict decoder wants them: it is cut off when they
    matter, which loses two bytes at most."""
    return part[: len(part) - len(part) % 4] if len(part) % 4 else part
