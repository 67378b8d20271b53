"""The wallet's clerk: does what is due - a payer's act, a notice to the bank - one by one."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from acquirers.qr_wallet import signing
from acquirers.qr_wallet.book import Book, Due
from acquirers.qr_wallet.settings import WalletSettings
from acquirers.qr_wallet.wallet import NOTICE, Wallet
from clearline.logs import get_logger

_log = get_logger("acquirers.qr_wallet")
_NOTICE_TIMEOUT_SECONDS = 3.0
_SENDERS = 8


class Clerk:
    """`wake` it when something was planned. `lock` guards the book."""

    def __init__(
        self, book: Book, wallet: Wallet, settings: WalletSettings, lock: threading.Lock
    ) -> None:
        self._book = book
        self._wallet = wallet
        self._settings = settings
        self._lock = lock
        self._woken = threading.Event()
        self._stopped = False
        self._sending: set[int] = set()
        self._senders = ThreadPoolExecutor(_SENDERS, "notice")
        self._context = ssl.create_default_context(cafile=str(settings.notice_ca))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._thread = threading.Thread(target=self._work, name="clerk")

    def start(self) -> None:
        """Begin; goes on with what an earlier process had planned."""
        self._thread.start()

    def stop(self) -> None:
        """End, notices under way included."""
        self._stopped = True
        self._woken.set()
        self._thread.join()
        self._senders.shutdown()

    def wake(self) -> None:
        """Something was planned."""
        self._woken.set()

    def _work(self) -> None:
        while not self._stopped:
            self._woken.clear()
            with self._lock:
                planned = [due for due in self._book.planned() if due.number not in self._sending]
            now = time.time()
            for due in planned:
                if due.at <= now:
                    self._do(due)
            if any(due.at <= now for due in planned):
                continue
            self._woken.wait(min((due.at for due in planned), default=now + 60.0) - now)

    def _do(self, due: Due) -> None:
        if due.what.startswith(NOTICE):
            self._sending.add(due.number)
            self._senders.submit(self._guarded, self._notify, due)
        else:
            self._guarded(self._act, due)

    def _act(self, due: Due) -> None:
        with self._lock, self._book.transaction():
            self._wallet.act(due, datetime.now(UTC))
            self._book.settle(due, None)

    def _notify(self, due: Due) -> None:
        with self._lock:
            notice = self._wallet.notice(due)
        again: Due | None = None
        if notice is not None and not self._send(*notice):
            waits = self._settings.notice_seconds
            if due.tries < len(waits):
                again = replace(due, at=time.time() + waits[due.tries], tries=due.tries + 1)
        with self._lock, self._book.transaction():
            self._book.settle(due, again)
        self._sending.discard(due.number)
        self._woken.set()

    def _send(self, url: str, view: Any) -> bool:
        """Whether the bank has taken the notice."""
        parts = urlsplit(url)
        body = json.dumps(view).encode()
        signed = signing.headers(
            "notice", f"POST {parts.path}", body, self._settings.signing_key, time.time()
        )
        connection = _Connection(parts.hostname or "", parts.port, self._context)
        try:
            connection.request("POST", parts.path, body, signed)
            return connection.getresponse().status == 204
        except (OSError, http.client.HTTPException) as error:
            _log.info("a notice was not taken", extra={"reason": repr(error)})
            return False
        finally:
            connection.close()

    def _guarded(self, work: Callable[[Due], None], due: Due) -> None:
        try:
            work(due)
        except Exception:  # of the book: what was planned stays planned
            _log.exception("not done", extra={"what": due.what})
            time.sleep(0.1)
            self._sending.discard(due.number)


class _Connection(http.client.HTTPSConnection):
    """Wraps its socket before it connects: of one that is reset in between, ssl would leave the
    socket open."""

    def __init__(self, host: str, port: int | None, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=_NOTICE_TIMEOUT_SECONDS, context=context)
        self._tls = context

    def connect(self) -> None:
        address = (self.host, self.port)
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        plain = socket.socket(family, socket.SOCK_STREAM)
        plain.settimeout(_NOTICE_TIMEOUT_SECONDS)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        self.sock.connect(address)
