"""The chaincode server: protos.Chaincode/Connect over mutual TLS, bound to the peer's name.

Any certificate of the peers' CA would pass TLS (docs/fabric.md), so the name in the certificate is
checked as well. Started as `python -m chaincode.cli serve --config server.json`.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from chaincode.adapter import PaymentChaincode
from chaincode.digest import check_package
from chaincode.settings import ServerSettings, SettingsError, TlsFiles
from chaincode.shim.errors import ProtocolError
from chaincode.shim.stream import Limits, PeerStream
from chaincode.shim.stub import Chaincode
from chaincode.transport.calls import Call
from chaincode.transport.frames import Status
from chaincode.transport.listener import Listener, server_tls
from chaincode.transport.messages import CallFaultError
from clearline import garbage
from clearline.logs import get_logger

_log = get_logger(__name__)
_PATH = "/protos.Chaincode/Connect"


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
        self._listener = Listener(self._connect)
        self._streams: set[PeerStream] = set()
        self._ends: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen; answers the port. Raises SettingsError when files or the port can't be used."""
        listen, tls = self._settings.listen, _tls(self._settings.tls)
        host, _, port = listen.rpartition(":")
        try:
            return await self._listener.start(host.strip("[]"), int(port), tls)
        except OSError as error:
            raise SettingsError(f"can't listen on {listen}: is the port taken?") from error

    async def stop(self) -> None:
        """End all streams and close the port."""
        await self._listener.stop()
        await asyncio.gather(*(stream.end() for stream in self._streams), *self._ends)

    def _connect(self, call: Call) -> None:
        """A peer's stream, or something else that the port is no place for."""
        if call.path != _PATH:
            call.finish(Status.UNIMPLEMENTED, f"there is no {call.path} here")
            return
        names = sorted(call.peer_names)
        if not call.peer_names.intersection(self._settings.peer_names):
            _log.warning("refused a peer", extra={"names": names})
            text = f"the certificate names {names}, none of which may use this chaincode"
            call.finish(Status.PERMISSION_DENIED, text)
            return
        _log.info("peer connected", extra={"names": names})
        stream = PeerStream(
            self._chaincode, self._settings.chaincode_id, self._limits, self._clock, call.send
        )
        self._streams.add(stream)
        call.serve(_Handler(call, stream, lambda: self._left(stream, names)))
        stream.begin()

    def _left(self, stream: PeerStream, names: list[str]) -> None:
        _log.info("peer left", extra={"names": names})
        self._streams.discard(stream)
        task = asyncio.get_running_loop().create_task(stream.end())
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)


class _Handler:
    """A call's messages for a stream, and the stream's end for the call."""

    def __init__(self, call: Call, stream: PeerStream, left: Callable[[], None]) -> None:
        self._call = call
        self._stream = stream
        self._left = left

    def received(self, message: bytes) -> None:
        try:
            self._stream.received(message)
        except ProtocolError as error:
            _log.warning("ended a stream", extra={"reason": str(error)})
            raise CallFaultError(Status.INVALID_ARGUMENT, str(error)) from error

    def ended(self) -> None:
        self._left()
        self._call.finish(Status.OK)


def _tls(files: TlsFiles) -> ssl.SSLContext:
    for file in (files.key, files.cert, files.client_ca):
        try:
            file.read_bytes()
        except OSError as error:
            raise SettingsError(f"{error.filename}: {error.strerror}") from error
    try:
        return server_tls(files.cert, files.key, files.client_ca)
    except ssl.SSLError as error:
        names = ", ".join(str(file) for file in (files.cert, files.key, files.client_ca))
        raise SettingsError(f"no TLS with {names}: {error}") from error


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
