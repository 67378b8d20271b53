"""A key that is not in this process: asked beside the event loop, again until it has signed.

What waits goes together when the call before has ended. Every signature is held against the public
key before anybody gets it. A holder that is down, refuses or answers wrongly is asked again, and
`trouble` says so meanwhile; one message that is refused holds up no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from clearline import jws
from clearline.canonical import Json
from clearline.jws import Algorithm, JwsError, Typ
from clearline.logs import get_logger
from clearline.signers.holders import Answer, KnownKey, SignerDownError, SignerError

_log = get_logger("clearline.signers")
_MOST: Final = 32  # messages of one call
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_LONGEST_REFUSED: Final = 60.0


class Caller(Protocol):
    """Asks a holder without blocking the event loop."""

    async def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        """For each message its signature, or why there is none. Raises SignerDownError."""

    async def close(self) -> None:
        """Let go of the holder."""


@dataclass(slots=True, eq=False)
class _Waiting:
    message: bytes
    signature: asyncio.Future[bytes]
    pause: float


class DistantSigner:
    """Use it from one event loop; `close` it at the end."""

    def __init__(self, key: KnownKey, caller: Caller) -> None:
        self._key = key
        self._caller = caller
        self._waiting: deque[_Waiting] = deque()
        self._refused: dict[_Waiting, str] = {}
        self._down = ""
        self._shown = ""
        self._working: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm this key signs with."""
        return self._key.key.algorithm

    @property
    def key_id(self) -> str:
        """The RFC 7638 thumbprint of its public key."""
        return self._key.key_id

    @property
    def trouble(self) -> str:
        """Why something that waits is not signed, for people; empty while all is well."""
        return self._down or next(iter(self._refused.values()), "")

    @property
    def down(self) -> str:
        """Why nothing at all is signed, for people; empty while the holder answers."""
        return self._down

    async def changed(self, known: str) -> str:
        """Wait until `trouble` is another than `known`; what it is then."""
        while self.trouble == known:
            self._changed.clear()
            await self._changed.wait()
        return self.trouble

    async def sign(self, message: bytes) -> bytes:
        """The 64-byte JWS signature of `message`, verified, however long that takes. Cancel it to
        give up."""
        future = asyncio.get_running_loop().create_future()
        waiting = _Waiting(message, future, _SHORTEST_PAUSE)
        self._waiting.append(waiting)
        self._begin()
        return await waiting.signature

    async def sign_object(self, payload: Json, typ: Typ) -> str:
        """The canonical JSON of `payload` as a JWS compact text."""
        signing_input = jws.signing_input(payload, typ, self)
        return jws.sealed(signing_input, await self.sign(signing_input.encode()))

    async def close(self) -> None:
        """Sign no more; who waits is cancelled."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait({self._working})
        for waiting in (*self._waiting, *self._refused):
            waiting.signature.cancel()
        self._waiting.clear()
        self._refused.clear()
        await self._caller.close()

    def _begin(self) -> None:
        if self._working is None or self._working.done():
            self._working = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        """Call after call, until nothing waits."""
        pause = _SHORTEST_PAUSE
        batch: list[_Waiting] = []
        try:
            while batch := self._next():
                try:
                    answers = await self._caller.sign([one.message for one in batch])
                    self._take(batch, answers)
                except SignerDownError as error:
                    self._down = str(error)
                    self._waiting.extendleft(reversed(batch))
                    batch = []
                    self._tell()
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                else:
                    self._down, pause = "", _SHORTEST_PAUSE
                    self._tell()
        except Exception as error:  # a fault of ours: whoever waits must not wait for ever
            for waiting in (*batch, *self._waiting):
                if not waiting.signature.done():
                    waiting.signature.set_exception(error)
            self._waiting.clear()
        except asyncio.CancelledError:
            self._waiting.extendleft(reversed(batch))
            raise
        finally:
            if not self._waiting:
                self._down = ""  # nobody waits for it: nothing is known of it
                self._tell()

    def _next(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < _MOST:
            waiting = self._waiting.popleft()
            if not waiting.signature.done():
                batch.append(waiting)
        return batch

    def _take(self, batch: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
        if len(answers) != len(batch):
            raise SignerDownError(f"the signer answers {len(answers)} of {len(batch)}")
        for waiting, answer in zip(batch, answers, strict=True):
            reason = self._fault(waiting.message, answer)
            if not reason and isinstance(answer, bytes):
                self._refused.pop(waiting, None)
                if not waiting.signature.done():
                    waiting.signature.set_result(answer)
                continue
            self._refused[waiting] = reason
            asyncio.get_running_loop().call_later(waiting.pause, self._again, waiting)
            waiting.pause = min(2 * waiting.pause, _LONGEST_REFUSED)

    def _fault(self, message: bytes, answer: Answer) -> str:
        """Why this is no signature of the message; empty when it is."""
        if isinstance(answer, SignerError):
            return f"the signer refuses: {answer}"
        try:
            self._key.key.verify_bytes(message, answer)
        except JwsError as error:
            return f"the signer answers wrongly: {error}"
        return ""

    def _again(self, waiting: _Waiting) -> None:
        if waiting.signature.done():
            self._refused.pop(waiting, None)
            self._tell()
        elif waiting in self._refused:
            self._waiting.append(waiting)
            self._begin()

    def _tell(self) -> None:
        if self.trouble != self._shown:
            self._shown = self.trouble
            fields = {"key_id": self.key_id, "reason": self._shown}
            if self._shown:
                _log.error("nothing is signed, or not everything", extra=fields)
            else:
                _log.info("signed again", extra=fields)
            self._changed.set()
