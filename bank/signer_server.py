"""The signing service's listener: HTTPS with mutual TLS, a thread a connection."""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any, Final

from cryptography import x509

from bank.signer_desk import Reply, SignerDesk, refusal
from bank.signer_settings import ServiceSettings
from clearline.certificate_roles import CONNECTOR, role_of
from clearline.logs import get_logger
from clearline.signers import wire
from clearline.signers.settings import SignerSettingsError

_log = get_logger("bank.signer")
_HANDSHAKE_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 60.0
_CONNECTIONS: Final = 64
_JSON: Final = "application/json"


class SignerServer:
    """`start`, then `port` says where it listens; `stop` ends it."""

    def __init__(self, settings: ServiceSettings, desk: SignerDesk) -> None:
        self._settings = settings
        self._desk = desk
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        return self._server.server_port

    def start(self) -> None:
        """Listen. Raises SignerSettingsError for bad TLS files, OSError when the port is taken."""
        address = (self._settings.host, self._settings.port)
        self._server = _Server(address, _context(self._settings), self._desk)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="signer"
        )
        self._thread.start()
        fields = {"host": self._settings.host, "port": self.port, "key_id": self._desk.key_id}
        _log.info("listening", extra=fields)

    def stop(self) -> None:
        """Close every connection, the holder too."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.cut()
            self._server.server_close()
        self._desk.close()


def _context(settings: ServiceSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(settings.certificate, settings.private_key)
        # Its own bank's CA alone: who is known there is known here, and nobody else.
        context.load_verify_locations(settings.client_ca)
    except (OSError, ssl.SSLError) as error:
        files = f"{settings.certificate}, {settings.private_key}, {settings.client_ca}"
        raise SignerSettingsError(f"tls: can't use {files}: {error}") from None
    return context


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext, desk: SignerDesk) -> None:
        self.tls = tls
        self.desk = desk
        self._open: set[socket] = set()
        self._closing = False
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def enter(self, connection: socket) -> bool:
        """Whether there is room for one more."""
        with self._lock:
            if self._closing or len(self._open) >= _CONNECTIONS:
                return False
            self._open.add(connection)
            return True

    def leave(self, connection: socket) -> None:
        """It has ended."""
        with self._lock:
            self._open.discard(connection)

    def cut(self) -> None:
        """End the connections that are open."""
        with self._lock:
            self._closing = True
            connections = list(self._open)
        for connection in connections:
            # Not SSLSocket's own shutdown: it takes TLS away under the thread that reads.
            with suppress(OSError):
                socket.shutdown(connection, SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A handshake that fails ends here: who has no certificate learns no more than that.
        _log.info("a connection ended", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "clearline"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1
    client = ""
    refused = ""

    def setup(self) -> None:
        self.request.settimeout(self.timeout)
        self.request.getpeername()  # raises when it is gone: wrapped, ssl would leave it open
        self.request = self.server.tls.wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        )
        super().setup()

    def handle(self) -> None:
        if not self.server.enter(self.request):
            return
        try:
            self.request.settimeout(_HANDSHAKE_SECONDS)
            self.request.do_handshake()
            self.request.settimeout(self.timeout)
            self._admit()
            super().handle()
        except OSError as error:
            _log.info("a connection ended", extra={"reason": repr(error)})

    def finish(self) -> None:
        self.server.leave(self.request)
        try:
            super().finish()
        except OSError as error:
            _log.info("a connection ended", extra={"reason": repr(error)})
        finally:
            self.rfile.close()  # else it keeps the socket open, when the last flush failed
            self.request.close()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length") or ""
        if not length.isdigit() or int(length) > wire.LARGEST_REQUEST:
            self.close_connection = True
            self._send(refusal(413, f"a call has at most {wire.LARGEST_REQUEST} bytes"))
            return
        body = self.rfile.read(int(length))
        if self.refused:
            self._send(refusal(403, self.refused))
        elif self.path != wire.PATH:
            self._send(refusal(404, "no such address"))
        else:
            self._send(self.server.desk.answer(body, self.client))

    def do_GET(self) -> None:
        self._send(refusal(405 if self.path == wire.PATH else 404, "ask by POST"))

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("http", extra={"line": format % args})

    def _admit(self) -> None:
        """TLS says that the bank's CA issued the certificate; the role in it says what for."""
        encoded = self.request.getpeercert(binary_form=True)
        leaf = x509.load_der_x509_certificate(encoded)
        self.client = leaf.subject.rfc4514_string()
        if role_of(leaf) != CONNECTOR:
            self.refused = f"your TLS certificate does not give you the role {CONNECTOR}"
            _log.warning("refused", extra={"client": self.client, "reason": self.refused})

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", _JSON)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)
