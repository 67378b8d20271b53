"""Header blocks of requests: HEADERS and the CONTINUATIONs after it (RFC 9113 section 4.3)."""

from __future__ import annotations

import re

import hpack

from chaincode.transport import frames
from chaincode.transport.frames import ConnectionFaultError, ErrorCode, Flag, Frame

MOST_BYTES = 16 * 1024
_MOST_CONTINUATIONS = 16
Fields = dict[bytes, bytes]
Pairs = list[tuple[bytes, bytes]]
"""A header block's fields in their order."""


class HeaderReader:
    """Reads a connection's header blocks in their order, for each changes the decoder's table."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=MOST_BYTES)
        self._first: Frame | None = None
        self._block = bytearray()
        self._continuations = 0

    @property
    def inside(self) -> bool:
        """Whether a block has begun and isn't whole: nothing else may come now."""
        return self._first is not None

    def begin(self, one: Frame) -> tuple[Frame, Pairs] | None:
        """HEADERS; answers it with its fields when the block is whole. Raises
        ConnectionFaultError."""
        self._first = one
        self._block = bytearray(frames.unpadded(one))
        self._continuations = 0
        return self._whole(one)

    def go_on(self, one: Frame) -> tuple[Frame, Pairs] | None:
        """CONTINUATION; answers the HEADERS that it ends. Raises ConnectionFaultError."""
        if self._first is None or self._first.stream != one.stream:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._continuations += 1
        self._block += one.payload
        if self._continuations > _MOST_CONTINUATIONS or len(self._block) > MOST_BYTES:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too large")
        return self._whole(one)

    def _whole(self, last: Frame) -> tuple[Frame, Pairs] | None:
        if self._first is None or not last.flags & Flag.END_HEADERS:
            return None
        first, self._first = self._first, None
        try:
            pairs: Pairs = list(self._decoder.decode(bytes(self._block), raw=True))
        except hpack.OversizedHeaderListError as error:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from error
        except hpack.HPACKError as error:
            raise ConnectionFaultError(ErrorCode.COMPRESSION_ERROR, str(error)) from error
        return first, pairs


_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_OF_CONNECTIONS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
# RFC 9113 section 8.2.1: what a name may not hold, and a value neither.
_NOT_IN_NAMES = re.compile(rb"[\x00-\x20A-Z\x7f-\xff]|(?<!^):")
_NOT_IN_VALUES = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]$")


def request(pairs: Pairs) -> Fields | None:
    """A request's fields by name; None when it is malformed (RFC 9113 sections 8.2 and 8.3)."""
    fields: Fields = {}
    for name, value in pairs:
        if name.startswith(b":"):
            # The four come first, each once.
            if name not in _PSEUDO or name in fields or not _PSEUDO.issuperset(fields):
                return None
        elif not _is_sound(name, value):
            return None
        fields[name] = value
    if all(fields.get(name) for name in (b":method", b":scheme", b":path")):
        return fields
    return None


def are_trailers(pairs: Pairs) -> bool:
    """Whether a block can end a request: no pseudo-headers (RFC 9113 section 8.1)."""
    return all(not name.startswith(b":") and _is_sound(name, value) for name, value in pairs)


def is_request(pairs: Pairs) -> bool:
    """Whether a block begins a request, sound or not."""
    return any(name == b":method" for name, _ in pairs)


def _is_sound(name: bytes, value: bytes) -> bool:
    if not name or _NOT_IN_NAMES.search(name) or _NOT_IN_VALUES.search(value):
        return False
    return name not in _OF_CONNECTIONS and (name != b"te" or value == b"trailers")


def is_grpc(fields: Fields) -> bool:
    """Whether a request is gRPC's ("gRPC over HTTP/2", Requests)."""
    kind = fields.get(b"content-type", b"")
    return fields.get(b":method") == b"POST" and (
        kind == b"application/grpc" or kind.startswith((b"application/grpc+", b"application/grpc;"))
    )
