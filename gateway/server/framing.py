"""Where a request ends (RFC 9112 sections 6 and 7.1), so that a thread is given whole ones only.

This decides nothing about a request but its length: what is odd is passed on as it is, and
gunicorn's strict parser, which sees nothing beyond that length, says what is wrong with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_FIELD: Final = re.compile(
    rb"\r\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE
)
_DIGITS: Final = re.compile(rb"[0-9]{1,12}")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{1,8}")
_LONGEST_LINE: Final = 8190  # of a chunk's size and its extensions
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Extent:
    """The first `length` bytes are a request. `whole` is False when more of it may follow that is
    not waited for: its connection can't be used again. `head` is False when even its head is
    longer than is taken."""

    length: int
    whole: bool = True
    head: bool = True


class Framing:
    """Looks for the end of the request at the start of a buffer that grows; one a request."""

    def __init__(self, longest_head: int, longest_body: int) -> None:
        """In bytes. A body may be one byte longer, for whoever refuses it by its length."""
        self._longest_head = longest_head
        self._longest_body = longest_body + 1
        self._seen = 0  # bytes in which there is no end of the head
        self._head = 0  # the head's length, once it is known
        self._length: int | None = None  # the request's, once it is known
        self._chunk: int | None = None  # where the next chunk's size is, in a chunked body
        self._decoded = 0
        self.awaited = False  # the client sends its body when it is told to (Expect)

    @property
    def begun(self) -> bool:
        """Whether it has seen anything yet."""
        return bool(self._seen or self._head)

    def look(self, data: bytearray) -> Extent | None:
        """Its extent, None while the rest is still to come."""
        if not self._head:
            end = data.find(_END, max(0, self._seen - 3))
            if end < 0 or end > self._longest_head:
                self._seen = len(data)
                longer = end >= 0 or self._seen > self._longest_head
                return Extent(len(data), False, False) if longer else None
            self._head = end + 4
            self._read_head(bytes(data[:end]))
        if self._chunk is not None:
            return self._look_chunked(data, self._chunk)
        if self._length is None:
            return Extent(self._head, False)
        return Extent(self._length) if len(data) >= self._length else None

    def _read_head(self, head: bytes) -> None:
        lengths: list[bytes] = []
        coded = foreign = False
        for name, value in _FIELD.findall(head):
            kind = name.lower()
            if kind == b"content-length":
                lengths.append(value.strip(b" \t"))
            elif kind == b"transfer-encoding":
                coded = True
                foreign = foreign or value.strip(b" \t").lower() != b"chunked"
            else:
                self.awaited = b"100-continue" in value.lower()
        if foreign:
            return  # refused for its head: nobody knows where such a body ends
        if coded and not lengths:
            self._chunk = self._head
        elif not coded and not lengths:
            self._length = self._head
        elif len(lengths) == 1 and not coded and _DIGITS.fullmatch(lengths[0]):
            body = int(lengths[0])
            if body <= self._longest_body:
                self._length = self._head + body
        # Else it is refused for its head, and where the next one begins is unknown.

    def _look_chunked(self, data: bytearray, place: int) -> Extent | None:
        while True:
            end = data.find(b"\r\n", place, place + _LONGEST_LINE)
            if end < 0:
                self._chunk = place
                odd = len(data) - place >= _LONGEST_LINE
                return Extent(len(data), False) if odd else None
            digits = bytes(data[place:end]).partition(b";")[0].strip(b" \t")
            if not _HEX.fullmatch(digits):
                return Extent(len(data), False)
            size = int(digits, 16)
            if not size:
                self._chunk = place
                return self._look_trailers(data, end)
            if self._decoded + size > self._longest_body:
                if len(data) - (end + 2) < self._longest_body - self._decoded:
                    self._chunk = place
                    return None
                return Extent(len(data), False)
            after = end + 2 + size + 2
            if len(data) < after:
                self._chunk = place
                return None
            self._decoded += size
            place = after

    def _look_trailers(self, data: bytearray, line_end: int) -> Extent | None:
        if data[line_end : line_end + 4] == _END:
            return Extent(line_end + 4)
        end = data.find(_END, line_end)
        if end >= 0:
            return Extent(end + 4)
        return Extent(len(data), False) if len(data) - line_end > self._longest_head else None
