"""A connector's duty under one epoch: everything that talks to the acquirer or reports.

It begins when the connector is level with the ledger and holds the lease, and ends at once when
the lease is lost: nothing of it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from clearline.logs import get_logger
from clearline.statuses import Status
from connector import memory, outbox
from connector.adapter import Adapter, Answer, Heard, held_against
from connector.clock import LedgersClock
from connector.database import Database
from connector.entries import Entry
from connector.follower import Taken
from connector.forwarder import Forwarder
from connector.late import LateSuccesses
from connector.ledger import ReportQueue
from connector.reporter import Reporter, ReportSigner
from connector.settler import Settler
from connector.states import Phase
from connector.tasks import Tasks
from connector.verification import Place
from connector.watcher import Pace, Watcher

_log = get_logger("connector.duty")
_GLANCE_S: Final = 0.02
STUCK_S: Final = 30.0  # until what is stuck is tried again, twice as long each time
_LONGEST_STUCK_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Work:
    """What a duty works with; times in seconds."""

    database: Database
    adapter: Adapter
    queue: ReportQueue
    signer: ReportSigner
    place: Place
    gate: asyncio.Event
    in_flight: int
    recovery_seconds: float
    stop_seconds: float
    pace: Pace
    clock: LedgersClock


class Duty:
    """`begin`, `take` what blocks bring, then `drain` and `end`, or `end` alone. `tasks.failed` is
    done when it can't go on: LeaseLostError, or what a restart must deal with."""

    def __init__(self, work: Work, epoch: int) -> None:
        self.epoch = epoch
        self.tasks = Tasks()
        self._work = work
        self._released = False
        self._reporter = Reporter(
            work.database, work.queue, work.signer, work.place, epoch, self.tasks
        )
        settler = Settler(work.database, work.adapter, self._reporter)
        self._watcher = Watcher(settler, self.tasks, work.pace, work.clock)
        self._late = LateSuccesses(settler, work.adapter, self.tasks)
        self._forwarder = Forwarder(
            work.database, work.adapter, settler, self._watcher, self.tasks, work.gate, work.clock
        )

    async def begin(self, ready: Callable[[], None]) -> None:
        """Start; `ready` is called once it takes requests. Raises what the adapter's start does."""
        doubtful = await self._work.database.run(memory.recover)
        if doubtful:
            _log.warning("can't be proved unsent", extra={"payments": doubtful})
        await self._work.adapter.start(Heard(self._evidence, self._notice))
        self.tasks.spawn(self._release(ready))
        self.tasks.spawn(self._try_stuck_again())

    def take(self, taken: Taken) -> None:
        """What a block brought."""
        for entry in taken.added:
            if entry.phase is Phase.ANSWERED:
                self._reporter.wake(entry)
            elif self._released:
                self._forwarder.offer(entry)
        for entry in taken.closing:
            if entry.phase is Phase.PENDING:
                self.tasks.spawn(self._forwarder.close_unsent(entry))
            else:
                self._watcher.look(entry.key)

    async def drain(self) -> None:
        """Let what is under way end, for `stop_seconds`; the outbox knows the rest."""
        self._forwarder.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._work.stop_seconds
        while self._forwarder.active or self._reporter.active:
            if loop.time() > deadline or self.tasks.failed.done():
                left = {"sending": self._forwarder.active, "reporting": self._reporter.active}
                _log.warning("stopping with work left", extra=left)
                return
            await asyncio.sleep(_GLANCE_S)

    async def end(self) -> None:
        """Stop everything at once."""
        await self.tasks.cancel()
        await self._work.adapter.stop()

    async def _release(self, ready: Callable[[], None]) -> None:
        """Clear up what is in doubt, then forward."""
        for entry in await self._open_entries(Phase.ANSWERED, Phase.UNDONE):
            self._reporter.wake(entry)
        for entry in await self._open_entries(Phase.LATE):
            self._late.resume(entry)
        for entry in await self._open_entries(Phase.ACCEPTED):
            self._reporter.wake(entry)
            self._watcher.resume(entry)
        ready()
        await self._forwarder.recover(self._work.recovery_seconds)
        self._released = True
        for entry in await self._open_entries(Phase.PENDING):
            if entry.closing:
                await self._forwarder.close_unsent(entry)
            else:
                self._forwarder.offer(entry)
        self._forwarder.begin(self._work.in_flight)

    async def _try_stuck_again(self) -> None:
        """People must look at it, and need not do anything when its reason has passed."""
        pause = STUCK_S
        while True:
            await asyncio.sleep(pause)
            stuck = await self._work.database.run(memory.resume_stuck)
            for entry in stuck:
                if entry.phase is Phase.LATE:
                    self._late.resume(entry)
                else:
                    self._reporter.wake(entry)
            pause = min(2 * pause, _LONGEST_STUCK_S) if stuck else STUCK_S

    async def _open_entries(self, *phases: Phase) -> list[Entry]:
        return await self._work.database.run(lambda db: outbox.in_phases(db, *phases))

    async def _notice(self, reference: str, answer: Answer) -> bool:
        """What the acquirer states by itself, to who deals with it in this phase."""
        find = partial(outbox.find_reference, reference=reference)
        entry = await self._work.database.run(find)
        if entry is None:
            return False
        if entry.order.refund_no:
            return True  # of a refund nothing is taken unasked
        answer = held_against(entry.order, answer)
        if entry.phase is Phase.ACCEPTED:
            return await self._watcher.notice(entry.key, answer)
        if entry.phase in (Phase.DOUBTFUL, Phase.LATE, Phase.UNDONE):
            return True  # being asked about already
        succeeded = entry.ended_as == Status.SUCCEEDED
        if entry.phase in (Phase.ANSWERED, Phase.REPORTED) and succeeded:
            return True
        # Until its end is on the ledger, or its acceptance stored: let it be said again.
        return entry.phase is Phase.REPORTED and await self._late.consider(entry, answer)

    def _evidence(self, reference: str, answer: Answer) -> None:
        self.tasks.spawn(self._keep_evidence(reference, answer))

    async def _keep_evidence(self, reference: str, answer: Answer) -> None:
        entry = await self._work.database.run(
            partial(outbox.late_answer, reference=reference, answer=answer)
        )
        if entry is not None:
            _log.warning(
                "the acquirer answered late; the reversal decides",
                extra={"payment": str(entry.payment), "verdict": answer.verdict},
            )
