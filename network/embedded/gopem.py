"""Reading PEM as Go does: it decides whose certificate counts.

After Go's encoding/pem (pem.go Decode). An identity that only one kind of peer can read would make
them judge one transaction differently.
"""

from __future__ import annotations

import binascii

_BEGIN = b"-----BEGIN "
_END = b"\n-----END "
_DASHES = b"-----"


def decode(data: bytes) -> bytes | None:
    """What the first PEM block of `data` holds, whatever its label; None when there is none."""
    start = 0
    while (end := data.find(_END, start)) >= 0:
        after = end + len(_END)
        begin = data.rfind(_BEGIN, start, end)
        if begin == start or (begin > start and data[begin - 1 : begin] == b"\n"):
            label, first = _line(data, begin + len(_BEGIN))
            body = _past_headers(data, first)
            if label.endswith(_DASHES):
                if body > after:
                    return None
                if _ends_with(data, after, label) and (body == first or body <= end):
                    content = _content(data[body:end])
                    if content is not None:
                        return content
        start = after
    return None


def _past_headers(data: bytes, at: int) -> int:
    """Where the first line without a colon begins."""
    while at < len(data):
        line, following = _line(data, at)
        if b":" not in line:
            break
        at = following
    return at


def _ends_with(data: bytes, at: int, label: bytes) -> bool:
    """Whether the last line, from `at` on, repeats the label, dashes included, and no more."""
    return data.startswith(label, at) and not _line(data, at + len(label))[0]


def _content(body: bytes) -> bytes | None:
    digits = body.translate(None, b" \t\r\n")
    if len(digits) % 4:
        # Python's strict mode lets a pad too many pass.
        return None
    try:
        return binascii.a2b_base64(digits, strict_mode=True)
    except binascii.Error:
        return None


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    """The line at `at` without the blanks that end it, and where the next begins."""
    newline = data.find(b"\n", at)
    if newline < 0:
        return data[at:].rstrip(b" \t"), len(data)
    end = newline - 1 if data[at:newline].endswith(b"\r") else newline
    return data[at:end].rstrip(b" \t"), newline + 1
