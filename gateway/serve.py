"""The HTTP process: gunicorn with threaded workers over TLS."""

from __future__ import annotations

import importlib
import logging
import os
import resource
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from clearline import garbage
from gateway.server.tether import Tether
from gateway.settings import Settings, SettingsError
from gateway.shared_buckets import SharedBuckets

# Files a worker has open beside its connections: three of the projection in each thread, which
# are twice `threads`; logs, counters.
_OTHER_FILES, _FILES_A_THREAD = 256, 8


class QuietLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's words in this house's logs; requests are logged by the application."""

    def setup(self, cfg: Any) -> None:
        """Hand everything on to the root logger."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.setLevel(logging.INFO)


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, configured by our settings only."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tether = Tether()
        # Made before the workers are: what one grants is gone for the others too.
        self._reads = SharedBuckets(settings.limits.read_rate, settings.limits.read_burst)
        super().__init__()

    def load_config(self) -> None:
        """Every option that differs from gunicorn's defaults."""
        settings = self.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        options: dict[str, object] = {
            "bind": f"{host}:{settings.port}",
            "worker_class": "gateway.server.worker.Worker",
            "workers": settings.workers,
            "threads": settings.threads,
            "worker_connections": settings.limits.connections,
            "certfile": str(settings.certificate),
            "keyfile": str(settings.private_key),
            "ssl_context": _ssl_context,
            "post_fork": self._forked,
            # A worker's poller waits for nobody: one that is silent for so long is stuck.
            "timeout": 30,
            "graceful_timeout": 10,
            "forwarded_allow_ips": "",
            "control_socket_disable": True,
            "logger_class": QuietLogger,
            "proc_name": settings.name,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def _forked(self, _master: Any, _worker: Any) -> None:
        self._tether.hold()

    def load(self) -> Flask:
        """The application, made in each worker."""
        from gateway.app import create_app  # after the folder of its counters is known

        app = create_app(self.settings, self._reads)
        garbage.settle()
        return app


_contexts: dict[int, ssl.SSLContext] = {}


def _ssl_context(_config: object, factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """One context a process: gunicorn would read the files anew for each connection."""
    context = _contexts.get(os.getpid())
    if context is None:
        context = factory()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # dear for the server, of no use to a client
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
    others = _OTHER_FILES + _FILES_A_THREAD * settings.threads
    _allow_files(settings.limits.connections + others)
    _count_in(settings.data_dir / "metrics")
    # Read once, before the workers are made: each would take as long again to be there.
    importlib.import_module("gateway.app")
    importlib.import_module("gateway.server.worker")
    Server(settings).run()


def _allow_files(wanted: int) -> None:
    """Have the system allow as many open files, as far as it may; what it gives some is 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _count_in(folder: Path) -> None:
    """Where the workers keep their counters; what an earlier server counted is over."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise SettingsError(f"can't write {folder}: {error.strerror}") from None
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
