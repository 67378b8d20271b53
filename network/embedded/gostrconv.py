"""Numbers and quoted texts as Go's strconv reads and writes them: Fabric's errors quote callers."""

from __future__ import annotations

_MAX_UINT64 = 2**64 - 1
_MAX_DIGITS = 20
_ESCAPES = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}
_SURROGATES = range(0xDC80, 0xDD00)


def parse_uint64(raw: bytes) -> int:
    """strconv.ParseUint(raw, 10, 64). Raises ValueError with Go's text."""
    if not raw.isdigit():
        raise ValueError(f"strconv.ParseUint: parsing {quote(raw)}: invalid syntax")
    digits = raw.lstrip(b"0") or b"0"
    # Python reads no number of thousands of digits.
    value = int(digits) if len(digits) <= _MAX_DIGITS else _MAX_UINT64 + 1
    if value > _MAX_UINT64:
        raise ValueError(f"strconv.ParseUint: parsing {quote(raw)}: value out of range")
    return value


def quote(raw: bytes) -> str:
    """strconv.Quote of a Go string's bytes, which may be no UTF-8."""
    return f'"{"".join(map(_rune, raw.decode(errors="surrogateescape")))}"'


def _rune(char: str) -> str:
    code = ord(char)
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    if code in _SURROGATES:
        # A byte that is part of no character.
        return f"\\x{code & 0xFF:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
