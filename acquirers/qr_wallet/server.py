"""The wallet's server: HTTPS, a thread a connection, every request and answer signed."""

from __future__ import annotations

import json
import re
import sqlite3
import ssl
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any, Final

from acquirers.qr_wallet import signing
from acquirers.qr_wallet.book import Book
from acquirers.qr_wallet.clerk import Clerk
from acquirers.qr_wallet.refunds import Refunds
from acquirers.qr_wallet.settings import WalletSettings
from acquirers.qr_wallet.signing import SignatureWrongError
from acquirers.qr_wallet.wallet import Reply, Wallet, refusal
from clearline.logs import get_logger

_log = get_logger("acquirers.qr_wallet")
_PATH: Final = re.compile("/v1/payments/([0-9a-f]{40})(/close|/reverse)?")
_REFUND_PATH: Final = re.compile("/v1/refunds/([0-9a-f]{40})")
_PAGE: Final = re.compile("/pay/[0-9a-f]{40}")
_LARGEST: Final = 16 * 1024
_IDLE_SECONDS: Final = 30.0


class WalletServer:
    """`start`, then `port` says where it listens; `stop` ends it. One per book."""

    def __init__(self, settings: WalletSettings) -> None:
        self.settings = settings
        settings.place.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._book = Book(settings.place.book)
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._clerk: Clerk | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        return self._server.server_port

    def start(self) -> None:
        """Listen. Raises OSError when the port is taken, ssl.SSLError for bad TLS files."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.settings.place.certificate, self.settings.place.private_key)
        self._server = _Server((self.settings.place.host, self.settings.place.port), self, context)
        self._wallet = Wallet(
            self._book, self.settings, f"https://{self.settings.place.host}:{self.port}"
        )
        self._refunds = Refunds(self._book, self.settings)
        self._clerk = Clerk(self._book, self._wallet, self.settings, self._lock)
        self._clerk.start()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="wallet"
        )
        self._thread.start()
        _log.info("listening", extra={"host": self.settings.place.host, "port": self.port})

    def stop(self) -> None:
        """Close every connection and the book."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.cut()
            self._server.server_close()
        if self._clerk is not None:
            self._clerk.stop()
        self._book.close()

    def answer(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """The answer to a request, decided and on stable storage."""
        key = self.settings.partners.get(headers.get(signing.KEY) or "")
        if key is None:
            return refusal(401, "partner_unknown")
        now = time.time()
        try:
            mark = signing.check("request", f"{method} {path}", body, headers, key, now)
        except SignatureWrongError as error:
            return refusal(401, error.code)
        try:
            with self._lock, self._book.transaction():
                oldest = int(now) - 2 * signing.MOST_SECONDS
                if not self._book.use_nonce(mark.nonce, mark.time, oldest):
                    return refusal(401, "nonce_used")
                return self._decide(method, path, body)
        except sqlite3.Error:
            _log.exception("the book can't be written")
            return refusal(503, "unavailable")
        finally:
            if self._clerk is not None:
                self._clerk.wake()

    def _decide(self, method: str, path: str, body: bytes) -> Reply:
        now = datetime.now(UTC)
        if (method, path) == ("GET", "/v1/ping"):
            return Reply(200, {"name": self.settings.place.name})
        if method == "POST" and path in ("/v1/payments", "/v1/refunds"):
            try:
                fields = json.loads(body)
            except (ValueError, RecursionError):
                return refusal(400, "malformed")
            if not isinstance(fields, dict):
                return refusal(400, "malformed")
            asked = self._refunds.ask if path == "/v1/refunds" else self._wallet.create
            return asked(fields, now)
        refund = _REFUND_PATH.fullmatch(path)
        if refund is not None:
            if method != "GET":
                return refusal(405, "method_not_allowed")
            return self._refunds.query(refund[1], now)
        match = _PATH.fullmatch(path)
        if match is None:
            return refusal(404, "no_such_address")
        if match[2] is None and method == "GET":
            return self._wallet.query(match[1], now)
        if match[2] == "/close" and method == "POST":
            return self._wallet.close(match[1], now)
        if match[2] == "/reverse" and method == "POST":
            return self._wallet.reverse(match[1], now)
        return refusal(405, "method_not_allowed")


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    closing = False

    def __init__(self, address: tuple[str, int], wallet: WalletServer, tls: ssl.SSLContext) -> None:
        self.wallet = wallet
        self.tls = tls
        self.connections: set[socket] = set()
        super().__init__(address, _Handler)

    def cut(self) -> None:
        """End the connections that are open."""
        self.closing = True
        for connection in list(self.connections):
            _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.warning("a connection ended", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "qr-wallet"
    sys_version = ""
    timeout = _IDLE_SECONDS
    # An answer is one packet; Nagle would hold its second half back.
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ssl.SSLError) as error:
            _log.info("a connection ended", extra={"reason": repr(error)})

    def setup(self) -> None:
        self.request.settimeout(self.timeout)
        self.request.getpeername()  # raises when it is gone: wrapped, ssl would leave it open
        self.request = self.server.tls.wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        )
        self.server.connections.add(self.request)
        if self.server.closing:
            _shut(self.request)
        super().setup()

    def finish(self) -> None:
        self.server.connections.discard(self.request)
        try:
            super().finish()
        except OSError as error:
            _log.info("a connection ended", extra={"reason": repr(error)})
        finally:
            self.rfile.close()  # else it keeps the socket open, when the last flush failed
            _shut(self.request)
            self.request.close()

    def do_GET(self) -> None:
        if _PAGE.fullmatch(self.path):
            self._send(200, b"Open this code with the wallet's app.\n", {})
        else:
            self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("http", extra={"line": format % args})

    def _answer(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > _LARGEST:
            self.close_connection = True
            self._send(413, b"", {})
            return
        body = self.rfile.read(int(length))
        headers = {name.title(): text for name, text in self.headers.items()}
        reply = self.server.wallet.answer(self.command, self.path, body, headers)
        if reply.body is None:
            self.close_connection = True
            return
        time.sleep(reply.delay_seconds)
        nonce = headers.get(signing.NONCE) or ""
        data = json.dumps(reply.body).encode()
        key = self.server.wallet.settings.signing_key
        signed = signing.headers("answer", f"{reply.status} {nonce}", data, key, time.time())
        self._send(reply.status, data, {**signed, "Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _shut(connection: socket) -> None:
    try:
        connection.shutdown(2)
    except OSError:
        return
