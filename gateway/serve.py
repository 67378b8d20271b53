"""The HTTP process: gunicorn with threaded workers over TLS."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import ThreadWorker

from clearline.codes import Code
from clearline.logs import get_logger
from gateway import problems
from gateway.settings import Settings, SettingsError

_SILENCE: Final = struct.pack("ll", 15, 0)  # struct timeval: seconds a read or write may stall
_log = get_logger("clearline.gateway.serve")


class QuietLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's words in this house's logs; requests are logged by the application."""

    def setup(self, cfg: Any) -> None:
        """Hand everything on to the root logger."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.setLevel(logging.INFO)


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker; what it refuses by itself is a problem document too."""

    def enqueue_req(self, conn: Any) -> None:
        """A client that stalls lets go of its thread in the end."""
        if not conn.initialized:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SILENCE)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SILENCE)
        super().enqueue_req(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what is no HTTP request without gunicorn's page."""
        if isinstance(exc, ssl.SSLError):
            return  # no TLS, nobody to answer
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        _log.info("not an HTTP request", extra={"reason": str(exc)})
        code = Code.MALFORMED
        body = json.dumps(
            problems.document(code, "the request is no HTTP/1.1 as it is served here")
        )
        head = (
            f"HTTP/1.1 {code.http_status} Bad Request\r\n"
            f"Content-Type: {problems.MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        with contextlib.suppress(OSError):  # it may have gone away
            client.sendall((head + body).encode("ascii"))


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured by our settings only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Every option that differs from gunicorn's defaults."""
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        options: dict[str, object] = {
            "bind": f"{host}:{settings.port}",
            "worker_class": "gateway.serve.Worker",
            "workers": settings.workers,
            "threads": settings.threads,
            "worker_connections": 1000,
            "certfile": str(settings.certificate),
            "keyfile": str(settings.private_key),
            "ssl_context": _ssl_context,
            # Longer than clients keep a connection, so that they are the ones to close it.
            "keepalive": 75,
            "timeout": 60,
            "graceful_timeout": 10,
            "forwarded_allow_ips": "",
            "control_socket_disable": True,
            "logger_class": QuietLogger,
            "proc_name": settings.name,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application, made in each worker."""
        from gateway.app import create_app  # after the folder of its counters is known

        return create_app(self._settings)


_contexts: dict[int, ssl.SSLContext] = {}


def _ssl_context(_config: object, factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """One context a process: gunicorn would read the files anew for each connection."""
    context = _contexts.get(os.getpid())
    if context is None:
        context = factory()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _contexts.clear()
        _contexts[os.getpid()] = context
    return context


def run(settings: Settings) -> None:
    """Serve until SIGTERM. Raises SettingsError when the TLS files can't be used."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.certificate, settings.private_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"can't use {settings.certificate} and {settings.private_key}: {error}"
        ) from None
    _count_in(settings.data_dir / "metrics")
    Server(settings).run()


def _count_in(folder: Path) -> None:
    """Where the workers keep their counters; what an earlier server counted is over."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise SettingsError(f"can't write {folder}: {error.strerror}") from None
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
