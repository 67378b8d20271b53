"""HTTP/2 frames and gRPC's header blocks as bytes (RFC 9113, RFC 7541): no I/O, no state but rests.

Only what a gRPC server needs: it reads all frames and writes HEADERS without Huffman codes and
without the dynamic table, so that nothing it writes depends on what it wrote before.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple
from urllib.parse import quote

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_BYTES = 16_384
"""The largest payload that is taken, and HTTP/2's first bound of what may be sent."""
DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
_HEADER = struct.Struct(">IBI")
_PAIR = struct.Struct(">HI")
_MOST_DETAIL = 1_000


class Kind(IntEnum):
    """Frame types (RFC 9113 section 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """Flags; ACK is END_STREAM's bit on SETTINGS and PING. Plain numbers: IntFlag's "and" makes a
    new object each time, three of them a frame."""

    NONE = 0
    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting(IntEnum):
    """Parameters of SETTINGS (RFC 9113 section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ErrorCode(IntEnum):
    """Why a connection or a stream ends (RFC 9113 section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Status(IntEnum):
    """The status codes of gRPC that this server gives."""

    OK = 0
    INVALID_ARGUMENT = 3
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class ConnectionFaultError(Exception):
    """The other side breaks HTTP/2's rules: the connection ends with GOAWAY and this code."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class StreamFaultError(Exception):
    """One stream breaks the rules: it ends with RST_STREAM and this code."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


class Frame(NamedTuple):
    """A frame as it came; `kind` may be one that nobody knows."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class FrameReader:
    """Cuts a connection's bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises ConnectionFaultError when one is too large."""
        if self._rest:  # less than a frame: little is copied
            data = self._rest + data
        at, end = 0, len(data)
        found = []
        while end - at >= _HEADER.size:
            head, flags, stream = _HEADER.unpack_from(data, at)
            size = head >> 8
            if size > FRAME_BYTES:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            start = at + _HEADER.size
            if end - start < size:
                break
            at = start + size
            found.append(Frame(head & 0xFF, flags, stream & LARGEST_WINDOW, data[start:at]))
        self._rest = data[at:]
        return found


def frame(kind: Kind, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    """One frame's bytes."""
    return _HEADER.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    pairs = b"".join(_PAIR.pack(name, value) for name, value in values.items())
    return frame(Kind.SETTINGS, Flag.NONE, 0, pairs)


def read_settings(payload: bytes) -> dict[int, int]:
    """A SETTINGS payload; of a parameter that comes twice the last value, as if they had been
    taken in their order. Raises ConnectionFaultError (RFC 9113 section 6.5.2)."""
    if len(payload) % _PAIR.size:
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS is cut short")
    values: dict[int, int] = {}
    for name, value in _PAIR.iter_unpack(payload):
        if name == Setting.INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE")
        if name == Setting.MAX_FRAME_SIZE and not FRAME_BYTES <= value < 1 << 24:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE")
        if name == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH")
        values[name] = value
    return values


_SIZES: Final[dict[int, int]] = {
    Kind.PRIORITY: 5,
    Kind.RST_STREAM: 4,
    Kind.PING: 8,
    Kind.WINDOW_UPDATE: 4,
}
_OF_CONNECTIONS: Final = (Kind.SETTINGS, Kind.PING, Kind.GOAWAY)


def check(one: Frame) -> None:
    """Raises ConnectionFaultError for a frame whose size or stream its kind doesn't allow (RFC 9113
    sections 6.3 to 6.9). Kinds of streams are held against the streams elsewhere."""
    kind, size = one.kind, len(one.payload)
    wanted = 0 if kind == Kind.SETTINGS and one.flags & Flag.ACK else _SIZES.get(kind, size)
    if size != wanted or (kind == Kind.GOAWAY and size < 8):
        text = f"{Kind(kind).name} of {size} bytes"
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, text)
    if kind in _OF_CONNECTIONS and one.stream:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"{Kind(kind).name} of a stream")
    if kind == Kind.PRIORITY and not one.stream:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
    if kind == Kind.PUSH_PROMISE:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a client can't push")


def window_update(stream: int, size: int) -> bytes:
    """Credit for `size` more bytes on a stream, or on the connection (0)."""
    return frame(Kind.WINDOW_UPDATE, Flag.NONE, stream, size.to_bytes(4, "big"))


def reset(stream: int, code: ErrorCode) -> bytes:
    """RST_STREAM."""
    return frame(Kind.RST_STREAM, Flag.NONE, stream, code.to_bytes(4, "big"))


def goaway(last_stream: int, code: ErrorCode, reason: str = "") -> bytes:
    """GOAWAY; `last_stream` is the newest that was looked at."""
    head = last_stream.to_bytes(4, "big") + code.to_bytes(4, "big")
    return frame(Kind.GOAWAY, Flag.NONE, 0, head + reason.encode()[:_MOST_DETAIL])


def unpadded(one: Frame) -> bytes:
    """The payload of DATA or HEADERS without padding and priority. Raises ConnectionFaultError."""
    payload = one.payload
    if one.flags & Flag.PADDED:
        length = payload[0] + 1 if payload else 1
        if length > len(payload):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
        payload = payload[1 : len(payload) - length + 1]
    if one.kind == Kind.HEADERS and one.flags & Flag.PRIORITY:
        if len(payload) < 5:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS is cut short")
        payload = payload[5:]
    return payload


# Header blocks: RFC 7541 section 6.2.2, literals without indexing. 0x88 is ":status: 200".
_RESPONSE = b"\x88" + b"\x0f\x10" + b"\x10application/grpc"
_NOT_GRPC = b"\x08\x03415"


def response_head(stream: int) -> bytes:
    """HEADERS that begin a gRPC answer."""
    return frame(Kind.HEADERS, Flag.END_HEADERS, stream, _RESPONSE)


def not_grpc(stream: int) -> bytes:
    """The whole answer to a request that isn't gRPC's: HTTP status 415."""
    return frame(Kind.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, stream, _NOT_GRPC)


def trailers(stream: int, status: Status, detail: str) -> bytes:
    """HEADERS that end a gRPC answer that has begun."""
    block = _status(status, detail)
    return frame(Kind.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, stream, block)


def trailers_only(stream: int, status: Status, detail: str) -> bytes:
    """HEADERS that are a gRPC answer's begin and end in one."""
    block = _RESPONSE + _status(status, detail)
    return frame(Kind.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, stream, block)


def _status(status: Status, detail: str) -> bytes:
    """grpc-status and grpc-message, percent-encoded (gRPC over HTTP/2, "Responses")."""
    block = _literal(b"grpc-status", str(int(status)).encode())
    if detail:
        # Cut before encoding: a cut within %E4 would be no text.
        cut = detail[: _MOST_DETAIL // 4]
        shown = quote(cut, " !\"#$&'()*+,/:;<=>?@[\\]^_`{|}~", "utf-8", "replace")
        block += _literal(b"grpc-message", shown.encode())
    return block


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    """A string literal without Huffman code: its length in RFC 7541's integers of 7 bits."""
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    size -= 127
    length = bytearray((127,))
    while size >= 128:
        length.append(size % 128 + 128)
        size //= 128
    length.append(size)
    return bytes(length) + text
