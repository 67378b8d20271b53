"""Forwards payments to the acquirer and clears up what is in doubt.

The order of events is the whole point: an attempt is on stable storage before its first byte
leaves; what came back is stored before anything else is done with it; what can't be proved unsent
is inquired (where the acquirer has that) or reversed, again and again until it is answered. What
the acquirer accepts is the watcher's from then on.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from clearline import times
from clearline.logs import get_logger
from clearline.statuses import Reason, Status
from connector import outbox, refunding
from connector.adapter import (
    Adapter,
    Answer,
    Capability,
    NoAnswerError,
    NotSentError,
    Verdict,
)
from connector.clock import AGAIN_S, LedgersClock
from connector.database import Database
from connector.entries import Ending, Entry, ending_of
from connector.settler import Settler
from connector.states import IllegalStepError, Phase
from connector.tasks import Tasks
from connector.watcher import Watcher

_log = get_logger("connector.forwarder")
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0  # until its first answer nobody knows that an acquirer is back
_CLEARING_AT_ONCE: Final = 32


class Forwarder:
    """`offer` it pending payments; `gate` is set while forwarding makes sense (our key counts)."""

    def __init__(
        self,
        database: Database,
        adapter: Adapter,
        settler: Settler,
        watcher: Watcher,
        tasks: Tasks,
        gate: asyncio.Event,
        clock: LedgersClock,
    ) -> None:
        self._database = database
        self._adapter = adapter
        self._settler = settler
        self._watcher = watcher
        self._tasks = tasks
        self._gate = gate
        self._clock = clock
        self._pending: asyncio.Queue[Entry] = asyncio.Queue()
        self._known: set[str] = set()
        self._clearing = asyncio.Semaphore(_CLEARING_AT_ONCE)
        self._open = True
        self.active = 0

    async def recover(self, patience_seconds: float) -> None:
        """Clear up what was in doubt at the start, before anything is forwarded.

        Waits at most `patience_seconds`: an acquirer that does not answer a reversal must not
        hold every other payment; clearing up goes on beside.
        """
        doubtful = await self._database.run(lambda db: outbox.in_phases(db, Phase.DOUBTFUL))
        if doubtful:
            _log.warning("payments in doubt", extra={"count": len(doubtful)})
            await asyncio.wait(
                [self._tasks.spawn(self._clear_up(entry)) for entry in doubtful],
                timeout=patience_seconds,
            )

    def begin(self, in_flight: int) -> None:
        """Start forwarding, `in_flight` payments at once."""
        for _ in range(in_flight):
            self._tasks.spawn(self._work())

    def offer(self, entry: Entry) -> None:
        """A payment that is pending; one that is offered again is taken once."""
        if entry.key not in self._known:
            self._known.add(entry.key)
            self._pending.put_nowait(entry)

    async def close_unsent(self, entry: Entry) -> None:
        """The merchant closes it: nothing was sent yet, so that is its end."""
        ending = Ending(Status.CLOSED, Reason(entry.closing), ended_at=times.now())
        try:
            await self._settler.end_unsent(entry, ending)
        except IllegalStepError:
            _log.info("a close came too late", extra={"payment": str(entry.payment)})

    def close(self) -> None:
        """Take no more; `active` says how many are under way."""
        self._open = False

    async def _work(self) -> None:
        while self._open:
            entry = await self._pending.get()
            try:
                await self._forward(entry)
            except IllegalStepError as error:
                _log.info("not pending any more", extra={"reason": str(error)})
            self._known.discard(entry.key)

    async def _forward(self, entry: Entry) -> None:
        if entry.order.refund_no and not self._settler.can(Capability.REFUND):
            ending = refunding.ended_unsent(Reason.NOT_PERMITTED, times.now())
            await self._settler.end_unsent(entry, ending)
            return
        pause = _SHORTEST_PAUSE
        while self._open:
            if not await self._may_send(entry):
                return
            self.active += 1
            try:
                if await self._send(entry):
                    return
            finally:
                self.active -= 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _may_send(self, entry: Entry) -> bool:
        """Wait for acquirer and gate; False (and reported) when the intent expires meanwhile."""
        expires = times.parse(entry.expires_at).timestamp()
        while True:
            left = expires - times.parse(times.now()).timestamp()
            if left <= 0 and not await self._clock.passed(entry.expires_at):
                await asyncio.sleep(AGAIN_S)
                continue
            if left <= 0:
                await self._settler.end_unsent(entry, _expired(entry, times.now()))
                return False
            try:
                async with asyncio.timeout(min(left, 60.0)):
                    await self._gate.wait()
                    await self._adapter.ready()
                return True
            except TimeoutError:
                continue

    async def _send(self, entry: Entry) -> bool:
        """Send once; whether the payment needs no more sending."""
        trace = self._adapter.new_trace()
        entry = await self._database.run(
            partial(outbox.begin_sending, entry=entry, trace=trace, now=times.now())
        )
        if entry.phase is Phase.PENDING:
            await self.close_unsent(entry)
            return True
        try:
            if entry.order.refund_no:
                answer = await self._adapter.refund(entry.order, trace, entry.tries)
            else:
                answer = await self._adapter.pay(entry.order, trace)
        except NotSentError as error:
            _log.info("not sent", extra={"payment": str(entry.payment), "reason": str(error)})
            await self._database.run(partial(outbox.unsent, key=entry.key))
            return False
        except NoAnswerError as error:
            await self._doubt(entry, error.reason)
            return True
        await self._take(entry, answer)
        return True

    async def _take(self, entry: Entry, answer: Answer) -> None:
        """What a payment's answer means."""
        ending = ending_of(answer, times.now())
        if answer.verdict is Verdict.ACCEPTED:
            self._watcher.watch(await self._settler.accept(entry, answer))
        elif ending is None:
            await self._doubt(entry, answer.reason)
        else:
            await self._settler.end(entry, ending, answer)

    async def _doubt(self, entry: Entry, reason: Reason) -> None:
        entry = await self._settler.doubt(entry, reason)
        self._tasks.spawn(self._clear_up(entry))

    async def _clear_up(self, entry: Entry) -> None:
        """Until it is known how a doubtful payment ended, or that it waits for its payer."""
        self._settler.wake(entry)
        pause = _SHORTEST_PAUSE
        while self._open:
            async with self._clearing:
                await self._adapter.ready()
                try:
                    if await self._clear_once(entry):
                        return
                except (NotSentError, NoAnswerError) as error:
                    _log.info("still in doubt", extra={"payment": str(entry.payment),
                                                       "reason": str(error)})  # fmt: skip
                except IllegalStepError as error:
                    _log.warning("not in doubt any more", extra={"reason": str(error)})
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _clear_once(self, entry: Entry) -> bool:
        """Ask what became of it where that can be asked, else undo it, or ask for the refund it is
        once more; whether it is settled."""
        answer = None
        if self._settler.inquires(entry):
            answer = await self._settler.inquire(entry)
            if answer.verdict is Verdict.ACCEPTED:
                self._watcher.watch(await self._settler.accept(entry, answer))
                return True
        if answer is None or answer.verdict is Verdict.UNSURE:
            answer = await self._once_more(entry)
            if answer.verdict is Verdict.ACCEPTED:
                self._watcher.watch(await self._settler.accept(entry, answer))
                return True
        ending = ending_of(answer, times.now(), entry.closing)
        if ending is None:
            _log.error("not settled", extra={"payment": str(entry.payment)})
            return False
        await self._settler.end(entry, ending, answer)
        return True

    async def _once_more(self, entry: Entry) -> Answer:
        if entry.order.refund_no:
            if not self._settler.can(Capability.REFUND):
                return Answer(Verdict.DECLINED, Reason.NOT_PERMITTED, b"")
            return await self._settler.repeat_refund(entry)
        return await self._settler.undo(entry, Phase.DOUBTFUL)


def _expired(entry: Entry, now: str) -> Ending:
    """How what was not sent in time ends."""
    if entry.order.refund_no:
        return refunding.ended_unsent(Reason.EXPIRED, now)
    return Ending(Status.EXPIRED, Reason.EXPIRED, ended_at=now)
