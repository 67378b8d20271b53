"""One call on a connection: messages in, messages out within the windows the other side gives."""

from __future__ import annotations

import struct
from collections import deque
from typing import Protocol

from chaincode.transport import frames
from chaincode.transport.frames import (
    LARGEST_WINDOW,
    ErrorCode,
    Flag,
    Kind,
    Status,
    StreamFaultError,
)
from chaincode.transport.messages import PREFIX_BYTES, CallFaultError, MessageReader
from clearline.logs import get_logger

_log = get_logger(__name__)
# A DATA frame's header and the message's prefix behind it: length and type, flags, stream;
# not compressed, length.
_WHOLE = struct.Struct(">IBIBI")
_PREFIX = struct.Struct(">BI")
MAX_MESSAGE_BYTES = 100 * 1024 * 1024
"""gRPC and Fabric's peer take no larger message (Fabric comm.MaxRecvMsgSize)."""
IDLE_A_MESSAGE = 10
"""Frames about nothing that come with a DATA frame, at most: credit, questions, answers."""
STREAM_WINDOW = 1024 * 1024
"""What the other side may send on a stream before it gets credit back."""
# Who doesn't take what we send gets no credit for more, once this waits: memory is bounded by it.
_MOST_WAITING = 1_000
_MOST_WAITING_BYTES = 1024 * 1024
# Of a large message so much is written at once; then the transport says whether it takes more.
_WRITE_BYTES = 256 * 1024


class Handler(Protocol):
    """What serves one call. Its methods are called on the loop and must not block."""

    def received(self, message: bytes) -> None:
        """A message, whole. May raise CallFaultError, which ends the call."""

    def ended(self) -> None:
        """The other side sends no more, or is gone; called once, unless we finished before."""


class Link(Protocol):
    """What a call needs of its connection."""

    window: int
    frame_bytes: int
    idle: int

    def put(self, frame: bytes) -> None:
        """Have a frame written with what else this turn of the loop brings."""

    def flush(self) -> None:
        """Write now. `window` is 0 after that when the transport has enough."""

    def forget(self, stream: int) -> None:
        """The stream is over on both sides."""


class Call:
    """The server's end of one bidirectional call."""

    def __init__(
        self, link: Link, stream: int, path: str, peer_names: frozenset[str], window: int
    ) -> None:
        self.stream = stream
        self.path = path
        self.peer_names = peer_names
        self._link = link
        self._window = window
        self._pending: deque[bytes | memoryview] = deque()
        self._waiting = 0
        self._messages = MessageReader(MAX_MESSAGE_BYTES)
        self._owed = 0
        self._begun = False
        self._remote_open = True
        self._finished: bytes | None = None
        self._handler: Handler | None = None

    # Towards the other side

    def send(self, message: bytes) -> None:
        """Send a message; without effect once the call is finished or its stream is gone."""
        if self._finished is not None:
            return
        if not self._begun:
            self._begun = True
            self._link.put(frames.response_head(self.stream))
        size = PREFIX_BYTES + len(message)
        link = self._link
        if not self._pending and size <= min(self._window, link.window, link.frame_bytes):
            self._window -= size
            link.window -= size
            if link.idle > 0:
                link.idle -= IDLE_A_MESSAGE
            link.put(_WHOLE.pack(size << 8, 0, self.stream, 0, len(message)) + message)
            return
        self._pending.append(_PREFIX.pack(0, len(message)) + message)
        self._waiting += size
        self.pump()

    def finish(self, status: Status, detail: str = "") -> None:
        """End the call, after all that was sent; the first word counts."""
        if self._finished is not None:
            return
        make = frames.trailers if self._begun else frames.trailers_only
        self._finished = make(self.stream, status, detail)
        self._handler = None
        self.pump()

    def pump(self) -> None:
        """Send of what waits as much as the windows allow."""
        link = self._link
        unwritten = 0
        while self._pending:
            head = self._pending[0]
            size = min(len(head), self._window, link.window, link.frame_bytes)
            if size <= 0:
                break
            self._window -= size
            link.window -= size
            self._waiting -= size
            if link.idle > 0:
                link.idle -= IDLE_A_MESSAGE
            if size == len(head):
                self._pending.popleft()
            else:
                # A view: cutting bytes off would copy the rest of the message for each frame.
                self._pending[0] = memoryview(head)[size:]
            link.put(frames.frame(Kind.DATA, Flag.NONE, self.stream, head[:size]))
            unwritten += size
            if unwritten >= _WRITE_BYTES:
                unwritten = 0
                link.flush()
        if self._owed > STREAM_WINDOW // 2 and self._finished is None:
            self._give_back()
        if self._finished and not self._pending:
            finished, self._finished = self._finished, b""
            link.put(finished)
            if self._remote_open:
                # What it sends from now on nobody reads (RFC 9113 section 8.1).
                link.put(frames.reset(self.stream, ErrorCode.NO_ERROR))
            link.forget(self.stream)

    def _give_back(self) -> None:
        if len(self._pending) < _MOST_WAITING and self._waiting < _MOST_WAITING_BYTES:
            self._link.put(frames.window_update(self.stream, self._owed))
            self._owed = 0

    # From the other side

    def serve(self, handler: Handler) -> None:
        """Have a handler take what comes; to be called before anything does."""
        if self._finished is None:
            self._handler = handler

    def data(self, payload: bytes, size: int) -> None:
        """A DATA frame's content and its size with padding. Raises StreamFaultError."""
        if not self._remote_open:
            raise StreamFaultError(ErrorCode.STREAM_CLOSED)
        # Given back as it is read, as long as our answers are taken: a message that isn't whole is
        # bounded by its limit, and whole ones are the handler's.
        self._owed += size
        if self._owed > STREAM_WINDOW // 2:
            if self._owed > STREAM_WINDOW:
                raise StreamFaultError(ErrorCode.FLOW_CONTROL_ERROR)
            self._give_back()
        handler = self._handler
        if handler is None:
            return
        try:
            for message in self._messages.read(payload):
                handler.received(message)
                if self._finished is not None:
                    break
        except CallFaultError as fault:
            self._break(handler, fault.status, fault.detail)
        except Exception:  # a mistake of ours is this call's end, not its neighbours'
            _log.exception("a call failed", extra={"path": self.path})
            self._break(handler, Status.INTERNAL, "internal error")

    def _break(self, handler: Handler, status: Status, detail: str) -> None:
        self.finish(status, detail)
        self._end(handler)

    def _end(self, handler: Handler) -> None:
        try:
            handler.ended()
        except Exception:  # the other calls of a connection that is lost must hear of it too
            _log.exception("the end of a call failed", extra={"path": self.path})

    def half_closed(self) -> None:
        """END_STREAM: the other side sends no more. Raises StreamFaultError."""
        if not self._remote_open:
            raise StreamFaultError(ErrorCode.STREAM_CLOSED)
        self._remote_open = False
        handler, self._handler = self._handler, None
        if self._messages.inside:
            self.finish(Status.INTERNAL, "the stream ends within a message")
        if handler is not None:
            self._end(handler)

    def credit(self, size: int) -> None:
        """WINDOW_UPDATE, or a change of SETTINGS, which may take credit back. Raises
        StreamFaultError."""
        self._window += size
        if self._window > LARGEST_WINDOW:
            raise StreamFaultError(ErrorCode.FLOW_CONTROL_ERROR)
        if size > 0:
            self.pump()

    def lost(self) -> None:
        """The stream was reset, or the connection is gone: nothing can be sent any more."""
        self._pending.clear()
        self._finished = b""
        handler, self._handler = self._handler, None
        if handler is not None:
            self._end(handler)
