"""HTTPS on the wire: signatures, connections that are kept, the listener for notices.

Written from the acquirer's document (docs/acquirers.md): the acquirer is another company with code
of its own. Signatures are Ed25519 (RFC 8032) over a text that names kind, subject, time, nonce and
digest. Sockets are the standard library's, blocking, in threads; the faces are asynchronous.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import re
import secrets
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from clearline.logs import get_logger
from clearline.statuses import Reason
from connector.adapter import NoAnswerError, NotSentError

_log = get_logger("connector.qr_wallet")
NOTICE_PATH: Final = "/notices"
_PARTNER, _TIME, _NONCE, _SIGNATURE = "Qrw-Partner", "Qrw-Time", "Qrw-Nonce", "Qrw-Signature"
_TIME_FORM: Final = re.compile("[0-9]{1,11}")
_NONCE_FORM: Final = re.compile("[0-9a-f]{32}")
_SIGNATURE_FORM: Final = re.compile("[0-9a-f]{128}")
_MOST_SECONDS: Final = 300
_LARGEST: Final = 64 * 1024
_KEPT_SECONDS: Final = 10.0  # well under the acquirer's own patience with silent connections
_IDLE_SECONDS: Final = 15.0


class WireError(Exception):
    """What came is not a message of this protocol, or not the acquirer's."""


@dataclass(frozen=True, slots=True)
class Partner:
    """Where the acquirer is and what was exchanged with it. `pay_url` holds `{reference}`."""

    url: str
    tls_ca: Path
    server_name: str
    partner_id: str
    private_key: Ed25519PrivateKey = field(repr=False)
    wallet_key: Ed25519PublicKey
    pay_url: str
    notice_certificate: Path
    notice_private_key: Path


@dataclass(frozen=True, slots=True)
class Native:
    """An answer as received and verified: HTTP status and body."""

    status: int
    raw: bytes


def _text(kind: str, subject: str, at: str, nonce: str, body: bytes) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    return f"QRW1\n{kind}\n{subject}\n{at}\n{nonce}\n{digest}".encode()


def signed(partner: Partner, subject: str, body: bytes) -> dict[str, str]:
    """The headers of a request; `subject` is its method and path."""
    at, nonce = str(int(time.time())), secrets.token_hex(16)
    signature = partner.private_key.sign(_text("request", subject, at, nonce, body))
    return {
        _PARTNER: partner.partner_id, _TIME: at, _NONCE: nonce, _SIGNATURE: signature.hex(),
    }  # fmt: skip


def verify(
    key: Ed25519PublicKey, kind: str, subject: str, body: bytes, headers: Mapping[str, str]
) -> None:
    """Raises WireError unless the acquirer signed exactly this, within five minutes of now."""
    at, nonce = headers.get(_TIME) or "", headers.get(_NONCE) or ""
    signature = headers.get(_SIGNATURE) or ""
    if not (
        _TIME_FORM.fullmatch(at)
        and _NONCE_FORM.fullmatch(nonce)
        and _SIGNATURE_FORM.fullmatch(signature)
    ):
        raise WireError("the message is not signed")
    try:
        key.verify(bytes.fromhex(signature), _text(kind, subject, at, nonce, body))
    except InvalidSignature:
        raise WireError("the signature is wrong") from None
    if abs(time.time() - int(at)) > _MOST_SECONDS:
        raise WireError("the message's time is more than five minutes from ours")


@dataclass(frozen=True, slots=True)
class _Kept:
    connection: http.client.HTTPSConnection
    since: float


class Client:
    """Sends requests, at most `connections` at once; connections are kept for a few seconds."""

    def __init__(self, partner: Partner, timeout_seconds: float, connections: int) -> None:
        parts = urlsplit(partner.url)
        self._partner = partner
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._timeout = timeout_seconds
        self._kept: list[_Kept] = []
        self._closed = False
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(connections, "qr-wallet")
        self._context = ssl.create_default_context(cafile=str(partner.tls_ca))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    async def ask(self, method: str, path: str, body: bytes) -> Native:
        """Send and wait for the answer, whose signature is good.

        Raises NotSentError while nothing was written, NoAnswerError afterwards.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._ask, method, path, body)

    async def close(self) -> None:
        """Close; a thread that waits for an answer ends with it, or with its time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._closed = True
            kept, self._kept = self._kept, []
        for one in kept:
            one.connection.close()

    def _ask(self, method: str, path: str, body: bytes) -> Native:
        headers = signed(self._partner, f"{method} {path}", body)
        connection = self._connection()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            raw = answer.read(_LARGEST)
            received = {name.title(): text for name, text in answer.getheaders()}
            subject = f"{answer.status} {headers[_NONCE]}"
            verify(self._partner.wallet_key, "answer", subject, raw, received)
        except TimeoutError:
            connection.close()
            raise NoAnswerError(Reason.TIMED_OUT) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            _log.info("connection lost", extra={"reason": repr(error)})
            raise NoAnswerError(Reason.CONNECTION_LOST) from None
        except WireError as error:
            connection.close()
            _log.error("not the acquirer's answer", extra={"path": path, "reason": str(error)})
            raise NoAnswerError(Reason.OTHER) from None
        self._keep(connection)
        return Native(answer.status, raw)

    def _connection(self) -> http.client.HTTPSConnection:
        """One that is connected; from here on nobody can prove that nothing was sent."""
        while (kept := self._take_kept()) is not None:
            if time.monotonic() - kept.since < _KEPT_SECONDS and _alive(kept.connection.sock):
                return kept.connection
            kept.connection.close()
        connection = _Connection(
            self._host, self._port, self._partner.server_name, self._timeout, self._context
        )
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NotSentError(f"can't connect: {error!r}") from None
        return connection

    def _take_kept(self) -> _Kept | None:
        with self._lock:
            return self._kept.pop() if self._kept else None

    def _keep(self, connection: http.client.HTTPSConnection) -> None:
        with self._lock:
            if not self._closed:
                self._kept.append(_Kept(connection, time.monotonic()))
                return
        connection.close()


def _alive(sock: socket.socket | None) -> bool:
    """Whether a silent connection still stands: one that can be read was closed over there."""
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return not poll.poll(0)


class _Connection(http.client.HTTPSConnection):
    """Verifies the certificate for the name the acquirer gave, wherever it is reached."""

    def __init__(
        self, host: str, port: int, server_name: str, timeout: float, context: ssl.SSLContext
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls = context
        self._server_name = server_name

    def connect(self) -> None:
        # Wrapped first: of a connection that is reset meanwhile, ssl would leave the socket open.
        family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
        plain = socket.socket(family, socket.SOCK_STREAM)
        plain.settimeout(self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._server_name)
        self.sock.connect((self.host, self.port))


TakeNotice = Callable[[bytes], bool]


class Listener:
    """Listens for notices in threads; `take` gets the body of each that the acquirer signed, and
    says whether to acknowledge it (204) or have it sent again (503)."""

    def __init__(self, partner: Partner, host: str, port: int, take: TakeNotice) -> None:
        """Raises OSError when the port is taken, ssl.SSLError for bad TLS files."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(partner.notice_certificate, partner.notice_private_key)
        self._server = _Server((host, port), context, partner.wallet_key, take)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="notices"
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_port

    def close(self) -> None:
        """Stop listening; connections end."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        tls: ssl.SSLContext,
        key: Ed25519PublicKey,
        take: TakeNotice,
    ) -> None:
        self.tls = tls
        self.key = key
        self.take = take
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.info("a connection to the notice listener ended", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "clearline"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def setup(self) -> None:
        self.request.settimeout(self.timeout)
        self.request.getpeername()  # raises when it is gone: wrapped, ssl would leave it open
        self.request = self.server.tls.wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        )
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        except OSError as error:
            _log.info("a notice's connection ended", extra={"reason": repr(error)})
        finally:
            self.rfile.close()
            self.request.close()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length") or ""
        if not length.isdigit() or int(length) > _LARGEST:
            self._end(413)
            return
        body = self.rfile.read(int(length))
        if self.path != NOTICE_PATH:
            self._end(404)
            return
        received = {name.title(): text for name, text in self.headers.items()}
        try:
            verify(self.server.key, "notice", f"POST {NOTICE_PATH}", body, received)
        except WireError as error:
            _log.warning("a notice that is not the acquirer's", extra={"reason": str(error)})
            self._end(401)
            return
        self._end(204 if self.server.take(body) else 503)

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("http", extra={"line": format % args})

    def _end(self, status: int) -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
