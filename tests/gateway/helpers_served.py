"""A gateway of two processes over a ledger in this one, and clients that behave badly."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from helpers_gateway import (
    REGISTRY,
    Process,
    record_name,
    token,
    until,
    write_identity,
    write_settings,
)
from helpers_ledger import Ledger

from clearline import free_ports, records
from clearline.fabric.profile import Profile


@dataclass
class Served:
    """A gateway of two processes over a ledger in this one."""

    ledger: Ledger
    committer: Process
    server: Process
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.folder / "cert.pem")
        return session

    def post(self, compact: str, session: requests.Session | None = None, **headers: str) -> Any:
        return (session or self.session()).post(
            f"{self.url}/v1/payments",
            data=compact,
            headers={"Content-Type": "application/jose"} | headers,
            timeout=20,
        )

    def get(self, path: str) -> Any:
        return self.session().get(self.url + path, headers=token(), timeout=20)

    def alive(self) -> bool:
        return self._says("/healthz")

    def ready(self) -> bool:
        return self._says("/readyz")

    def _says(self, path: str) -> bool:
        try:
            return bool(self.session().get(self.url + path, timeout=5).ok)
        except requests.ConnectionError:
            return False

    def context(self) -> ssl.SSLContext:
        """Trusts this gateway."""
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))

    def tcp(self) -> socket.socket:
        """A connection without TLS."""
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def tls(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """A connection through the handshake; wrapped before it is connected, so that none is
        left open when it fails in between."""
        wrapped = context.wrap_socket(socket.socket(), server_hostname="localhost")
        try:
            wrapped.settimeout(10)
            wrapped.connect(("127.0.0.1", self.port))
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def raw(self, data: bytes, answers: int = 1) -> bytes:
        """What the server answers to these bytes over TLS, or what it has until it closes."""
        with self.tls(self.context()) as wrapped:
            wrapped.sendall(data)
            answer = b""
            while part := wrapped.recv(65_536):
                answer += part
                if answer.count(b"\r\n\r\n") == answers and answer.endswith(b"}"):
                    break
            return answer


@contextmanager
def open_served(folder: Path, **limits: int) -> Iterator[Served]:
    """Both processes, ready; their exit statuses are checked at the end."""
    write_identity(folder)
    ledger = Ledger(folder / "cert.pem", folder / "key.pem")
    port = free_ports.choose()
    bounds: dict[str, Any] = {"commit_wait_s": 3} | limits
    path = write_settings(folder, ledger.peer.endpoint, port, **bounds)
    ledger.use(Profile.load(folder / "profile.json"))
    for record in REGISTRY:
        ledger.write(records.record_key(*record_name(record)), records.dump(record))
    committer = Process(folder, "committer", "committer", "--config", str(path))
    server = Process(folder, "serve", "serve", "--config", str(path))
    committer.start()
    server.start()
    opened = Served(ledger, committer, server, folder, port)
    try:
        until(opened.ready, 20)
        yield opened
        # Here, not later: what a test started in its place is not to be asked.
        statuses = (server.stop(), committer.stop())
    except BaseException:
        server.stop()
        committer.stop()
        raise
    finally:
        ledger.close()
    assert statuses == (0, 0), (server.log.read_text(), committer.log.read_text())


def ended(connection: socket.socket) -> bool:
    """Whether the server has closed it; waits for that as long as the socket's time-out is."""
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except OSError:  # reset is closed as well
        return True
