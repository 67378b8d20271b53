"""gRPC over mutual TLS, as every embedded node serves and dials it.

Handlers work on raw message bytes: a block is forwarded as it is stored, never parsed and built
again. Servers are `grpc.aio` with generic handlers; generated servicers are not used.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 100 * 1024 * 1024
"""Fabric's own limit (internal/pkg/comm/config.go)."""

_SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Fabric's peers and its command line ping often and while idle; grpcio would otherwise end
    # their connections with "too_many_pings" (docs/fabric.md).
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Two nodes on one port would silently share its connections.
    ("grpc.so_reuseport", 0),
)

_CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A node that restarts is back within a second; the default waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # What one attempt to connect may take, TLS included, whatever its name says.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class BindError(OSError):
    """The address can't be listened on: taken, or not this machine's."""


@dataclass(frozen=True)
class TlsIdentity:
    """A node's own TLS certificate (chain) and private key, PEM."""

    certificate: bytes
    private_key: bytes


def certificate_hash(pem: bytes) -> bytes:
    """SHA-256 of a certificate's DER, to which a seek is bound (common/deliver/binding.go)."""
    certificate = x509.load_pem_x509_certificate(pem)
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


ClientRoots = Callable[[], bytes]
"""Answers the PEM bundle of CAs whose clients may connect; asked at each handshake."""


UnaryHandler = Callable[[bytes, Any], Awaitable[bytes]]
"""async (request bytes, context) -> response bytes"""

ServerStreamHandler = Callable[[bytes, Any], AsyncIterator[bytes] | Awaitable[None]]
"""async generator of response bytes, or a coroutine that calls `context.write`"""

StreamHandler = Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes] | Awaitable[None]]
"""(async iterator of request bytes, context): an async generator of response bytes, or a
coroutine that calls `context.write(bytes)`"""


def unary(handler: UnaryHandler) -> Any:
    """A method with one request and one answer, both raw bytes."""
    return grpc.unary_unary_rpc_method_handler(handler)


def server_stream(handler: ServerStreamHandler) -> Any:
    """A method with one request and a stream of answers, raw bytes."""
    return grpc.unary_stream_rpc_method_handler(handler)


def bidi_stream(handler: StreamHandler) -> Any:
    """A method with a stream each way, raw bytes."""
    return grpc.stream_stream_rpc_method_handler(handler)


def service(name: str, methods: Mapping[str, Any]) -> Any:
    """A service (its full protobuf name) from `unary`, `server_stream`, `bidi_stream` methods."""
    return grpc.method_handlers_generic_handler(name, dict(methods))


class Server:
    """A `grpc.aio` server with mutual TLS: a client certificate of `client_roots` is required."""

    def __init__(
        self,
        listen: str,
        tls: TlsIdentity,
        client_roots: ClientRoots,
        services: tuple[Any, ...],
    ) -> None:
        """`listen` is host:port; port 0 takes a free one (see `port` after `start`)."""
        self._listen = listen
        self._services = services
        self._credentials = _server_credentials(tls, client_roots)
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> int:
        """Listen and serve; answers the port.

        Raises BindError with the address when it can't be listened on.
        """
        server = grpc.aio.server(options=_SERVER_OPTIONS)
        for handler in self._services:
            server.add_generic_rpc_handlers((handler,))
        try:
            self.port = server.add_secure_port(self._listen, self._credentials)
        except RuntimeError as error:
            raise BindError(f"cannot listen on {self._listen}: {error}") from error
        if self.port == 0:
            raise BindError(f"cannot listen on {self._listen}")
        await server.start()
        self._server = server
        return self.port

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """Take no new calls, give running ones `grace_seconds`, then cancel them."""
        if self._server is not None:
            await self._server.stop(grace_seconds)
            self._server = None

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self._server is not None:
            await self._server.wait_for_termination()


def _server_credentials(tls: TlsIdentity, client_roots: ClientRoots) -> Any:
    """Credentials whose client CAs follow the channel configuration without a restart."""
    pair = [(tls.private_key, tls.certificate)]
    current = client_roots()

    def fetch() -> Any:
        nonlocal current
        try:
            wanted = client_roots()
        except Exception:
            # An exception here would reach gRPC's core thread; the last good roots stay.
            _log.exception("client CAs could not be read")
            return None
        if wanted == current:
            return None
        current = wanted
        return grpc.ssl_server_certificate_configuration(pair, root_certificates=wanted)

    initial = grpc.ssl_server_certificate_configuration(pair, root_certificates=current)
    return grpc.dynamic_ssl_server_credentials(initial, fetch, require_client_authentication=True)


def channel(
    endpoint: str, roots: bytes, tls: TlsIdentity, server_name: str | None = None
) -> grpc.aio.Channel:
    """Dial `endpoint` (host:port) with mutual TLS.

    `roots` is a PEM bundle; `server_name` the DNS name the server's certificate must carry
    (default: the endpoint's host). Nothing is connected before the first call.
    """
    options: list[tuple[str, int | str]] = list(_CHANNEL_OPTIONS)
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
        options.append(("grpc.default_authority", server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=roots,
        private_key=tls.private_key,
        certificate_chain=tls.certificate,
    )
    return grpc.aio.secure_channel(endpoint, credentials, options=options)


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a node's main coroutine on uvloop; answers its exit status."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
