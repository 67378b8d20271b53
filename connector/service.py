"""The connector as a service: opens the outbox, follows, does its duty while it holds the lease."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from clearline.fabric.blockstream import Position
from clearline.fabric.errors import FabricError
from clearline.logs import get_logger
from clearline.signers.distant import DistantSigner
from connector import memory, outbox
from connector.adapter import Adapter
from connector.attention import Attentive
from connector.clock import LedgersClock
from connector.database import Database, DatabaseError
from connector.duty import Duty, Work
from connector.follower import Follower, stored_position
from connector.lease import Candidate, Claims, LeaseLostError, Standing
from connector.ledger import Ledger
from connector.link import AcquirerState, Link, LinkSettings, Sight, observe, unsigned
from connector.outbox import SCHEMA
from connector.projection import Projection
from connector.reporter import ReportSigner
from connector.states import Phase
from connector.takeover import TakeoverError, renew
from connector.tasks import Tasks
from connector.verification import Place
from connector.watcher import Pace

_log = get_logger("connector")
_RENEWAL_PAUSE_S: Final = 0.5
OpenLedger = Callable[[Position | None], AbstractAsyncContextManager[Ledger]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a connector is made of. `ready_file` appears while it is level with the ledger and
    acts, `standby_file` while it is level and another acts, None for none; times in seconds.
    `database` opens the outbox (the simulation's has no thread)."""

    place: Place
    chaincode: str
    outbox: Path
    adapter: Adapter
    signer: ReportSigner
    open_ledger: OpenLedger
    candidate: Candidate = field(default_factory=lambda: Candidate("connector"))
    in_flight: int = 64
    stop_seconds: float = 5.0
    recovery_seconds: float = 15.0
    pace: Pace = field(default_factory=Pace)
    ready_file: Path | None = None
    standby_file: Path | None = None
    link: LinkSettings | None = None
    database: type[Database] = Database

    @property
    def claims(self) -> Claims:
        """Where the epochs it took are noted."""
        return Claims(self.outbox.with_name("claim.json"))


class Connector:
    """`run` until `stop` is set or something fails that a restart must deal with."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._database = parts.database(parts.outbox, SCHEMA)
        self._projection = Projection()
        self._duty: Duty | None = None
        self._refused_epoch = -1
        self._renewing: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._adapter = Attentive(parts.adapter)
        self._sight = Sight()

    async def run(self, stop: asyncio.Event) -> None:
        """Raises DatabaseError, BlockError and whatever else a restart must deal with."""
        parts = self._parts
        self._show(None)
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
            if isinstance(parts.signer, DistantSigner):
                await parts.signer.close()
            await self._database.close()
            self._show(None)

    async def _take_up(self) -> Position | None:
        """What the file holds; it must be this connector's."""
        place = self._parts.place
        names = {"network": place.network, "acquirer_id": place.acquirer_id}
        other = await self._database.run(partial(_take_file, names=names))
        if other:
            raise DatabaseError(f"{self._parts.outbox} is the outbox of {other}")
        self._projection.load(await self._database.run(outbox.records))
        return await self._database.run(stored_position)

    async def _run(self, ledger: Ledger, tasks: Tasks, stop: asyncio.Event) -> None:
        parts = self._parts
        follower = Follower(
            self._database, self._projection, parts.place, parts.chaincode, parts.signer.key_id,
            parts.candidate, parts.claims,
        )  # fmt: skip
        work = Work(
            self._database, self._adapter, ledger.reports, parts.signer, parts.place,
            follower.gate, parts.in_flight, parts.recovery_seconds, parts.stop_seconds, parts.pace,
            LedgersClock(ledger.contract, parts.place.acquirer_id),
        )  # fmt: skip
        try:
            following = tasks.spawn(self._follow(follower, ledger, work, tasks))
            if isinstance(parts.signer, DistantSigner):
                tasks.spawn(self._note_trouble(parts.signer))
            if await _unless_stopped(tasks.failed, stop):
                tasks.failed.result()
            following.cancel()
            if self._duty is not None:
                await self._duty.drain()
        finally:
            await tasks.cancel()
            async with self._changing:
                await self._end_duty()

    async def _follow(self, follower: Follower, ledger: Ledger, work: Work, tasks: Tasks) -> None:
        async for taken in follower.follow(ledger.blocks, ledger.tip):
            if follower.caught_up.is_set():
                self._renew(follower, ledger, tasks)
                await self._adjust(follower.standing, work, tasks)
            if self._duty is not None:
                self._duty.take(taken)

    def _renew(self, follower: Follower, ledger: Ledger, tasks: Tasks) -> None:
        """Have the lease renewed when that must come first; the next block shows it."""
        under_way = self._renewing is not None and not self._renewing.done()
        if follower.standing.renewal is not None and not under_way:
            self._renewing = tasks.spawn(self._take_next(follower, ledger))

    async def _take_next(self, follower: Follower, ledger: Ledger) -> None:
        place, holder = self._parts.place, self._parts.candidate.holder
        while (epoch := follower.standing.renewal) is not None:
            try:
                await renew(ledger.contract, place.acquirer_id, holder, self._parts.claims, epoch)
            except (TakeoverError, FabricError) as error:
                _log.warning("the lease is not renewed yet", extra={"reason": str(error)})
                await asyncio.sleep(_RENEWAL_PAUSE_S)
            else:
                _log.warning("the outbox is new: the lease is renewed", extra={"epoch": epoch})
                return

    async def _adjust(self, standing: Standing, work: Work, tasks: Tasks) -> None:
        """Begin or end the duty as the lease says."""
        epoch = standing.acts_under
        async with self._changing:
            if self._duty is not None and self._duty.epoch != epoch:
                _log.error("the lease is lost: nothing is forwarded or reported any more",
                           extra={"epoch": self._duty.epoch})  # fmt: skip
                await self._end_duty()
            if standing.renewal is not None:
                self._show(None)
            elif epoch is None or epoch == self._refused_epoch:
                self._show(self._parts.standby_file)
            elif self._duty is None:
                _log.info("on duty", extra={"epoch": epoch})
                self._duty = Duty(work, epoch)
                await self._duty.begin(partial(self._show, self._parts.ready_file))
                if self._parts.link is not None:  # on duty only: a standby knows nothing
                    self._duty.tasks.spawn(Link(self._parts.link, self._acquirer).run())
                tasks.spawn(self._oversee(self._duty))

    async def _oversee(self, duty: Duty) -> None:
        """Fails as the duty fails; a lost lease only ends the duty."""
        failed = duty.tasks.failed
        await asyncio.wait([failed])
        if failed.cancelled():
            return
        try:
            failed.result()
        except LeaseLostError as error:
            async with self._changing:
                if self._duty is duty:
                    _log.error("the ledger refuses our epoch: nothing is forwarded or reported",
                               extra={"epoch": duty.epoch, "reason": str(error)})  # fmt: skip
                    self._refused_epoch = duty.epoch
                    await self._end_duty()
                    self._show(self._parts.standby_file)

    async def _acquirer(self) -> AcquirerState:
        """What gateways are told: the adapter's readiness and the outbox's open payments."""
        open_ = await self._database.run(outbox.open_counts)
        in_doubt = open_[Phase.DOUBTFUL]
        depth = open_[Phase.PENDING] + open_[Phase.SENDING] + in_doubt
        state = await observe(
            self._adapter.ready, depth, in_doubt, self._sight, self._adapter.unanswered
        )
        signer = self._parts.signer
        if isinstance(signer, DistantSigner):
            state = unsigned(state, signer.trouble, self._sight.away(signer.down))
        return replace(state, under_way=await self._database.run(outbox.under_way))

    async def _note_trouble(self, signer: DistantSigner) -> None:
        """For `clearline connector status`: why reports wait for their signature."""
        said = signer.trouble
        while True:
            note = partial(outbox.put_meta, name=memory.UNSIGNED, value=said)
            await self._database.run(note)
            said = await signer.changed(said)

    async def _end_duty(self) -> None:
        duty, self._duty = self._duty, None
        if duty is not None:
            self._show(None)
            await duty.end()

    def _show(self, shown: Path | None) -> None:
        """Readiness, as files: only the one that is so is there."""
        for path in (self._parts.ready_file, self._parts.standby_file):
            if path is not None and path == shown:
                path.touch(mode=0o600)
            elif path is not None:
                path.unlink(missing_ok=True)


def _take_file(db: sqlite3.Connection, names: Mapping[str, str]) -> str:
    """Make a new file this connector's own; of another's, what it says of itself, else empty."""
    stored = {name: outbox.get_meta(db, name) for name in names}
    outbox.put_meta(db, memory.UNSIGNED, "")
    if not any(stored.values()):
        memory.begin(db)
    for name, mine in names.items():
        if stored[name] is None:
            outbox.put_meta(db, name, mine)
        elif stored[name] != mine:
            return f"{name} {stored[name]}, not {mine}"
    return ""


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
