"""A committer that answers nobody until it is told to, at the real one's socket."""

import contextlib
import socket
import threading
from pathlib import Path
from typing import Any

from gateway.messages import (
    State,
    Submitted,
    Until,
    Verb,
    pack,
    submit_from_json,
    submitted_to_json,
    unpack,
    unpack_length,
)


class HeldCommitter:
    """Posts that wait for their commit are held until `release`; the others are received at once.

    One thread a connection of a worker; all of them end with `close`.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._released = threading.Event()
        self._late: list[tuple[socket.socket, int, Until]] = []
        self._state = threading.Lock()
        self._workers: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._spawn(self._accept)

    @property
    def held(self) -> int:
        """How many wait for their commit."""
        return len(self._late)

    def release(self) -> None:
        """Commit what is held, and from now on at once."""
        with self._state:
            self._released.set()
            late, self._late = self._late, []
        for worker, number, until in late:
            self._answer(worker, number, until)

    def close(self) -> None:
        """Go away."""
        for one in (self._listener, *self._workers):
            with contextlib.suppress(OSError):  # the other side was first
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in (self._listener, *self._workers):
            one.close()

    def _spawn(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                worker, _ = self._listener.accept()
            except OSError:
                return
            self._workers.append(worker)
            self._spawn(self._serve, worker)

    def _serve(self, worker: socket.socket) -> None:
        with worker.makefile("rb") as frames:
            while length := frames.read(4):
                number, verb, body = unpack(frames.read(unpack_length(length)))
                if verb != Verb.SUBMIT:
                    worker.sendall(pack([number, {}]))
                    continue
                with self._state:
                    until = submit_from_json(body).until
                    if until is Until.COMMITTED and not self._released.is_set():
                        self._late.append((worker, number, until))
                        continue
                self._answer(worker, number, until)

    def _answer(self, worker: socket.socket, number: int, until: Until) -> None:
        answer = Submitted(State.RECEIVED, receipt="a.b.c")
        if until is Until.COMMITTED:
            answer = Submitted(
                State.COMMITTED,
                status="requested",
                tx_id="t",
                block_number=9,
                acquirer_id="unionpay",
            )
        with contextlib.suppress(OSError):  # the worker was killed
            worker.sendall(pack([number, [submitted_to_json(answer)]]))
