"""One HTTP/2 connection with all its calls (RFC 9113), as a server on an asyncio transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chaincode.transport import frames, headers
from chaincode.transport.calls import STREAM_WINDOW, Call
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
from chaincode.transport.headers import Fields, HeaderReader, is_grpc
from clearline.logs import get_logger

_log = get_logger(__name__)
Accept = Callable[[Call], None]
"""Called with each new call; finishes it, or has a handler serve it."""
_WINDOW = 4 * 1024 * 1024
_SPACE_BYTES = 64 * 1024
_MOST_STREAMS = 16
# Answers to PING and the like that a connection may owe while it takes nothing back.
_MOST_REPLIES = 1_000
_PING = b"clearlne"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait: for a connection's first words, for anything before we ask, for the answer.

    The last two are gRPC's keepalive, by which a peer that vanished is noticed.
    """

    preface: float = 10.0
    quiet: float = 60.0
    pong: float = 20.0


class Connection(asyncio.BufferedProtocol):
    """Frames in, frames out. All that one turn of the loop brings is written at once.

    Buffered, for otherwise uvloop takes 256 KiB of new memory for each read of a TLS connection.
    """

    def __init__(
        self, accept: Accept, open_connections: set[Connection], patience: Patience
    ) -> None:
        self.window = DEFAULT_WINDOW
        self.frame_bytes = FRAME_BYTES
        self._accept = accept
        self._open_connections = open_connections
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._transport: Any = None
        self._names: frozenset[str] = frozenset()
        self._calls: dict[int, Call] = {}
        self._last_stream = 0
        self._initial_window = DEFAULT_WINDOW
        self._owed = 0
        self._preface = b""
        self._ready = self._greeted = self._closing = self._paused = False
        self._replies = 0
        self._space = memoryview(bytearray(_SPACE_BYTES))
        self._reader = FrameReader()
        self._headers = HeaderReader()
        self._out: list[bytes] = []
        self._heard = False
        self._timer: asyncio.TimerHandle | None = None

    # The transport's side

    def connection_made(self, transport: Any) -> None:
        """TLS is up, and the client's certificate verified."""
        self._transport = transport
        tls = transport.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":
            transport.abort()
            return
        alternatives = (tls.getpeercert() or {}).get("subjectAltName", ())
        self._names = frozenset(value for kind, value in alternatives if kind == "DNS")
        self._open_connections.add(self)
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
        self._timer = self._loop.call_later(self._patience.preface, self._unheard)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes of the other side are there."""
        self._heard = True
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
        self._open_connections.discard(self)
        self.gone.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.lost()

    def pause_writing(self) -> None:
        """The other side reads slowly. Data is bounded by its windows, replies are counted."""
        self._paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._replies = 0

    # The calls' side

    def put(self, frame: bytes) -> None:
        """Have a frame written with what else this turn of the loop brings."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(frame)

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

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _reply(self, frame: bytes) -> None:
        """A frame that the other side can ask for as often as it likes."""
        if self._paused:
            self._replies += 1
            if self._replies > _MOST_REPLIES:
                raise ConnectionFaultError(ErrorCode.ENHANCE_YOUR_CALM, "replies are not read")
        self.put(frame)

    def _fail(self, fault: ConnectionFaultError) -> None:
        if not self._closing:
            _log.warning("ended a connection", extra={"reason": str(fault)})
            self._end(fault.code, fault.reason)

    def _end(self, code: ErrorCode, reason: str) -> None:
        if self._closing:
            return
        self._closing = True
        self.put(frames.goaway(self._last_stream, code, reason))
        self._flush()
        self._transport.close()

    def _unheard(self) -> None:
        """Nothing came for a while: ask; nothing came upon that: close."""
        if self._heard and self._ready:
            self._heard = False
            self._timer = self._loop.call_later(self._patience.quiet, self._quiet)
        else:
            self.abort()

    def _quiet(self) -> None:
        if not self._heard:
            self.put(frames.frame(Kind.PING, Flag.NONE, 0, _PING))
        wait = self._patience.quiet if self._heard else self._patience.pong
        after = self._quiet if self._heard else self._unheard
        self._heard = False
        self._timer = self._loop.call_later(wait, after)

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
        if not self._greeted and one.kind != Kind.SETTINGS:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "SETTINGS come first")
        try:
            if one.kind == Kind.DATA:
                self._data(one)
                return
            take = self._others.get(one.kind)
            if take is not None:  # unknown kinds are ignored (RFC 9113 section 4.1)
                take(self, one)
        except StreamFaultError as fault:
            self._reply(frames.reset(one.stream, fault.code))
            call = self._calls.pop(one.stream, None)
            if call is not None:
                call.lost()

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

    def _end_headers(self, whole: tuple[Frame, Fields] | None) -> None:
        if whole is None:
            return
        one, fields = whole
        if one.stream > self._last_stream:
            self._last_stream = one.stream
            self._open(one.stream, fields)
        # Of a call that has begun these are trailers, which gRPC's clients don't send.
        call = self._calls.get(one.stream)
        if one.flags & Flag.END_STREAM and call is not None:
            call.half_closed()

    def _open(self, stream: int, fields: Fields) -> None:
        if len(self._calls) >= _MOST_STREAMS:
            raise StreamFaultError(ErrorCode.REFUSED_STREAM)
        if not fields.get(b":path") or not fields.get(b":method"):
            raise StreamFaultError(ErrorCode.PROTOCOL_ERROR)
        path = fields[b":path"].decode("utf-8", "replace")
        call = Call(self, stream, path, self._names, self._initial_window)
        self._calls[stream] = call
        if not is_grpc(fields):
            self._reply(frames.not_grpc(stream))
            raise StreamFaultError(ErrorCode.NO_ERROR)
        if fields.get(b"grpc-encoding", b"identity") != b"identity":
            call.finish(Status.UNIMPLEMENTED, "compressed messages are not taken")
            return
        self._accept(call)

    def _reset(self, one: Frame) -> None:
        _sized(one, 4)
        call = self._known(one)
        if call is not None:
            self.forget(one.stream)
            call.lost()

    def _settings(self, one: Frame) -> None:
        if one.stream:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        self._greeted = True
        if one.flags & Flag.ACK:
            _sized(one, 0)
            return
        for name, value in frames.read_settings(one.payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                self._rewindow(value)
            elif name == Setting.MAX_FRAME_SIZE:
                if not FRAME_BYTES <= value < 1 << 24:
                    raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "MAX_FRAME_SIZE")
                self.frame_bytes = value
        self._reply(frames.frame(Kind.SETTINGS, Flag.ACK, 0))

    def _rewindow(self, size: int) -> None:
        if size > LARGEST_WINDOW:
            raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE")
        change, self._initial_window = size - self._initial_window, size
        for call in list(self._calls.values()):
            try:
                call.credit(change)
            except StreamFaultError as fault:
                raise ConnectionFaultError(fault.code, "INITIAL_WINDOW_SIZE") from fault

    def _ping(self, one: Frame) -> None:
        _sized(one, 8)
        if one.stream:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if not one.flags & Flag.ACK:
            self._reply(frames.frame(Kind.PING, Flag.ACK, 0, one.payload))

    def _credit(self, one: Frame) -> None:
        _sized(one, 4)
        size = int.from_bytes(one.payload, "big") & LARGEST_WINDOW
        call = self._known(one) if one.stream else None
        if not size:
            if one.stream:
                raise StreamFaultError(ErrorCode.PROTOCOL_ERROR)
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
        if call is not None:
            call.credit(size)
        elif not one.stream:
            self.window += size
            if self.window > LARGEST_WINDOW:
                raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE")
            for waiting in list(self._calls.values()):
                waiting.pump()

    def _pushed(self, _: Frame) -> None:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "a client can't push")

    # GOAWAY changes nothing: the calls that run go on, and PRIORITY is for servers of pages.
    _others: dict[int, Callable[[Connection, Frame], None]] = {  # noqa: RUF012
        Kind.HEADERS: _begin_headers,
        Kind.RST_STREAM: _reset,
        Kind.SETTINGS: _settings,
        Kind.PUSH_PROMISE: _pushed,
        Kind.PING: _ping,
        Kind.WINDOW_UPDATE: _credit,
        Kind.CONTINUATION: _continue_headers,
    }


def _sized(one: Frame, size: int) -> None:
    if len(one.payload) != size:
        text = f"{Kind(one.kind).name} of {len(one.payload)} bytes"
        raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, text)
