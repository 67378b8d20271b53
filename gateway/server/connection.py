"""One client's connection: TLS, a request's bytes in, an answer's bytes out; nothing here blocks.

It belongs to the poller, but for the time in which a thread answers its request. That thread sees
the connection's Stream, which holds one whole request and takes the answer.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from enum import Enum
from typing import Any, Final

from gateway.server.framing import Extent, Framing

_RECEIVE: Final = 65_536
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(Enum):
    """What a connection is at. In all but the answering a time-out of its own runs, from when the
    phase began."""

    GREETING = "greeting"  # until the TLS handshake is through
    SILENT = "silent"  # until the first byte of its first request
    SENDING = "sending"  # from a request's first byte to its last
    ANSWERING = "answering"  # waiting for a thread, or in one
    TAKING = "taking"  # until the answer has left
    IDLE = "idle"  # between two requests
    LEAVING = "leaving"  # answered for the last time, until the client has closed too
    CLOSED = "closed"


class Interest(Enum):
    """What must come before it goes on."""

    NOTHING = 0
    TO_READ = 1
    TO_WRITE = 2


class Ended(Exception):  # noqa: N818  an end, seldom an error
    """The client went away: there is nobody to answer."""


class NoTls(Exception):  # noqa: N818
    """The client speaks no TLS that is served here; it has been told so by an alert."""


class Stream:
    """What gunicorn takes for the socket: one request to read, and an answer that is kept.

    Nothing more comes after that request: who asks for more reads the end of the stream.
    """

    def __init__(self) -> None:
        self._request = b""
        self._place = 0
        self.answer = bytearray()

    def feed(self, request: bytes) -> None:
        """The next request."""
        self._request, self._place = request, 0

    @property
    def request(self) -> bytes:
        """The request, whole."""
        return self._request

    @property
    def unread(self) -> bool:
        """Whether a part of the request was not taken."""
        return self._place < len(self._request)

    def recv(self, size: int) -> bytes:
        """The next bytes of the request."""
        place = self._place
        self._place = min(len(self._request), place + size)
        return self._request[place : self._place]

    def sendall(self, data: bytes) -> None:
        """A part of the answer."""
        self.answer += data

    def send(self, data: bytes) -> int:
        """gunicorn's `100 Continue`: the body is here, so nothing needs to be said."""
        return len(data)

    def setblocking(self, _blocking: bool) -> None:
        """It never blocks."""

    def gettimeout(self) -> float | None:
        """It never waits."""
        return None

    def settimeout(self, _seconds: float | None) -> None:
        """It never waits."""


class Connection:
    """A connection and what gunicorn's worker wants to find on one (its TConn).

    Methods raise Ended when the client is gone; close it then.
    """

    initialized = True
    data_ready = True
    is_http2 = False

    def __init__(
        self,
        plain: socket.socket,
        client: Any,
        server: Any,
        context: ssl.SSLContext,
        longest: tuple[int, int],
    ) -> None:
        """`longest`: bytes of a request's head and of its body."""
        self._socket: socket.socket = plain
        self._tls: ssl.SSLSocket | None = None
        self._context = context
        self._longest = longest
        self._framing = Framing(*longest)
        self._buffer = bytearray()
        self.fd = plain.fileno()
        self.client, self.server = client, server
        self.sock = Stream()
        self.parser: Any = None
        self.phase = Phase.GREETING
        self.deadline = 0.0
        self.interest = Interest.NOTHING
        self.whole = True
        self.again = True  # whether another request may follow the answer
        self.discarded = 0
        plain.setblocking(False)
        with contextlib.suppress(OSError):  # it may be gone already
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def init(self) -> None:
        """gunicorn's; done in the poller."""

    @property
    def held(self) -> int:
        """Bytes of a request that is not whole yet."""
        return len(self._buffer)

    @property
    def more(self) -> bool:
        """Whether there is something to gather that no poller can see."""
        return bool(self._buffer) or (self._tls is not None and self._tls.pending() > 0)

    def shake(self) -> Interest:
        """Go on with the handshake: NOTHING when it is through, else what it waits for.

        Raises NoTls.
        """
        try:
            if self._tls is None:
                self._tls = self._context.wrap_socket(
                    self._socket, server_side=True, do_handshake_on_connect=False
                )
                self._socket = self._tls
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return Interest.TO_READ
        except ssl.SSLWantWriteError:
            return Interest.TO_WRITE
        except ssl.SSLEOFError as error:
            raise Ended(str(error)) from None
        except ssl.SSLError as error:
            raise NoTls(str(error)) from None
        except (OSError, ValueError) as error:
            raise Ended(str(error)) from None
        return Interest.NOTHING

    def gather(self) -> Extent | None:
        """Read what is there. The extent of the request once it is complete; take it then."""
        if self._buffer and (extent := self._extent()) is not None:
            return extent
        while True:
            try:
                data = self._socket.recv(_RECEIVE)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                return None
            except (OSError, ValueError) as error:
                raise Ended(str(error)) from None
            if not data:
                raise Ended("the client closed")
            self._buffer += data
            if (extent := self._extent()) is not None:
                return extent

    def head(self, length: int) -> bytes:
        """The first bytes of the request."""
        return bytes(self._buffer[:length])

    def take(self, extent: Extent) -> None:
        """Put the request into the stream; what follows it stays."""
        self.sock.feed(bytes(memoryview(self._buffer)[: extent.length]))
        del self._buffer[: extent.length]
        self._framing = Framing(*self._longest)
        self.whole = extent.whole

    def flush(self) -> bool:
        """Send what the client takes of the answer; whether all of it has left."""
        answer = self.sock.answer
        try:
            while answer:
                with memoryview(answer) as view:
                    sent = self._socket.send(view)
                del answer[:sent]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
            return False
        except (OSError, ValueError) as error:
            raise Ended(str(error)) from None
        return True

    def leave(self) -> None:
        """Send nothing more (RFC 9112 section 9.6); the client should close now."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Ended(str(error)) from None
        self._buffer.clear()

    def discard(self) -> None:
        """Read and forget: closing with unread bytes would cut off the answer on its way."""
        try:
            data = self._socket.recv(_RECEIVE)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except (OSError, ValueError) as error:
            raise Ended(str(error)) from None
        if not data:
            raise Ended("the client closed")
        self.discarded += len(data)

    def close(self) -> None:
        """Let go of the socket."""
        self.phase = Phase.CLOSED
        self._buffer.clear()
        self._socket.close()

    def _extent(self) -> Extent | None:
        if not self._framing.begun:
            while self._buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2: before a request
                del self._buffer[:2]
            if not self._buffer:
                return None
        extent = self._framing.look(self._buffer)
        if extent is None and self._framing.awaited and not self.sock.answer:
            self._framing.awaited = False
            self.sock.answer += _CONTINUE
            self.flush()
        return extent
