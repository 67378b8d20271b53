"""The webhook receiver: an HTTP server that answers 2xx only for what the order book stored.

Checks are a numbered list that fails closed; the first that fails names the answer. One thread
owns the order book and writes what has come meanwhile as one group; the others talk HTTP.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clearline import webhook_signatures
from clearline.cards import redact
from clearline.logs import get_logger
from clearline.webhook_signatures import ID, SIGNATURE, TIMESTAMP, Headers, WebhookSignatureError
from merchant import inbox
from merchant.attempts import BookError
from merchant.inbox import Delivery, EventRefusedError, Kind, Taken
from merchant.orderbook import OrderBook
from merchant.profile import Profile, ProfileError
from merchant.webhook_keys import FILE, WebhookFile

MAX_BODY: Final = 65_536  # an event is under 10 KB
_SILENCE: Final = 15.0  # seconds a sender may say nothing
_DEADLINE: Final = 30.0  # seconds for a connection in all
_AT_ONCE: Final = 64  # connections; a gateway sends a few at a time
_GROUP: Final = 256
_PATIENCE: Final = 12.0  # seconds for the order book; a gateway waits fifteen
_log = get_logger("clearline.merchant.listen")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status and the reason, for people."""

    status: int
    detail: str


class Keys:
    """The trusted keys, read again when webhooks.json changes; safe to use from threads."""

    def __init__(self, home: Path) -> None:
        """Raises ProfileError when the file can't be used."""
        self._home = home
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._keys: tuple[Ed25519PublicKey, ...] = ()
        self.current()

    def current(self) -> tuple[Ed25519PublicKey, ...]:
        """The keys as the file has them now. Raises ProfileError."""
        try:
            status = (self._home / FILE).stat()
        except FileNotFoundError:
            return ()
        stamp = (status.st_mtime_ns, status.st_ino)
        with self._lock:
            if stamp != self._stamp:
                self._keys = WebhookFile.load(self._home).trusted()
                self._stamp = stamp
            return self._keys


class Clerk:
    """The thread that owns the order book."""

    def __init__(self, open_book: Callable[[], OrderBook], profile: Profile) -> None:
        self._open_book = open_book
        self._profile = profile
        self._waiting: queue.Queue[tuple[Delivery, Future[Taken]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="order-book", daemon=True)
        self._thread.start()

    def take(self, delivery: Delivery) -> Taken:
        """Have it stored. Raises BookError or sqlite3.Error, or TimeoutError."""
        future: Future[Taken] = Future()
        self._waiting.put((delivery, future))
        return future.result(_PATIENCE)

    def close(self) -> None:
        """Store what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        book: OrderBook | None = None
        while (first := self._waiting.get()) is not None:
            group = [first]
            ended = False
            while len(group) < _GROUP and not self._waiting.empty():
                item = self._waiting.get()
                if item is None:
                    ended = True
                    break
                group.append(item)
            try:
                book = book or self._open_book()
                taken = inbox.take(book, self._profile, [delivery for delivery, _ in group])
            except Exception as error:
                for _, future in group:
                    future.set_exception(error)
            else:
                for (_, future), item_taken in zip(group, taken, strict=True):
                    future.set_result(item_taken)
            if ended:
                break
        if book is not None:
            book.close()


class Receiver:
    """What is done with a request; no HTTP library in it."""

    def __init__(
        self, profile: Profile, keys: Keys, clerk: Clerk, clock: Callable[[], float] = time.time
    ) -> None:
        self._profile = profile
        self._keys = keys
        self._clerk = clerk
        self._clock = clock

    def receive(self, headers: Headers, body: bytes) -> Answer:
        """The answer to a message. 2xx only when the order book has stored it."""
        # 1. From a gateway this merchant registered with, now, and unchanged on the way.
        try:
            webhook_signatures.verify(headers, body, self._keys.current(), self._clock())
        except WebhookSignatureError as error:
            return Answer(401, str(error))
        except ProfileError as error:
            _log.error("the keys can't be used", extra={"reason": str(error)})
            return Answer(503, "the keys can't be used")
        # 2. An event about this merchant in this network, under its own id.
        try:
            delivery = inbox.read(headers.message_id, body, self._profile)
        except EventRefusedError as error:
            _log.error("event refused", extra={"event": headers.message_id, "reason": str(error)})
            return Answer(422, str(error))
        # 3. The bank's signature proves an end, and the order book has it on the disk.
        try:
            taken = self._clerk.take(delivery)
        except (BookError, sqlite3.Error, FutureTimeout) as error:
            _log.error("the order book can't be written", extra={"reason": str(error)})
            return Answer(503, "the order book can't be written")
        fields = {"event": headers.message_id, "order": taken.order_no, "status": taken.status}
        if taken.kind is Kind.DISPUTED:
            _log.error("DISPUTED: the order is not paid", extra=fields | {"reason": taken.detail})
            return Answer(422, f"disputed: {taken.detail}")
        _log.info(taken.kind.value, extra=fields)
        return Answer(200, taken.kind.value)


class Server(ThreadingHTTPServer):
    """Bounded threads; TLS when it has a context, shaken hands on in the connection's thread."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], path: str, receiver: Receiver, tls: ssl.SSLContext | None
    ) -> None:
        """`path`: where events are posted. Raises OSError when the address can't be had."""
        self._seats = threading.BoundedSemaphore(_AT_ONCE)
        self._tls = tls

        class Handler(_Handler):
            pass

        Handler.receiver, Handler.events_path = receiver, path
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread a connection, while there are seats; else it is closed at once."""
        if not self._seats.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._seats.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Talk to one sender."""
        # However slowly it drips: a seat is had for so long.
        cutter = threading.Timer(_DEADLINE, _cut, (request,))
        cutter.daemon = True
        cutter.start()
        try:
            request.settimeout(_SILENCE)
            if self._tls is not None:
                try:
                    request = self._tls.wrap_socket(request, server_side=True)
                except (OSError, ValueError):
                    self.shutdown_request(request)
                    return
            super().process_request_thread(request, client_address)
        finally:
            cutter.cancel()
            self._seats.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Senders go away; that is no news."""
        _log.info("a connection ended early", extra={"peer": str(client_address[0])})


def _cut(request: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may have ended
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1, one message a connection."""

    server_version = "clearline-merchant"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE
    receiver: Receiver
    events_path: str

    def do_POST(self) -> None:
        """Take an event."""
        self.close_connection = True
        if self.path != self.events_path:
            self._answer(Answer(404, "events are posted elsewhere"))
            return
        length = self.headers.get_all("Content-Length") or [""]
        if len(length) != 1 or not length[0].isascii() or not length[0].isdigit():
            self._answer(Answer(411, "a Content-Length is needed"))
            return
        if len(length[0]) > 9 or int(length[0]) > MAX_BODY:
            self._answer(Answer(413, f"an event has at most {MAX_BODY} bytes"))
            return
        if self.headers.get_content_type() != "application/json":
            self._answer(Answer(415, "an event is application/json"))
            return
        found = [self.headers.get_all(name) or [] for name in (ID, TIMESTAMP, SIGNATURE)]
        if any(len(values) != 1 for values in found):
            self._answer(Answer(400, f"{ID}, {TIMESTAMP} and {SIGNATURE} are each needed once"))
            return
        body = self.rfile.read(int(length[0]))
        if len(body) < int(length[0]):
            return  # it went away
        (message_id,), (timestamp,), (signature,) = found
        headers = Headers(message_id.strip(), timestamp.strip(), signature.strip())
        self._answer(self.receiver.receive(headers, body))

    def log_message(self, *_: Any) -> None:
        """The receiver logs what matters."""

    def _answer(self, answer: Answer) -> None:
        body = orjson.dumps({"status": answer.status, "detail": redact(answer.detail)})
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if answer.status == 503:
            self.send_header("Retry-After", "5")
        self.end_headers()
        self.wfile.write(body)
