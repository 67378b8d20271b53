"""The connector as a service: opens the outbox, follows, forwards, reports, stops in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from clearline.fabric.blockstream import Position
from clearline.jws import Signer
from clearline.logs import get_logger
from connector import outbox
from connector.adapter import Adapter, Answer
from connector.database import Database, DatabaseError
from connector.entries import Entry
from connector.follower import Follower, stored_position
from connector.forwarder import Forwarder
from connector.ledger import Ledger
from connector.outbox import SCHEMA
from connector.projection import Projection
from connector.reporter import Reporter
from connector.states import Phase
from connector.tasks import Tasks
from connector.verification import Place

_log = get_logger("connector")
_GLANCE_S: Final = 0.02
OpenLedger = Callable[[Position | None], AbstractAsyncContextManager[Ledger]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a connector is made of. `ready_file` appears when it has caught up with the ledger,
    empty path for none; times in seconds."""

    place: Place
    chaincode: str
    outbox: Path
    adapter: Adapter
    signer: Signer
    open_ledger: OpenLedger
    in_flight: int = 64
    stop_seconds: float = 5.0
    recovery_seconds: float = 15.0
    ready_file: Path | None = None


class Connector:
    """`run` until `stop` is set or something fails that a restart must deal with."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._database = Database(parts.outbox, SCHEMA)
        self._projection = Projection()
        self._released = False

    async def run(self, stop: asyncio.Event) -> None:
        """Raises DatabaseError, BlockError and whatever else a restart must deal with."""
        parts = self._parts
        if parts.ready_file is not None:
            parts.ready_file.unlink(missing_ok=True)
        self._database.open()
        tasks = Tasks()
        try:
            position = await self._take_up()
            async with AsyncExitStack() as stack:
                opening = asyncio.create_task(
                    stack.enter_async_context(parts.open_ledger(position))
                )
                if await _unless_stopped(opening, stop):
                    await self._run(opening.result(), tasks, stop)
        finally:
            await tasks.cancel()
            await self._database.close()
            if parts.ready_file is not None:
                parts.ready_file.unlink(missing_ok=True)

    async def _take_up(self) -> Position | None:
        """What the file holds; it must be this connector's."""
        place = self._parts.place
        for name, mine in (("network", place.network), ("acquirer_id", place.acquirer_id)):
            stored = await self._database.run(partial(outbox.get_meta, name=name))
            if stored is None:
                await self._database.run(partial(outbox.put_meta, name=name, value=mine))
            elif stored != mine:
                raise DatabaseError(
                    f"{self._parts.outbox} is the outbox of {name} {stored}, not {mine}"
                )
        self._projection.load(await self._database.run(outbox.records))
        doubtful = await self._database.run(outbox.recover)
        if doubtful:
            _log.warning("can't be proved unsent", extra={"payments": doubtful})
        return await self._database.run(stored_position)

    async def _run(self, ledger: Ledger, tasks: Tasks, stop: asyncio.Event) -> None:
        parts = self._parts
        follower = Follower(
            self._database, self._projection, parts.place, parts.chaincode, parts.signer.key_id
        )
        reporter = Reporter(self._database, ledger.reports, parts.signer, parts.place, tasks)
        forwarder = Forwarder(self._database, parts.adapter, reporter, tasks, follower.gate)
        await parts.adapter.start(partial(self._late, tasks))
        try:
            following = tasks.spawn(self._follow(follower, ledger, forwarder, reporter))
            tasks.spawn(self._release(follower, forwarder, reporter))
            if await _unless_stopped(tasks.failed, stop):
                tasks.failed.result()
            following.cancel()
            await self._drain(forwarder, reporter, tasks)
        finally:
            await tasks.cancel()
            await parts.adapter.stop()

    async def _follow(
        self, follower: Follower, ledger: Ledger, forwarder: Forwarder, reporter: Reporter
    ) -> None:
        async for added in follower.follow(ledger.blocks, ledger.tip):
            for entry in added:
                if entry.phase is Phase.ANSWERED:
                    reporter.wake(entry.key)
                elif self._released:
                    forwarder.offer(entry)

    async def _release(self, follower: Follower, forwarder: Forwarder, reporter: Reporter) -> None:
        """Once the ledger's past is known: clear up what is in doubt, then forward."""
        for entry in await self._open_entries(Phase.ANSWERED):
            reporter.wake(entry.key)
        await follower.caught_up.wait()
        if self._parts.ready_file is not None:
            self._parts.ready_file.touch(mode=0o600)
        await forwarder.recover(self._parts.recovery_seconds)
        self._released = True
        for entry in await self._open_entries(Phase.PENDING):
            forwarder.offer(entry)
        forwarder.begin(self._parts.in_flight)

    async def _open_entries(self, phase: Phase) -> list[Entry]:
        return await self._database.run(lambda db: outbox.in_phases(db, phase))

    async def _drain(self, forwarder: Forwarder, reporter: Reporter, tasks: Tasks) -> None:
        """Let what is under way end, for `stop_seconds`; the outbox knows the rest."""
        forwarder.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._parts.stop_seconds
        while forwarder.active or reporter.active:
            if loop.time() > deadline or tasks.failed.done():
                left = {"sending": forwarder.active, "reporting": reporter.active}
                _log.warning("stopping with work left", extra=left)
                return
            await asyncio.sleep(_GLANCE_S)

    def _late(self, tasks: Tasks, reference: str, answer: Answer) -> None:
        tasks.spawn(self._note_late(reference, answer))

    async def _note_late(self, reference: str, answer: Answer) -> None:
        entry = await self._database.run(
            partial(outbox.late_answer, reference=reference, answer=answer)
        )
        if entry is not None:
            _log.warning(
                "the acquirer answered late; the reversal decides",
                extra={"payment": str(entry.payment), "verdict": answer.verdict},
            )


async def _unless_stopped(awaited: asyncio.Future[Any], stop: asyncio.Event) -> bool:
    """Wait until `awaited` is done (True) or `stop` is set first (False, and it is cancelled).

    Whoever cancels this cancels `awaited` too.
    """
    stopping = asyncio.create_task(stop.wait())
    both: set[asyncio.Future[Any]] = {awaited, stopping}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return awaited.done()
    finally:
        stopping.cancel()
        if isinstance(awaited, asyncio.Task) and not awaited.done():
            awaited.cancel()
            await asyncio.wait({awaited})
