"""Card numbers must not enter: find them in the named fields of what people send.

A field is refused when a digit group in it has a card range's prefix *and* that range's length
*and* passes Luhn (ISO/IEC 7812-1 annex B). Luhn alone would refuse every tenth numeric order
number. Hashes and signatures are not scanned. Full-width digits (U+FF10 to U+FF19), as input
methods of East Asia write them, count as digits.
"""

from __future__ import annotations

import re
from typing import Final

# (lowest prefix, highest prefix, lengths), prefixes compared on as many digits as they have.
_RANGES: Final[tuple[tuple[str, str, frozenset[int]], ...]] = tuple(
    (low, high, frozenset(lengths))
    for low, high, lengths in (
        ("4", "4", (13, 16, 19)),  # Visa
        ("51", "55", (16,)),  # Mastercard
        ("2221", "2720", (16,)),  # Mastercard, 2-series
        ("34", "34", (15,)),  # American Express
        ("37", "37", (15,)),
        ("62", "62", (16, 17, 18, 19)),  # UnionPay
        ("81", "81", (16, 17, 18, 19)),  # UnionPay, 8-series
        ("3528", "3589", (16, 17, 18, 19)),  # JCB
        ("6011", "6011", (16, 17, 18, 19)),  # Discover
        ("644", "649", (16, 17, 18, 19)),
        ("65", "65", (16, 17, 18, 19)),
        ("300", "305", (14, 15, 16, 17, 18, 19)),  # Diners Club
        ("36", "36", (14, 15, 16, 17, 18, 19)),
        ("38", "39", (14, 15, 16, 17, 18, 19)),
        ("2200", "2204", (16, 17, 18, 19)),  # Mir
        ("5018", "5018", tuple(range(12, 20))),  # Maestro
        ("5020", "5020", tuple(range(12, 20))),
        ("5038", "5038", tuple(range(12, 20))),
        ("5893", "5893", tuple(range(12, 20))),
        ("6304", "6304", tuple(range(12, 20))),
        ("6759", "6759", tuple(range(12, 20))),
        ("6761", "6763", tuple(range(12, 20))),
        ("508", "508", (16,)),  # RuPay
        ("60", "60", (16,)),
        ("82", "82", (16,)),
    )
)
_BY_FIRST: Final = {
    first: tuple(one for one in _RANGES if one[0][0] <= first <= one[1][0])
    for first in "0123456789"
}
# Digits, written together or in groups parted by one space or dash, as people write card numbers.
_GROUPED: Final = re.compile(r"[0-9]+(?:[ -][0-9]+)*")
# What every card number has: at least twelve digits of one such group.
_ENOUGH: Final = re.compile(r"[0-9](?:[ -]?[0-9]){11}")
_SEPARATOR: Final = re.compile(r"[ -]")
_WIDE: Final = {0xFF10 + digit: str(digit) for digit in range(10)}
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(digits: str) -> bool:
    """Whether ASCII digits pass the Luhn check."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        total += _DOUBLED[value] if place % 2 else value
    return total % 10 == 0


def is_card_number(digits: str) -> bool:
    """Whether exactly these digits could be a card number."""
    length = len(digits)
    if not 12 <= length <= 19:
        return False
    return any(
        length in lengths and low <= digits[: len(low)] <= high
        for low, high, lengths in _BY_FIRST[digits[0]]
    ) and luhn(digits)


def holds_card_number(text: str) -> bool:
    """Whether a digit group of `text`, or neighbouring groups together, could be a card number."""
    if len(text) < 12:
        return False
    if not text.isascii():
        text = text.translate(_WIDE)
    if not _ENOUGH.search(text):
        return False
    for match in _GROUPED.finditer(text):
        groups = _SEPARATOR.split(match[0])
        for first in range(len(groups)):
            joined = ""
            for group in groups[first:]:
                joined += group
                if len(joined) > 19:
                    break
                if is_card_number(joined):
                    return True
    return False


def redact(text: str) -> str:
    """`text` with every digit run that could be a card number replaced, for logs and errors."""
    if not holds_card_number(text):
        return text
    text = text.translate(_WIDE)
    return _GROUPED.sub(lambda m: "[card data]" if holds_card_number(m[0]) else m[0], text)
