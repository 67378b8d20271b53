"""A client program under test, spoken to in JSON lines: ours, the Node client, the Go client.

Each program takes the same operations (bytes are Base64 in both directions):

    connect        identity, peer, tls: a session; an identity without key signs nothing
    propose        a proposal's bytes, digest and tx id
    evaluate       of channel, chaincode, args, transient, organizations - or of a proposal's bytes
    transact       endorse, submit and wait, as the client's own one-call submit does
    endorse        a transaction's bytes, digest, tx id and result
    submit         of a transaction's bytes: a commit's bytes, digest and tx id
    status         of a commit's bytes: code, block
    request_events, open_events, next_event, checkpoint, close_events
                   kind chaincode, block or filtered; start: block; after: block and tx id;
                   file: a checkpointer's file; request: what request_events answered

`signature` beside `bytes` or `request` is one made elsewhere. `deadline` is in seconds.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_ANSWER_SECONDS = 60.0


@dataclass
class ClientError(Exception):
    """What a client raised: its type, gRPC code (-1: none), commit code and per-node details."""

    type: str
    message: str
    grpc: int
    code: int
    tx_id: str
    details: list[Json]

    def __str__(self) -> str:
        said = "".join(f"; {item['msp_id']}: {item['message']}" for item in self.details)
        return f"{self.type} {self.grpc} {self.message}{said}"


class Client:
    """One client program and the requests that wait for it."""

    def __init__(self, argv: Sequence[str], folder: Path, log: Path) -> None:
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                argv, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
            )
        self._log = log
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Json]] = {}
        self._ids = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, operation: str, **fields: Any) -> Future[Json]:
        """Send a request; its answer or ClientError comes with the future."""
        with self._lock:
            self._ids += 1
            number = self._ids
            future: Future[Json] = Future()
            self._waiting[number] = future
            line = json.dumps({"id": number, "op": operation} | fields)
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        return future

    def call(self, operation: str, **fields: Any) -> Json:
        """The answer to a request. Raises ClientError."""
        return self.start(operation, **fields).result(_ANSWER_SECONDS)

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended before
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            future = self._waiting.pop(said["id"])
            if "error" in said:
                future.set_exception(ClientError(**said["error"]))
            else:
                future.set_result(said["answer"])
        for future in self._waiting.values():
            future.set_exception(RuntimeError(f"the client program ended: see {self._log}"))
        self._waiting.clear()


def to_bytes(text: str) -> bytes:
    """Bytes of an answer's Base64."""
    return base64.b64decode(text)


def to_text(data: bytes) -> str:
    """Base64 for a request."""
    return base64.b64encode(data).decode()
