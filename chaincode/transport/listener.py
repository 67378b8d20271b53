"""Listens with mutual TLS and has a `Connection` for whoever comes."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from chaincode.transport.calls import Call
from chaincode.transport.connection import Accept, Connection, Patience
from chaincode.transport.frames import Status

_HANDSHAKE_SECONDS = 10.0
_SHUTDOWN_SECONDS = 0.3
_PATIENCE = Patience()
_STOPPED = "the server stops"


def server_tls(certificate: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """TLS 1.2 or later that takes only clients with a certificate of `client_ca` (PEM files).

    Raises OSError, of which ssl.SSLError is one, when they can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
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
            lambda: Connection(self._take, self._connections, self._patience),
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
        if self._connections:
            gone = [connection.gone for connection in self._connections]
            await asyncio.wait(gone, timeout=2 * _SHUTDOWN_SECONDS)
        for connection in list(self._connections):
            connection.abort()

    def _take(self, call: Call) -> None:
        """A new call: none once we stop, on a connection whose handshake was under way."""
        if self._server is None:
            call.finish(Status.UNAVAILABLE, _STOPPED)
        else:
            self._accept(call)
