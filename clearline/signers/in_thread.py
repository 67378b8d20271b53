"""A holder's blocking calls in a thread of their own, with a bound on each."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from clearline.signers.holders import Answer, Holder, SignerDownError

_END_S: Final = 2.0  # for the thread, once it is told to end


@dataclass(frozen=True, slots=True)
class _Job:
    messages: Sequence[bytes]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Sequence[Answer]]


class InThread:
    """A Caller (see `distant`) over a Holder. The thread is a daemon: a token's call that never
    returns must not keep the process from ending."""

    def __init__(self, holder: Holder, seconds: float) -> None:
        """`seconds`: for one call, all in all."""
        self._holder = holder
        self._seconds = seconds
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        """See Holder; SignerDownError also when it takes too long."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="signer", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        job = _Job(messages, loop, loop.create_future())
        self._jobs.put(job)
        try:
            async with asyncio.timeout(self._seconds):
                return await job.done
        except TimeoutError:
            self._holder.interrupt()
            raise SignerDownError(f"the signer gives no answer in {self._seconds:g} s") from None

    async def close(self) -> None:
        """End the thread, unless a call holds it that can't be ended."""
        if self._thread is not None:
            self._jobs.put(None)
            self._holder.interrupt()
            await asyncio.to_thread(self._thread.join, _END_S)
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.done.cancelled():
                continue  # nobody waits any more
            try:
                answers, error = self._holder.sign(job.messages), None
            except Exception as raised:  # it goes to who asked
                answers, error = (), raised
            with suppress(RuntimeError):  # the loop has ended meanwhile
                job.loop.call_soon_threadsafe(_tell, job.done, answers, error)
        self._holder.close()


def _tell(
    done: asyncio.Future[Sequence[Answer]], answers: Sequence[Answer], error: Exception | None
) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(answers)
    else:
        done.set_exception(error)
