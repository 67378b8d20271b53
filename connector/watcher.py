"""Watches over payments that wait for their payer, and refunds under way, until they end.

One task a payment, and everything that happens to it goes through that task in turn: a notice, an
inquiry when none comes, the merchant's close, its expiry. So no notice can cross a close.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Final

from clearline import times
from clearline.logs import get_logger
from clearline.statuses import Reason
from connector.adapter import Answer, NoAnswerError, NotSentError, Verdict
from connector.clock import AGAIN_S, LedgersClock
from connector.entries import Entry, ending_of
from connector.settler import Settler
from connector.states import IllegalStepError, Phase
from connector.tasks import Tasks

_log = get_logger("connector.watcher")
_SHORTEST_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of silence before a first inquiry about an accepted payment, and at most."""

    first: float = 5.0
    longest: float = 60.0


@dataclass(frozen=True, slots=True)
class _Notice:
    answer: Answer
    stored: asyncio.Future[bool]


@dataclass(slots=True)
class _Watch:
    """What waits for the task of one payment: notices, and `None` to look at it again."""

    mail: asyncio.Queue[_Notice | None] = field(default_factory=asyncio.Queue)


class Watcher:
    """`watch` an accepted payment once it is stored."""

    def __init__(self, settler: Settler, tasks: Tasks, pace: Pace, clock: LedgersClock) -> None:
        self._settler = settler
        self._clock = clock
        self._tasks = tasks
        self._pace = pace
        self._watched: dict[str, _Watch] = {}

    def watch(self, entry: Entry) -> None:
        """Until it ends; one that is watched already is not watched twice."""
        self._begin(entry.key, self._pace.first)

    def resume(self, entry: Entry) -> None:
        """After a start or a takeover: ask about it at once."""
        self._begin(entry.key, 0.0)

    def look(self, key: str) -> None:
        """Something about it has changed: it is to be closed."""
        watch = self._watched.get(key)
        if watch is not None:
            watch.mail.put_nowait(None)

    async def notice(self, key: str, answer: Answer) -> bool:
        """What the acquirer states by itself; whether that is dealt with and on stable storage."""
        watch = self._watched.get(key)
        if watch is None:
            return False
        notice = _Notice(answer, asyncio.get_running_loop().create_future())
        watch.mail.put_nowait(notice)
        return await notice.stored

    def _begin(self, key: str, first: float) -> None:
        if key not in self._watched:
            self._watched[key] = _Watch()
            self._tasks.spawn(self._watch(key, self._watched[key], first))

    async def _watch(self, key: str, watch: _Watch, pause: float) -> None:
        loop = asyncio.get_running_loop()
        ask_at = loop.time() + pause
        pause = max(pause, self._pace.first)
        again = _SHORTEST_PAUSE
        try:
            while True:
                entry = await self._settler.find(key)
                if entry is None or entry.phase is not Phase.ACCEPTED:
                    return
                closing = bool(await self._closing(entry))
                left = _seconds_left(entry)
                if left <= 0 and not closing:
                    left = AGAIN_S
                if (closing and again == _SHORTEST_PAUSE) or loop.time() >= ask_at:
                    if await self._act(entry):
                        return
                    if closing:
                        again = min(2 * again, self._pace.longest)
                        pause = again
                    ask_at = loop.time() + pause
                    pause = min(2 * pause, self._pace.longest)
                wait = ask_at - loop.time()
                if await self._hear(entry, watch, wait if closing else min(left, wait)):
                    return
        except IllegalStepError as error:
            _log.warning("not accepted any more", extra={"reason": str(error)})
        finally:
            del self._watched[key]
            while not watch.mail.empty():
                notice = watch.mail.get_nowait()
                if notice is not None and not notice.stored.done():
                    notice.stored.set_result(False)  # said again, it finds the payment's end

    async def _hear(self, entry: Entry, watch: _Watch, seconds: float) -> bool:
        """Wait for a notice, at most so long; whether the payment has ended."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                notice = await watch.mail.get()
        except TimeoutError:
            return False
        if notice is None:
            return False
        ended = False
        try:
            verdict = notice.answer.verdict
            if verdict is Verdict.UNSURE:
                _log.error("a notice says something else", extra={"payment": str(entry.payment)})
                ended = await self._act(entry)
            elif verdict is not Verdict.ACCEPTED:
                ended = await self._settle(entry, notice.answer)
        finally:
            if not notice.stored.done():
                notice.stored.set_result(ended or verdict is Verdict.ACCEPTED)
        return ended

    async def _act(self, entry: Entry) -> bool:
        """Close it when that is due, else ask about it; whether it has ended."""
        try:
            if await self._closing(entry):
                return await self._settle(entry, await self._settler.close(entry))
            if not self._settler.inquires(entry):
                return False
            answer = await self._settler.inquire(entry)
            if answer.verdict is Verdict.UNSURE and not entry.order.refund_no:
                _log.error("the acquirer contradicts itself: undone",
                           extra={"payment": str(entry.payment)})  # fmt: skip
                answer = await self._settler.undo(entry, Phase.ACCEPTED)
            return await self._settle(entry, answer)
        except (NotSentError, NoAnswerError) as error:
            _log.info("not answered", extra={"payment": str(entry.payment),
                                             "reason": str(error)})  # fmt: skip
            return False

    async def _settle(self, entry: Entry, answer: Answer) -> bool:
        ending = ending_of(answer, times.now(), await self._closing(entry))
        if ending is None:
            return False
        await self._settler.end(entry, ending, answer)
        return True

    async def _closing(self, entry: Entry) -> str:
        """Why it is to be closed, empty while it is not; a refund never is."""
        if entry.order.refund_no:
            return ""
        if entry.closing:
            return entry.closing
        return Reason.EXPIRED.value if await self._clock.passed(entry.expires_at) else ""


def _seconds_left(entry: Entry) -> float:
    """Until it is to be closed; a refund that the acquirer has accepted is not."""
    if entry.order.refund_no:
        return math.inf
    return (times.parse(entry.expires_at) - times.parse(times.now())).total_seconds()
