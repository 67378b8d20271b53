"""One HTTP/2 connection with all its calls (RFC 9113), as a server on an asyncio transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from chaincode.transport import frames, headers
from chaincode.transport.calls import IDLE_A_MESSAGE, STREAM_WINDOW, Call
from chaincode.transport.frames import (
    DEFAULT_WINDOW,
    FRAME_BYTES,
    LARGEST_WINDOW,
    PREFACE,
    ConnectionFaultError,
    ErrorCode,
    Flag,
    Frame,
    FrameReader,
    Kind,
    Setting,
    Status,
    StreamFaultError,
)
from chaincode.transport.headers import HeaderReader, Pairs, is_grpc
from chaincode.transport.keepalive import Keepalive, Patience
from clearline.logs import get_logger

_log = get_logger(__name__)
_WINDOW = 4 * 1024 * 1024
_SPACE_BYTES = 64 * 1024
_MOST_STREAMS = 16
# Answers to PING and the like, and ends of calls, that a connection may owe while it takes nothing.
_MOST_REPLIES = 1_000
# Between two looks at the clock (a minute): streams opened (CVE-2023-44487, CVE-2025-8671), and
# frames about nothing beyond those that messages bring with them (CVE-2019-9512, 9515, 9518).
_MOST_OPENED = 1_000
_MOST_IDLE = 10_000
# Larger ones would only keep others waiting.
_LARGEST_FRAME = 64 * 1024
_PING = b"clearlne"


class Door(Protocol):
    """What a connection needs of whoever listens."""

    def enters(self, connection: Connection) -> bool:
        """TLS is up: whether it may stay."""

    def leaves(self, connection: Connection) -> None:
        """It is gone; called for whoever entered."""

    def take(self, call: Call) -> None:
        """A new call: finishes it, or has a handler serve it."""


class Connection(asyncio.BufferedProtocol):
    """Frames in, frames out. All that one turn of the loop brings is written at once.

    Buffered, for otherwise uvloop takes 256 KiB of new memory for each read of a TLS connection.
    """

    def __init__(self, door: Door, patience: Patience) -> None:
        self.window = DEFAULT_WINDOW
        self.frame_bytes = FRAME_BYTES
        self.idle = 0
        self.names: frozenset[str] = frozenset()
        self._door = door
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._transport: Any = None
        self._calls: dict[int, Call] = {}
        self._last_stream = 0
        self._initial_window = DEFAULT_WINDOW
        self._owed = 0
        self._preface = b""
        self._ready = self._closing = self._paused = False
        self._held = 0
        self._replies = 0
        self._opened = 0
        self._space = memoryview(bytearray(_SPACE_BYTES))
        self._reader = FrameReader()
        self._headers = HeaderReader()
        self._out: list[bytes] = []
        self._keepalive = Keepalive(patience, self._ask, self.abort, self._forgive)

    # The transport's side

    def connection_made(self, transport: Any) -> None:
        """TLS is up, and the client's certificate verified."""
        self._transport = transport
        tls = transport.get_extra_info("ssl_object")
        alternatives = (tls.getpeercert() or {}).get("subjectAltName", ())
        self.names = frozenset(value for kind, value in alternatives if kind == "DNS")
        if tls.selected_alpn_protocol() != "h2" or not self._door.enters(self):
            self._closing = True
            transport.abort()
            return
        self.put(
            frames.settings(
                {
                    Setting.MAX_CONCURRENT_STREAMS: _MOST_STREAMS,
                    Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                    Setting.MAX_HEADER_LIST_SIZE: headers.MOST_BYTES,
                }
            )
        )
        self.put(frames.window_update(0, _WINDOW - DEFAULT_WINDOW))
        self._keepalive.start()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes of the other side are there."""
        self._keepalive.heard = True
        if self._transport.is_closing():
            return
        data = bytes(self._space[:nbytes])
        try:
            if not self._ready:
                data = self._after_preface(data)
            for one in self._reader.read(data):
                if self._closing:
                    return
                self._take(one)
        except ConnectionFaultError as fault:
            self._fail(fault)
        except Exception:  # a mistake of ours: this connection's end, nobody else's
            _log.exception("a connection failed")
            self._fail(ConnectionFaultError(ErrorCode.INTERNAL_ERROR, "internal error"))

    def connection_lost(self, _: Exception | None) -> None:
        """Gone: every call ends."""
        self._closing = True
        self._door.leaves(self)
        self.gone.set_result(None)
        self._keepalive.stop()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.lost()

    def pause_writing(self) -> None:
        """The other side reads slowly. Messages wait for it in their calls; replies are counted."""
        self._paused = True
        self._held, self.window = self.window, 0

    def resume_writing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._replies = 0
        self.window, self._held = self._held, 0
        self._pump()

    # The calls' side

    def put(self, frame: bytes) -> None:
        """Have a frame written with what else this turn of the loop brings."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(frame)

    def flush(self) -> None:
        """Write now what was put."""
        out, self._out = self._out, []
        if out and not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def forget(self, stream: int) -> None:
        """The stream is over on both sides."""
        self._calls.pop(stream, None)

    def shut(self, detail: str) -> None:
        """End all calls and the connection."""
        for call in list(self._calls.values()):
            call.finish(Status.UNAVAILABLE, detail)
        self._end(ErrorCode.NO_ERROR, detail)

    def abort(self) -> None:
        """Close it as it is."""
        if self._transport is not None:
            self._transport.abort()

    def _pump(self) -> None:
        for waiting in list(self._calls.values()):
            waiting.pump()

    def _reply(self, frame: bytes) -> None:
        """A frame that the other side can ask for as often as it likes."""
        self._count_reply()
        self.put(frame)

    def _count_reply(self) -> None:
        if self._paused:
            self._replies += 1
            if self._replies > _MOST_REPLIES:
                raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "replies are not read")

    def _fail(self, fault: ConnectionFaultError) -> None:
        if not self._closing:
            _log.warning("ended a connection", extra={"reason": str(fault)})
            self._end(fault.code, fault.reason)

    def _end(self, code: ErrorCode, reason: str) -> None:
        if self._closing:
            return
        self._closing = True
        self.put(frames.goaway(self._last_stream, code, reason))
        self.flush()
        self._transport.close()

    def _ask(self) -> None:
        self.put(frames.frame(Kind.PING, Flag.NONE, 0, _PING))

    def _forgive(self) -> None:
        self.idle = self._opened = 0

    # Frames

    def _after_preface(self, data: bytes) -> bytes:
        self._preface += data
        if not PREFACE.startswith(self._preface[: len(PREFACE)]):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "not HTTP/2")
        if len(self._preface) < len(PREFACE):
            return b""
        rest, self._preface = self._preface[len(PREFACE) :], b""
        self._ready = True
        return rest

    def _take(self, one: Frame) -> None:
        if self._headers.inside and one.kind != Kind.CONTINUATION:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a header block is not finished")
        if not self._keepalive.greeted:
            self._greet(one)
        try:
            if one.kind == Kind.DATA and one.payload:
                if self.idle > 0:
                    self.idle -= IDLE_A_MESSAGE
                self._data(one)
                return
            self.idle += 1
            if self.idle > _MOST_IDLE:
                raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "frames about nothing")
            frames.check(one)
            take = self._others.get(one.kind)
            if take is not None:  # unknown kinds are ignored (RFC 9113 section 4.1)
                take(self, one)
        except StreamFaultError as fault:
            self._reply(frames.reset(one.stream, fault.code))
            call = self._calls.pop(one.stream, None)
            if call is not None:
                call.lost()

    def _greet(self, one: Frame) -> None:
        if one.kind != Kind.SETTINGS or one.flags & Flag.ACK:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "SETTINGS come first")
        self._keepalive.greeted = True

    def _data(self, one: Frame) -> None:
        size = len(one.payload)
        self._owed += size
        if self._owed > _WINDOW // 2:
            self.put(frames.window_update(0, self._owed))
            self._owed = 0
        call = self._known(one)
        content = frames.unpadded(one) if one.flags & Flag.PADDED else one.payload
        if call is not None:
            call.data(content, size)
            if one.flags & Flag.END_STREAM:
                call.half_closed()

    def _known(self, one: Frame) -> Call | None:
        """The stream's call; None when it is over. Raises ConnectionFaultError for an idle one."""
        call = self._calls.get(one.stream)
        if call is None and (one.stream > self._last_stream or one.stream % 2 == 0):
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "no such stream")
        return call

    def _begin_headers(self, one: Frame) -> None:
        if one.stream % 2 == 0:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "no such stream")
        self._end_headers(self._headers.begin(one))

    def _continue_headers(self, one: Frame) -> None:
        self._end_headers(self._headers.go_on(one))

    def _end_headers(self, whole: tuple[Frame, Pairs] | None) -> None:
        if whole is None:
            return
        one, pairs = whole
        call = self._calls.get(one.stream)
        if call is not None:
            if not one.flags & Flag.END_STREAM or not headers.are_trailers(pairs):
                raise StreamFaultError(ErrorCode.PROTOCOL_ERROR)
        elif one.stream > self._last_stream:
            self._last_stream = one.stream
            self._open(one.stream, pairs)
            call = self._calls.get(one.stream)
        elif headers.is_request(pairs):
            # Trailers may still come to a stream that we ended; a request may not, RFC 9113 5.1.1.
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the stream's number is used")
        if one.flags & Flag.END_STREAM and call is not None:
            call.half_closed()

    def _open(self, stream: int, pairs: Pairs) -> None:
        self._count_reply()  # whatever becomes of it
        self._opened += 1
        if self._opened > _MOST_OPENED:
            raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "too many streams")
        if len(self._calls) >= _MOST_STREAMS:
            raise StreamFaultError(ErrorCode.REFUSED_STREAM)
        fields = headers.request(pairs)
        if fields is None:
            raise StreamFaultError(ErrorCode.PROTOCOL_ERROR)
        path = fields[b":path"].decode("utf-8", "replace")
        call = Call(self, stream, path, self.names, self._initial_window)
        self._calls[stream] = call
        if not is_grpc(fields):
            self._reply(frames.not_grpc(stream))
            raise StreamFaultError(ErrorCode.NO_ERROR)
        if fields.get(b"grpc-encoding", b"identity") != b"identity":
            call.finish(Status.UNIMPLEMENTED, "compressed messages are not taken")
            return
        self._door.take(call)

    def _reset(self, one: Frame) -> None:
        call = self._known(one)
        if call is not None:
            self.forget(one.stream)
            call.lost()

    def _settings(self, one: Frame) -> None:
        if one.flags & Flag.ACK:
            return
        values = frames.read_settings(one.payload)
        if Setting.MAX_FRAME_SIZE in values:
            self.frame_bytes = min(values[Setting.MAX_FRAME_SIZE], _LARGEST_FRAME)
        self._rewindow(values.get(Setting.INITIAL_WINDOW_SIZE, self._initial_window))
        self._reply(frames.frame(Kind.SETTINGS, Flag.ACK, 0))

    def _rewindow(self, size: int) -> None:
        change, self._initial_window = size - self._initial_window, size
        for call in list(self._calls.values()):
            try:
                call.credit(change)
            except StreamFaultError as fault:
                raise ConnectionFaultError(fault.code, "INITIAL_WINDOW_SIZE") from fault

    def _ping(self, one: Frame) -> None:
        if not one.flags & Flag.ACK:
            self._reply(frames.frame(Kind.PING, Flag.ACK, 0, one.payload))

    def _credit(self, one: Frame) -> None:
        size = int.from_bytes(one.payload, "big") & LARGEST_WINDOW
        call = self._known(one) if one.stream else None
        if call is not None:
            if not size:
                raise StreamFaultError(ErrorCode.PROTOCOL_ERROR)
            call.credit(size)
        elif not one.stream:
            if not size:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            if self.window + self._held + size > LARGEST_WINDOW:
                raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE")
            if self._paused:
                self._held += size
            else:
                self.window += size
                self._pump()

    # GOAWAY changes nothing: the calls that run go on, and PRIORITY is for servers of pages.
    _others: dict[int, Callable[[Connection, Frame], None]] = {  # noqa: RUF012
        Kind.DATA: _data,
        Kind.HEADERS: _begin_headers,
        Kind.RST_STREAM: _reset,
        Kind.SETTINGS: _settings,
        Kind.PING: _ping,
        Kind.WINDOW_UPDATE: _credit,
        Kind.CONTINUATION: _continue_headers,
    }
