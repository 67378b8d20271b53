"""A worker's end of the Unix socket: one connection a process, shared by its threads.

A thread of its own reads answers and hands them to whoever waits. When the connection ends, all
who wait are told; the next request connects again, so a committer's restart needs no worker's.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Final

from clearline.canonical import Json
from clearline.codes import Code, Refusal
from gateway.messages import (
    Named,
    Standing,
    Submit,
    Submitted,
    Verb,
    WireError,
    pack,
    submit_to_json,
    submitted_from_json,
    unpack,
    unpack_length,
)

_GRACE: Final = 5.0  # seconds beyond a request's own wait before the committer counts as stuck
_CONNECT: Final = 1.0
_RECEIVE: Final = 65_536


class _Connection:
    """One connected socket and those who wait for answers on it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_CONNECT)
            self._socket.connect(str(path))
            self._socket.settimeout(None)
        except OSError:
            self._socket.close()
            raise
        self._numbers = itertools.count(1)
        self._sending = threading.Lock()
        self._waiting: dict[int, Future[Json]] = {}
        self._state = threading.Lock()
        self.closed = False
        threading.Thread(target=self._receive, name="courier", daemon=True).start()

    def ask(self, verb: Verb, body: Json, timeout: float) -> Json:
        """Send a request and wait for its answer. Raises ConnectionError, TimeoutError."""
        number = next(self._numbers)
        answer: Future[Json] = Future()
        with self._state:
            if self.closed:
                raise ConnectionError("the committer went away")
            self._waiting[number] = answer
        try:
            with self._sending:
                self._socket.sendall(pack([number, verb.value, body]))
            return answer.result(timeout)
        except FutureTimeout:
            raise TimeoutError("the committer did not answer in time") from None
        finally:
            with self._state:
                self._waiting.pop(number, None)

    def close(self) -> None:
        """End the connection; everybody who waits gets ConnectionError."""
        with self._state:
            self.closed = True
            left = list(self._waiting.values())
            self._waiting.clear()
        with contextlib.suppress(OSError):  # it may have ended already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for answer in left:
            if not answer.done():
                answer.set_exception(ConnectionError("the committer went away"))

    def _receive(self) -> None:
        buffer = bytearray()
        try:
            while data := self._socket.recv(_RECEIVE):
                buffer += data
                while len(buffer) >= 4:
                    end = 4 + unpack_length(bytes(buffer[:4]))
                    if len(buffer) < end:
                        break
                    self._deliver(unpack(bytes(buffer[4:end])))
                    del buffer[:end]
        except (OSError, WireError, ValueError, TypeError):
            pass  # whoever waits is told so below
        self.close()

    def _deliver(self, message: Json) -> None:
        number, body = message
        with self._state:
            answer = self._waiting.pop(number, None)
        if answer is not None:
            answer.set_result(body)


class Courier:
    """What a worker asks its committer; safe to use from many threads.

    Every method raises Refusal `ledger_unavailable` while the committer can't be reached, or when
    it went away before it answered: what it had taken by then may yet be committed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    def submit(self, request: Submit) -> list[Submitted]:
        """How each submission stands when it is decided, or when the wait has passed."""
        body = self._ask(Verb.SUBMIT, submit_to_json(request), request.wait)
        return [submitted_from_json(item) for item in body]

    def wait_final(self, key: Named, wait: float) -> bool:
        """Wait up to `wait` seconds until the projection shows the payment or refund ended."""
        return bool(self._ask(Verb.FINAL, [list(key), wait], wait))

    def wait_block(self, number: int, wait: float) -> int:
        """Wait up to `wait` seconds until block `number` is applied; the last one applied."""
        return int(self._ask(Verb.BLOCK, [number, wait], wait))

    def standing(self) -> Standing:
        """How the committer is."""
        return Standing(**self._ask(Verb.STATE, None, 1.0))

    def numbers(self) -> dict[str, float]:
        """The committer's counters and gauges, by name."""
        return dict(self._ask(Verb.NUMBERS, None, 1.0))

    def close(self) -> None:
        """Let go of the committer."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _ask(self, verb: Verb, body: Json, wait: float) -> Json:
        try:
            return self._connected().ask(verb, body, wait + _GRACE)
        except (OSError, WireError) as error:  # ConnectionError and TimeoutError among them
            raise Refusal(
                Code.LEDGER_UNAVAILABLE,
                f"the gateway's committer can't be reached: {error}; what was sent may yet be"
                " committed, and sending the same again is safe",
            ) from None

    def _connected(self) -> _Connection:
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = _Connection(self._path)
            return self._connection
