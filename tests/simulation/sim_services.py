"""Our programs as the house keeps them: started, killed, started again over their files."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim_adapter import SimAdapter
from sim_fabric import SimNetwork
from sim_keys import ACQUIRER_ID, BANK
from sim_ledger import CHAINCODE, NETWORK
from sim_plan import Deed, Event
from sim_process import Process, own_process
from sim_storage import SimDatabase, SimQueueStore

from chaincode.contract.context import Role, Submitter
from clearline.fabric.blocks import BlockError
from clearline.fabric.blockstream import Position
from clearline.fabric.commit_queue import CommitQueue
from clearline.fabric.errors import FabricError
from clearline.fabric.queue_items import (
    ItemConflict,
    ItemRefused,
    QueueClosed,
    QueueFull,
    QueueItem,
)
from clearline.fabric.store import StoreError
from connector.database import DatabaseError
from connector.fabric import ledger_over
from connector.lease import Candidate, Claims
from connector.ledger import Ledger
from connector.service import Connector, Parts
from connector.takeover import TakeoverError, take_over
from connector.verification import Place
from connector.watcher import Pace

if TYPE_CHECKING:
    from sim_world import World

# What a program of ours may end with; the house starts it again (connector/cli.py).
_EXPECTED = (DatabaseError, StoreError, BlockError, OSError)


class Service:
    """A program; `folder` outlives its processes."""

    def __init__(self, world: "World", name: str, peer: str, submitter: Submitter) -> None:
        self.world = world
        self.name = name
        self.peer = peer
        self.submitter = submitter
        self.folder = world.folder / name
        self.process: Process | None = None
        self.offset = 0.0
        self.ends = asyncio.Event()
        self._wanted = True

    def start(self) -> None:
        """A new process over the files of the last."""
        if not self._wanted:
            return
        self.process = process = Process(self.name, self.world)
        process.offset = self.offset
        self.ends = asyncio.Event()
        self.world.note(process.name, "starts")
        main = process.spawn(self.main())
        main.add_done_callback(lambda _: self._ended(process, main))

    def stop_for_good(self) -> None:
        """In order; no new one follows."""
        self._wanted = False
        self.ends.set()

    def kill_for_good(self) -> None:
        self._wanted = False
        if self.process is not None:
            self.process.kill("at the end")

    def network(self, store: SimQueueStore | None) -> SimNetwork:
        return SimNetwork(self.world, self.world.ledger, self.world.weather_now, self.peer,
                          self.submitter, store)  # fmt: skip

    async def main(self) -> None:
        """The program; raises one of the errors it may end with."""
        raise NotImplementedError

    def start_again(self) -> None:
        """After an end."""
        self.start()

    def _ended(self, process: Process, main: "asyncio.Task[None]") -> None:
        error = None if main.cancelled() else main.exception()
        if error is not None and process.alive:
            self.world.note(process.name, "ends by", repr(error))
            if not isinstance(error, _EXPECTED):
                self.world.broken("no strange end", f"{process.name} by {error!r}")
        process.kill("its main task has ended")
        self.world.later(self.world.chance.choice((0.1, 1.0, 3.0)), self.start_again)


class ConnectorService(Service):
    """`clearline connector serve`."""

    def __init__(self, world: "World", name: str, stands_by: str = "") -> None:
        super().__init__(world, name, "peer-one", Submitter("BankOne", Role.CONNECTOR, "p-conn"))
        self._candidate = Candidate(name, stands_by=bool(stands_by))
        self.harm: list[Event] = []  # what happens to its files before it starts again
        self._copy: Path | None = None

    @property
    def outbox(self) -> Path:
        return self.folder / "outbox.db"

    async def main(self) -> None:
        queue_file = self.folder / "queue.db"
        store = SimQueueStore(self.world, queue_file)
        network: Any = self.network(store)  # a Network as far as it is used

        @asynccontextmanager
        async def opened(position: Position | None) -> AsyncIterator[Ledger]:
            if position is None:
                self.world.ledger.flights.forget(self.name)
            async with ledger_over(network, CHAINCODE, store, queue_file, position) as ledger:
                yield ledger

        parts = Parts(
            place=Place(NETWORK, ACQUIRER_ID),
            chaincode=CHAINCODE,
            outbox=self.outbox,
            adapter=SimAdapter(self.world.acquirer),
            signer=BANK,
            open_ledger=opened,
            candidate=self._candidate,
            in_flight=8,
            pace=Pace(first=2.0, longest=8.0),
            database=SimDatabase,
        )
        await Connector(parts).run(self.ends)

    async def take_over(self) -> None:
        """`clearline connector take-over`, given again until it works."""
        process = Process(f"{self.name}-command", self.world)
        claims = Claims(self.folder / "claim.json")
        self.folder.mkdir(parents=True, exist_ok=True)

        async def command() -> bool:
            own = self.network(None)
            try:
                lease = await take_over(own.contract(CHAINCODE), ACQUIRER_ID, self.name, claims)
            except (TakeoverError, FabricError) as error:
                self.world.note(process.name, "failed", error)
                return False
            self.world.note(process.name, "has epoch", lease.epoch)
            return True

        while not await process.spawn(command()):  # noqa: ASYNC110 - a person does
            await asyncio.sleep(1.0)

    # what happens to its files

    def copy(self) -> None:
        """Somebody keeps a copy of the outbox."""
        if self.outbox.exists():
            self._copy = self.folder / "copy.db"
            shutil.copyfile(self.outbox, self._copy)

    def start_again(self) -> None:
        harm, self.harm = self.harm, []
        for event in harm:
            self.world.note(self.name, event.deed)
            self._do(event)
        if any(event.fenced for event in harm):
            self.world.command(self.take_over()).add_done_callback(lambda _: self.start())
        else:
            self.start()

    def _do(self, event: Event) -> None:
        deed = event.deed
        if deed in (Deed.OUTBOX_LOST, Deed.OUTBOX_OLD):
            if deed is Deed.OUTBOX_LOST:
                self.outbox.unlink(missing_ok=True)
            elif self._copy is not None:
                shutil.copyfile(self._copy, self.outbox)
            if deed is Deed.OUTBOX_OLD and not event.fenced:
                self.world.forgets()
        elif self.outbox.exists():
            with closing(sqlite3.connect(self.outbox)) as db, db:
                if deed is Deed.CHECKPOINT_TORN:
                    db.execute("DELETE FROM meta WHERE name = 'header_hash'")
                else:
                    (now,) = db.execute("SELECT value FROM meta WHERE name = 'block'").fetchone()
                    back = self.world.chance.randint(0, int(now))
                    header = self.world.ledger.shown[back].header_hash.hex()
                    db.execute("UPDATE meta SET value = ? WHERE name = 'block'", (str(back),))
                    db.execute("UPDATE meta SET value = ? WHERE name = 'header_hash'", (header,))


class GatewayService(Service):
    """A gateway as far as its commit queue goes: it takes items and says what became of them."""

    def __init__(self, world: "World", name: str, peer: str, msp_id: str) -> None:
        super().__init__(world, name, peer, Submitter(msp_id, Role.GATEWAY, f"p-{name}"))
        self.queue: CommitQueue | None = None

    async def main(self) -> None:
        store = SimQueueStore(self.world, self.folder / "queue.db")
        network: Any = self.network(store)
        queue = CommitQueue(network.contract(CHAINCODE), store)
        self.queue = None
        await queue.start()
        self.queue = queue
        try:
            await self.ends.wait()
            await queue.drained()
        finally:
            self.queue = None
            await queue.close()

    async def post(self, item: QueueItem, receipt: bool) -> dict[str, object] | None:
        """An answer to whoever posts, None when none comes in three seconds. {"received": True}
        with `receipt`, else the outcome, or {"refused": why}."""
        process, queue = self.process, self.queue
        if process is None or not process.alive or queue is None:
            return None
        reply: asyncio.Future[dict[str, object]] = self.world.loop.create_future()

        def answer(told: dict[str, object]) -> None:
            if not reply.done():
                reply.set_result(told)

        async def serve() -> None:
            try:
                if receipt:
                    await queue.accept(item)
                    told: dict[str, object] = {"received": True}
                else:
                    result = await queue.submit(item)
                    told = {**result.outcome, "block": result.block_number}
            except ItemRefused as error:
                told = {"refused": error.reason, "outcome": error.outcome}
            except (QueueFull, QueueClosed, ItemConflict, StoreError):
                return
            own_process().point("before an answer is sent")
            self.world.later(0.005, answer, told)

        process.spawn(serve())
        try:
            async with asyncio.timeout(3.0):
                return await reply
        except TimeoutError:
            return None


def payload(**members: object) -> str:
    """One element of a function's list."""
    return json.dumps(members)
