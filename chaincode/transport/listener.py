"""Listens with mutual TLS and has a `Connection` for whoever comes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from chaincode.transport.calls import Call
from chaincode.transport.connection import Connection
from chaincode.transport.keepalive import Patience
from clearline.logs import get_logger

_HANDSHAKE_SECONDS = 10.0
_SHUTDOWN_SECONDS = 0.3
_PATIENCE = Patience()
# Of one certificate's names: a peer has one for each chaincode, and nobody may take all files.
_MOST_CONNECTIONS = 64
_STOPPED = "the server stops"
_log = get_logger(__name__)
Accept = Callable[[Call], None]
"""Called with each new call; finishes it, or has a handler serve it."""


def server_tls(certificate: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """TLS 1.2 or later that takes only clients with a certificate of `client_ca` (PEM files).

    Raises OSError, of which ssl.SSLError is one, when they can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # RFC 9113 section 9.2, for TLS 1.2: no renegotiation, and none of its appendix A's ciphers.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    # A peer dials once and stays: sessions to resume would only keep old certificates alive.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    context.load_verify_locations(client_ca)
    context.load_cert_chain(certificate, key)
    return context


class Listener:
    """A port and its connections."""

    def __init__(self, accept: Accept, patience: Patience = _PATIENCE) -> None:
        self._accept = accept
        self._patience = patience
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext) -> int:
        """Listen (port 0: a free one); answers the port. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self, self._patience),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """End all calls with UNAVAILABLE and close everything; at most about a second."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for connection in list(self._connections):
            connection.shut(_STOPPED)
        await self._emptied()
        for connection in list(self._connections):
            connection.abort()
        await self._emptied()

    async def _emptied(self) -> None:
        if self._connections:
            gone = [connection.gone for connection in self._connections]
            await asyncio.wait(gone, timeout=2 * _SHUTDOWN_SECONDS)

    # The connections' side

    def enters(self, connection: Connection) -> bool:
        """A connection whose handshake is done: whether it may stay. None once we stop."""
        names = connection.names
        alike = sum(1 for other in self._connections if other.names == names)
        if alike >= _MOST_CONNECTIONS:
            _log.warning("refused a connection", extra={"names": sorted(names), "open": alike})
        elif self._server is not None:
            self._connections.add(connection)
            return True
        return False

    def leaves(self, connection: Connection) -> None:
        """It is gone."""
        self._connections.discard(connection)

    def take(self, call: Call) -> None:
        """A new call of a connection."""
        self._accept(call)
