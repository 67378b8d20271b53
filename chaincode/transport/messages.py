"""gRPC's length-prefixed messages out of a stream's bytes ("gRPC over HTTP/2", Data frames)."""

from __future__ import annotations

from chaincode.transport.frames import Status

PREFIX_BYTES = 5


class CallFaultError(Exception):
    """A call that can't go on; it ends with this status."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class MessageReader:
    """Cuts a stream's bytes into messages of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._wanted = PREFIX_BYTES

    @property
    def inside(self) -> bool:
        """Whether a message has begun and isn't whole."""
        return bool(self._rest)

    def read(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises CallFaultError."""
        if not self._rest:
            if len(data) > PREFIX_BYTES and self._size(data, 0) == len(data) - PREFIX_BYTES:
                return [data[PREFIX_BYTES:]]  # one frame, one message: nearly always
        elif len(self._rest) + len(data) < self._wanted:
            self._rest += data
            return []
        self._rest += data
        whole: bytes | bytearray = self._rest
        found = []
        at = 0
        while len(whole) - at >= PREFIX_BYTES:
            stop = at + PREFIX_BYTES + self._size(whole, at)
            if stop > len(whole):
                break
            found.append(bytes(whole[at + PREFIX_BYTES : stop]))
            at = stop
        del self._rest[:at]
        self._wanted = PREFIX_BYTES
        if len(self._rest) >= PREFIX_BYTES:
            self._wanted += self._size(self._rest, 0)
        return found

    def _size(self, data: bytes | bytearray, at: int) -> int:
        if data[at]:
            # We never said that we take any (grpc-accept-encoding).
            raise CallFaultError(Status.UNIMPLEMENTED, "compressed messages are not taken")
        size = int.from_bytes(data[at + 1 : at + PREFIX_BYTES], "big")
        if size > self._limit:
            text = f"a message of {size} bytes, at most {self._limit} are taken"
            raise CallFaultError(Status.RESOURCE_EXHAUSTED, text)
        return size
