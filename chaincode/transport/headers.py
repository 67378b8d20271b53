"""Header blocks of requests: HEADERS and the CONTINUATIONs after it (RFC 9113 section 4.3)."""

from __future__ import annotations

import hpack

from chaincode.transport import frames
from chaincode.transport.frames import ConnectionFaultError, ErrorCode, Flag, Frame

MOST_BYTES = 16 * 1024
_MOST_CONTINUATIONS = 16
Fields = dict[bytes, bytes]


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

    def begin(self, one: Frame) -> tuple[Frame, Fields] | None:
        """HEADERS; answers it with its fields when the block is whole. Raises
        ConnectionFaultError."""
        self._first = one
        self._block = bytearray(frames.unpadded(one))
        self._continuations = 0
        return self._whole(one)

    def go_on(self, one: Frame) -> tuple[Frame, Fields] | None:
        """CONTINUATION; answers the HEADERS that it ends. Raises ConnectionFaultError."""
        if self._first is None or self._first.stream != one.stream:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._continuations += 1
        self._block += one.payload
        if self._continuations > _MOST_CONTINUATIONS or len(self._block) > MOST_BYTES:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too large")
        return self._whole(one)

    def _whole(self, last: Frame) -> tuple[Frame, Fields] | None:
        if self._first is None or not last.flags & Flag.END_HEADERS:
            return None
        first, self._first = self._first, None
        try:
            fields: Fields = dict(self._decoder.decode(bytes(self._block), raw=True))
        except hpack.OversizedHeaderListError as error:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from error
        except hpack.HPACKError as error:
            raise ConnectionFaultError(ErrorCode.COMPRESSION_ERROR, str(error)) from error
        return first, fields


def is_grpc(fields: Fields) -> bool:
    """Whether a request is gRPC's ("gRPC over HTTP/2", Requests)."""
    kind = fields.get(b"content-type", b"")
    return fields.get(b":method") == b"POST" and (
        kind == b"application/grpc" or kind.startswith((b"application/grpc+", b"application/grpc;"))
    )
