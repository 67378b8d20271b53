"""A key that a signing service holds, reached over HTTPS with mutual TLS."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from clearline.signers import wire
from clearline.signers.holders import Answer, SignerDownError
from clearline.signers.settings import RemoteKey, SignerSettingsError
from clearline.signers.wire import WireError

# How a connection ends that the service closed while nobody used it.
_CUT: Final = (ConnectionError, ssl.SSLEOFError, http.client.BadStatusLine)


class RemoteHolder:
    """One connection, kept from call to call; used from one thread, `interrupt` from any."""

    def __init__(self, settings: RemoteKey, key_id: str) -> None:
        """Raises SignerSettingsError for TLS files that can't be used."""
        self._settings = settings
        self._key_id = key_id
        self._context = _context(settings)
        self._kept: _Connection | None = None

    def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        """See Holder."""
        body = wire.request_body(self._key_id, messages)
        where = f"{self._settings.host}:{self._settings.port}"
        try:
            answers = self._ask(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SignerDownError(f"the signer at {where}: {_said(error)}") from None
        except WireError as error:
            self.close()
            raise SignerDownError(f"the signer at {where} answers nonsense: {error}") from None
        if len(answers) != len(messages):
            raise SignerDownError(
                f"the signer at {where} answers {len(answers)} of {len(messages)}"
            )
        return answers

    def interrupt(self) -> None:
        """The call ends with an error: its socket is shut."""
        kept = self._kept
        sock = None if kept is None else kept.sock
        if sock is not None:
            # The plain socket's shutdown: SSLSocket's own takes TLS away under the reading thread.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _ask(self, body: bytes) -> list[Answer]:
        if self._kept is not None:
            try:
                return self._exchange(self._kept, body)
            except _CUT:
                self.close()  # signing the same again does no harm
        self._kept = _Connection(self._settings, self._context)
        return self._exchange(self._kept, body)

    def _exchange(self, connection: _Connection, body: bytes) -> list[Answer]:
        connection.request("POST", wire.PATH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        raw = answer.read(wire.LARGEST_ANSWER + 1)
        if len(raw) > wire.LARGEST_ANSWER:
            raise WireError(f"longer than {wire.LARGEST_ANSWER} bytes")
        if answer.status != 200:
            raise WireError(f"{answer.status} {wire.parse_error(raw)}".strip())
        return wire.parse_answers(raw)


class _Connection(http.client.HTTPSConnection):
    """Verifies the certificate for the name the settings give, wherever it is reached."""

    def __init__(self, settings: RemoteKey, context: ssl.SSLContext) -> None:
        super().__init__(
            settings.host, settings.port, timeout=settings.timeout_seconds, context=context
        )
        self._tls = context
        self._server_name = settings.server_name

    def connect(self) -> None:
        # Wrapped first: of a connection that is reset meanwhile, ssl would leave the socket open.
        family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
        plain = socket.socket(family, socket.SOCK_STREAM)
        plain.settimeout(self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._server_name)
        self.sock.connect((self.host, self.port))


def _context(settings: RemoteKey) -> ssl.SSLContext:
    # The settings' CA alone: the machine's trust store has no say in who signs for a bank.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(settings.tls_ca)
        context.load_cert_chain(settings.certificate, settings.private_key)
    except (OSError, ssl.SSLError) as error:
        files = f"{settings.tls_ca}, {settings.certificate}, {settings.private_key}"
        raise SignerSettingsError(f"signer/remote: can't use {files}: {error}") from None
    return context


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
