"""gunicorn's threaded worker with a poller of our own.

The poller (the main thread) shakes hands, reads requests whole, sends what is left of answers and
keeps every deadline, without ever waiting for one client. A thread is given a request that is all
there and hands back an answer; which request gets one, and which is refused, `lanes` says.

gunicorn's own poller gives a thread to each connection that has sent a byte, for the handshake, for
the headers, for the body, and closes connections by waiting for the client: a handful of silent
clients stop it.
"""

from __future__ import annotations

import errno
import selectors
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from gunicorn import http
from gunicorn.http.errors import ParseException
from gunicorn.sock import ssl_context
from gunicorn.workers.gthread import ThreadWorker

from clearline.logs import get_logger
from gateway.crowding import Crowding
from gateway.server.connection import Connection, Ended, Interest, NoTls, Phase
from gateway.server.lanes import Kind, Lane, Place, kind_of, widths
from gateway.server.refusals import Refusals
from gateway.server.table import Table
from gateway.settings import Settings

_HEAD: Final = 32_768  # bytes of a request's line and headers
_HELD: Final = 64 * 1024 * 1024  # bytes of unfinished requests in a worker
_LARGE: Final = 65_536  # bytes of one from which on they are added up
_ACCEPTS: Final = 32  # connections taken in one turn
_TICK: Final = 0.25  # seconds between looks at deadlines
_BEAT: Final = 1.0  # seconds between signs of life to the master, and between lines of the log
_LEAVING: Final = 2.0  # seconds; see Phase
_IDLE: Final = 75.0  # longer than clients keep a connection, so that they are the ones to close it
_LAST_CALL: Final = 2.0  # seconds for what is idle or under way when the worker stops
_MOST_DISCARDED: Final = 1024 * 1024  # bytes of a client that sends on after its last answer
_EVENTS: Final = {
    Interest.TO_READ: selectors.EVENT_READ,
    Interest.TO_WRITE: selectors.EVENT_WRITE,
}
_PASSING: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED, errno.EINTR)
_log = get_logger("clearline.gateway.server")


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves until SIGTERM. Only `_answer` runs in other threads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_keepalived = sys.maxsize  # gunicorn's; here the table says who goes
        settings: Settings = self.app.settings
        limits = settings.limits
        self._lanes = {
            kind: Lane[Connection](width) for kind, width in widths(settings.threads).items()
        }
        self._threads = sum(width.threads for width in widths(settings.threads).values())
        self._longest = (_HEAD, limits.batch_bytes)
        self._table = Table(
            {
                Phase.GREETING: float(limits.handshake_s),
                Phase.SILENT: float(limits.first_byte_s),
                Phase.SENDING: float(limits.request_s),
                Phase.TAKING: float(limits.request_s),
                Phase.IDLE: _IDLE,
                Phase.LEAVING: _LEAVING,
            }
        )
        self._most = limits.connections
        self._refusals: Refusals
        self._crowding: Crowding
        self._next_tick = self._next_beat = 0.0

    def get_thread_pool(self) -> Any:
        """Threads for every lane."""
        return ThreadPoolExecutor(self._threads, "answer")

    def init_process(self) -> None:
        """In the worker's process: its counters are its own."""
        self._refusals = Refusals(self.app.settings.limits.posts.header)
        super().init_process()

    def run(self) -> None:
        """Poll until told to stop, then let those finish who are being answered."""
        reading = selectors.EVENT_READ
        queue = self.method_queue
        self._crowding = self.wsgi.extensions["clearline"].crowding
        self.poller.register(queue.fileno(), reading, queue.run_callbacks)
        self.set_accept_enabled(True)
        while self.alive:
            self.wait_for_and_dispatch_events(_TICK)
            self._tick()
            if not self.is_parent_alive():
                break
        self._finish()

    def accept(self, listener: Any) -> None:
        """Take who waits at the door; nobody is waited for."""
        for _ in range(_ACCEPTS):
            try:
                plain, client = listener.accept()
            except OSError as error:
                if error.errno not in _PASSING:
                    self._out_of_sockets(error)
                return
            if len(self._table) >= self._most and not self._make_room():
                self._refusals.dropped()
                plain.close()
                continue
            connection = Connection(
                plain, client, listener.getsockname(), ssl_context(self.cfg), self._longest
            )
            connection.parser = http.get_parser(self.cfg, connection.sock, client)
            self._table.add(connection, time.monotonic())
            self._watch(connection, Interest.TO_READ)

    def _out_of_sockets(self, error: OSError) -> None:
        _log.error("can't take a connection", extra={"reason": str(error)})
        if not self._make_room():
            self.set_accept_enabled(False)  # until the next beat

    def _make_room(self) -> bool:
        dispensable = self._table.dispensable()
        if dispensable is None:
            return False
        self._refusals.dropped()
        self._close(dispensable)
        return True

    # What a connection does next

    def _ready(self, connection: Connection, _fd: int) -> None:
        """The poller sees something on it."""
        step = {
            Phase.GREETING: self._greet,
            Phase.TAKING: self._hand_out,
            Phase.LEAVING: self._see_off,
        }.get(connection.phase, self._gather)
        self._guarded(step, connection)

    def _guarded(self, step: Callable[[Connection], None], connection: Connection) -> None:
        """One connection's trouble is no other's."""
        if connection.phase is Phase.CLOSED:
            return  # it made room in this very turn of the poller
        try:
            step(connection)
        except Ended:
            self._close(connection)
        except Exception:
            _log.exception("a connection failed")
            self._close(connection)

    def _greet(self, connection: Connection) -> None:
        try:
            interest = connection.shake()
        except NoTls:
            self._leave(connection)
            return
        if interest is not Interest.NOTHING:
            self._watch(connection, interest)
            return
        self._table.move(connection, Phase.SILENT, time.monotonic())
        self._gather(connection)

    def _gather(self, connection: Connection) -> None:
        extent = connection.gather()
        if extent is None:
            if connection.held:
                self._table.move(connection, Phase.SENDING, time.monotonic())
                self._watch(connection, Interest.TO_READ)
                self._hold_less(connection)
            else:
                self._watch(connection, Interest.TO_READ)
            return
        kind = kind_of(connection.head(16))
        connection.take(extent)
        now = time.monotonic()
        self._table.move(connection, Phase.ANSWERING, now)
        if not extent.head:
            detail = f"a request's line and headers may have {_HEAD} bytes"
            self._say(connection, self._refusals.malformed(detail))
        else:
            self._queue(connection, kind, now)

    def _hold_less(self, connection: Connection) -> None:
        """Many large requests that don't end: the largest goes."""
        if connection.held < _LARGE or self._table.held < _HELD:
            return
        largest = self._table.largest()
        if largest is not None:
            self._refusals.dropped()
            self._close(largest)

    def _queue(self, connection: Connection, kind: Kind, now: float) -> None:
        if kind is Kind.WRITES and (crowded := self._crowded(connection)):
            self._say(connection, crowded)
            return
        place = self._lanes[kind].enter(connection, now)
        if place is Place.REFUSED:
            self._say(connection, self._refusals.overloaded(kind))
            return
        # Only now: what is refused at once goes on being watched as before.
        self._watch(connection, Interest.NOTHING)
        if place is Place.THREAD:
            self._start(connection, kind)

    def _crowded(self, connection: Connection) -> bytes:
        """The answer to a post that is not worth a thread, for its acquirers take no more now."""
        refusal = self._crowding.refusal_of_post(connection.sock.request)
        return b"" if refusal is None else self._refusals.crowded(refusal)

    def _start(self, connection: Connection, kind: Kind) -> None:
        self.tpool.submit(self._answer, connection, kind)

    def _answer(self, connection: Connection, kind: Kind) -> None:
        """In a thread of the pool: parse, let the application answer, send what goes at once."""
        again = False
        try:
            again = self.handle(connection) and connection.whole and not connection.sock.unread
            if connection.parser.unreader.buf.getvalue():
                again = False
            connection.flush()
        except Ended:
            again = False
            connection.sock.answer.clear()
        finally:
            self.method_queue.defer(self._answered, connection, kind, again)

    def _answered(self, connection: Connection, kind: Kind, again: bool) -> None:
        """Back in the poller."""
        while (following := self._lanes[kind].leave()) is not None:
            # While it waited in the line its acquirer may have fallen behind.
            crowded = self._crowded(following) if kind is Kind.WRITES else b""
            if not crowded:
                self._start(following, kind)
                break
            self._guarded(partial(self._say, answer=crowded), following)
        connection.again = again
        self._guarded(self._hand_out, connection)

    def _say(self, connection: Connection, answer: bytes) -> None:
        """Answer without a thread."""
        connection.sock.answer += answer
        connection.again = connection.whole
        self._hand_out(connection)

    def _hand_out(self, connection: Connection) -> None:
        """Send what the client takes, and go on when it has all of it."""
        if not connection.flush():
            self._table.move(connection, Phase.TAKING, time.monotonic())
            self._watch(connection, Interest.TO_WRITE)
            return
        if not connection.again or not self.alive:
            self._leave(connection)
            return
        self._table.move(connection, Phase.IDLE, time.monotonic())
        if connection.more:
            self._watch(connection, Interest.NOTHING)
            # Not at once: one that sends a thousand requests in a row takes turns with the others.
            self.method_queue.defer(self._guarded, self._gather, connection)
        else:
            self._watch(connection, Interest.TO_READ)

    def _leave(self, connection: Connection) -> None:
        connection.leave()
        self._table.move(connection, Phase.LEAVING, time.monotonic())
        self._watch(connection, Interest.TO_READ)

    def _see_off(self, connection: Connection) -> None:
        connection.discard()
        if connection.discarded > _MOST_DISCARDED:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._watch(connection, Interest.NOTHING)
        self._table.remove(connection)
        connection.close()

    def _watch(self, connection: Connection, interest: Interest) -> None:
        """Have `_ready` called when this comes. By number: the socket's object changes with TLS."""
        if interest is connection.interest:
            return
        if interest is Interest.NOTHING:
            self.poller.unregister(connection.fd)
        elif connection.interest is Interest.NOTHING:
            ready = partial(self._ready, connection)
            self.poller.register(connection.fd, _EVENTS[interest], ready)
        else:
            ready = partial(self._ready, connection)
            self.poller.modify(connection.fd, _EVENTS[interest], ready)
        connection.interest = interest

    # The clock

    def _tick(self) -> None:
        now = time.monotonic()
        if now < self._next_tick:
            return
        self._next_tick = now + _TICK
        for connection in self._table.late(now):
            self._close(connection)
        for kind, lane in self._lanes.items():
            for connection in lane.overdue(now):
                refusal = self._refusals.overloaded(kind)
                self._guarded(partial(self._say, answer=refusal), connection)
        if now >= self._next_beat:
            self._next_beat = now + _BEAT
            self.notify()
            self._refusals.report()
            if self.alive:
                self.set_accept_enabled(True)

    def _finish(self) -> None:
        """Answer what is being answered, for as long as a stopping worker may take."""
        self.set_accept_enabled(False)
        now = time.monotonic()
        for phase in (Phase.GREETING, Phase.SILENT):
            for connection in self._table.of(phase):
                self._close(connection)
        for phase in (Phase.IDLE, Phase.SENDING):
            self._table.shorten(phase, _LAST_CALL, now)
        end = now + self.cfg.graceful_timeout
        while len(self._table) and time.monotonic() < end:
            self.wait_for_and_dispatch_events(_TICK)
            self._tick()
        for phase in Phase:
            if phase is not Phase.CLOSED:
                for connection in self._table.of(phase):
                    self._close(connection)
        self.tpool.shutdown(wait=False)
        self.poller.close()
        self.method_queue.close()
        for listener in self.sockets:
            listener.close()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what is no HTTP request without gunicorn's page."""
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        _log.info("not an HTTP request", extra={"reason": str(exc)})
        client.sendall(self._refusals.malformed("the request is no HTTP/1.1 as it is served here"))
