"""The chaincode server: protos.Chaincode/Connect over mutual TLS, bound to the peer's name.

Any certificate of the peers' CA would pass TLS (docs/fabric.md), so the name in the certificate is
checked as well. Started as `python -m chaincode.cli serve --config server.json`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio

from chaincode.adapter import PaymentChaincode
from chaincode.digest import check_package
from chaincode.settings import ServerSettings, SettingsError, TlsFiles
from chaincode.shim.errors import ProtocolError
from chaincode.shim.stream import MAX_MESSAGE_BYTES, Limits, PeerStream
from chaincode.shim.stub import Chaincode
from clearline import garbage
from clearline.logs import get_logger

_log = get_logger(__name__)
# A peer's stream never ends by itself, so this is how long stopping takes.
_GRACE_SECONDS = 0.3
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second server on the port is a mistake, not load sharing
    # Fabric's peers ping idle streams; grpcio's defaults would answer too_many_pings.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class ChaincodeServer:
    """One chaincode, served to the peers that its settings name."""

    def __init__(
        self,
        settings: ServerSettings,
        chaincode: Chaincode,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._chaincode = chaincode
        self._clock = clock
        self._limits = Limits(
            transaction_timeout=timedelta(seconds=settings.transaction_timeout_seconds),
            clock_window=timedelta(seconds=settings.clock_window_seconds),
            max_transaction_bytes=settings.max_transaction_bytes,
            max_transactions=settings.max_transactions,
        )
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listen; answers the port. Raises SettingsError when files or the port can't be used."""
        server = grpc.aio.server(options=_OPTIONS)
        connect = grpc.stream_stream_rpc_method_handler(self._connect)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("protos.Chaincode", {"Connect": connect}),)
        )
        listen = self._settings.listen
        try:
            port = server.add_secure_port(listen, _credentials(self._settings.tls))
        except RuntimeError as error:
            raise SettingsError(f"can't listen on {listen}: is the port taken?") from error
        await server.start()
        self._server = server
        return port

    async def stop(self) -> None:
        """End all streams and close the port."""
        if self._server is not None:
            await self._server.stop(_GRACE_SECONDS)
            self._server = None

    async def _connect(self, _: Any, context: Any) -> None:
        names = _peer_names(context)
        if not names.intersection(self._settings.peer_names):
            _log.warning("refused a peer", extra={"names": sorted(names)})
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the certificate names {sorted(names)}, none of which may use this chaincode",
            )
        _log.info("peer connected", extra={"names": sorted(names)})
        stream = PeerStream(self._chaincode, self._settings.chaincode_id, self._limits, self._clock)
        try:
            await stream.run(_GrpcWire(context))
        except ProtocolError as error:
            _log.warning("ended a stream", extra={"reason": str(error)})
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        _log.info("peer left", extra={"names": sorted(names)})


class _GrpcWire:
    """A gRPC stream's bytes."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def receive(self) -> bytes | None:
        raw = await self._context.read()
        return None if raw is grpc.aio.EOF else raw  # type: ignore[attr-defined]

    async def send(self, raw: bytes) -> None:
        await self._context.write(raw)


def _peer_names(context: Any) -> frozenset[str]:
    """DNS names in the client's certificate, which TLS has verified against client_ca."""
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return frozenset(name.decode(errors="replace") for name in names)


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    try:
        key, cert, client_ca = (file.read_bytes() for file in (tls.key, tls.cert, tls.client_ca))
    except OSError as error:
        raise SettingsError(f"{error.filename}: {error.strerror}") from error
    return grpc.ssl_server_credentials([(key, cert)], client_ca, require_client_auth=True)


async def serve(settings: ServerSettings) -> None:
    """Check the package, serve until SIGTERM or SIGINT. Raises PackageError, SettingsError."""
    check_package(settings.package, settings.chaincode_id)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = ChaincodeServer(settings, PaymentChaincode(settings.network))
    port = await server.start()
    garbage.settle()
    fields = {"port": port, "chaincode_id": settings.chaincode_id, "network": settings.network}
    _log.info("serving", extra=fields)
    await stopping.wait()
    await server.stop()
