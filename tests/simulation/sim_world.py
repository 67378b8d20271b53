"""One run: what a seed plans, played on one loop, and what must hold afterwards."""

import asyncio
import logging
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import sim_rules
from sim_acquirer import SimAcquirer
from sim_keys import registered
from sim_ledger import Envelope, SimLedger
from sim_merchants import Merchants
from sim_plan import CHAOS_S, CONNECTORS, GATEWAYS, Deed, Event, Plan, draw
from sim_process import EPOCH, Base
from sim_refunds import RefundBook
from sim_services import ConnectorService, GatewayService, Service
from sim_weather import CALM, Weather

from chaincode.contract.context import Submitter
from clearline import times

_SETTLES_S = 900.0  # after the last fault: time enough for every pause and every expiry
_STOPS_S = 30.0
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Result:
    """What came of a seed: rules that do not hold, and the trace."""

    seed: int
    violations: tuple[str, ...]
    trace: tuple[str, ...]

    def story(self, last: int = 150) -> str:
        """For a person."""
        return "\n".join((
            f"seed {self.seed} breaks:", *(f"  {one}" for one in self.violations),
            f"the last {last} events (repeat: pytest tests/simulation --seed {self.seed}):",
            *self.trace[-last:],
        ))  # fmt: skip


class World(Base):
    """Everything of one run."""

    def __init__(self, seed: int, plan: Plan, folder: Path) -> None:
        super().__init__(seed)
        self.plan = plan
        self.folder = folder
        self.calm = False
        self.excused: set[str] = set()  # references that may be seen twice
        self.contradicted: set[str] = set()  # keys of evidence that may be there
        self.unfenced: set[str] = set()  # payments and refunds that were open then
        self.ledger = SimLedger(self, self.weather_now)
        refunds = RefundBook(plan.generous)
        self.acquirer = SimAcquirer(self, plan.capabilities, plan.waits, refunds)
        self.acquirer.payers = {wish.token: wish.payer for wish in plan.wishes}
        self.merchants = Merchants(self)
        self.connectors = [ConnectorService(self, CONNECTORS[0])]
        if plan.standby:
            self.connectors.append(ConnectorService(self, CONNECTORS[1], stands_by="yes"))
        self.gateways = [
            GatewayService(self, GATEWAYS[0], "peer-one", "BankOne"),
            GatewayService(self, GATEWAYS[1], "peer-two", "BankTwo"),
        ]
        self.commands: list[asyncio.Task[None]] = []

    # what the ports ask

    def weather_now(self) -> Weather:
        return CALM if self.calm else self.plan.weather

    def disk_seconds(self) -> float:
        return self.chance.choice((0.0005, 0.001, 0.003, 0.003, 0.04))

    def disk_is_full(self) -> bool:
        return self.happens(self.weather_now().disk_full)

    def forgets(self) -> None:
        """A connector acts over an old copy of its outbox, without a new lease: what was open
        is not certain (docs/simulation.md). A report may be on its way that the next one
        contradicts; and where the ledger shows nothing newer, nobody can tell it that something
        was sent."""
        self.excused.update(self.acquirer.sent)
        self.contradicted.update(sim_rules.contradictable(self))
        self.unfenced.update(sim_rules.open_keys(self))

    def command(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Somebody's work at a command line."""
        task = self.loop.create_task(work, context=self.outside)
        self.commands.append(task)
        return task

    # the run

    @property
    def services(self) -> list[Service]:
        return [*self.connectors, *self.gateways]

    async def run(self) -> None:
        """From the first block to the last."""
        self.ledger.append([_first_block()])
        for service in self.services:
            service.start()
        for event in self.plan.events:
            self.later(event.at, self._do, event)
        buying = [self.loop.create_task(self.merchants.buy(wish)) for wish in self.plan.wishes]
        await asyncio.sleep(CHAOS_S)
        self._heal()
        await self._settled(buying)
        await self._stop()
        sim_rules.check(self)

    def _heal(self) -> None:
        """From now on all is well."""
        self.calm = True
        self.note("world", "all is well from now on")
        self._acquirer_up()
        for peer in self.ledger.peers.values():
            self.ledger.rise(peer)
        for service in self.services:
            self._set_clock(service, 0.0)
            if service.process is not None:
                service.process.dies_at = 0

    async def _settled(self, buying: "list[asyncio.Task[None]]") -> None:
        """Until nothing is left to be done, or it takes too long: the rules then say what."""
        end = self.elapsed + _SETTLES_S
        while self.elapsed < end:
            await asyncio.sleep(1.0)
            tasks = [*buying, *self.commands]
            for task in tasks:
                if task.done():
                    task.result()
            idle = all(task.done() for task in tasks)
            queues = [gateway.queue for gateway in self.gateways]
            drained = all(queue is not None and not queue.depth() for queue in queues)
            quiet = idle and drained and not self.acquirer.busy
            if quiet and not sim_rules.open_yet(self) and not sim_rules.stuck(self):
                return
        self.broken("everything ends", f"not within {_SETTLES_S:.0f} s: {sim_rules.open_yet(self)}")

    async def _stop(self) -> None:
        for service in self.services:
            service.stop_for_good()
        await asyncio.sleep(_STOPS_S)
        for service in self.services:
            service.kill_for_good()
        await asyncio.sleep(0.1)

    def _do(self, event: Event) -> None:
        if self.calm:
            return
        self.note("fault", event.deed, event.whom, event.number, f"{event.seconds:.1f}")
        service = next((one for one in self.services if one.name == event.whom), None)
        if event.deed is Deed.ACQUIRER_DOWN:
            self._acquirer_down(event.seconds)
        elif event.deed is Deed.PEER_DOWN:
            self._peer_down(event)
        elif service is None or service.process is None:
            return
        elif event.deed is Deed.KILL:
            service.process.dies_at = service.process.points + event.number
        elif event.deed is Deed.STOP:
            service.ends.set()
        elif event.deed is Deed.CLOCK:
            self._set_clock(service, float(event.number))
            self.ledger.flights.forget(service.name)
            self.later(event.seconds, self._set_clock, service, 0.0)
        elif isinstance(service, ConnectorService):
            self._do_to(service, event)

    def _do_to(self, connector: ConnectorService, event: Event) -> None:
        if event.deed is Deed.TAKE_OVER:
            self.command(connector.take_over())
            return
        connector.harm.append(event)
        connector.copy()
        assert connector.process is not None
        connector.process.dies_at = connector.process.points + event.number

    def _acquirer_down(self, seconds: float) -> None:
        if self.acquirer.up:
            self.acquirer.fall()
            self.later(seconds, self._acquirer_up)

    def _acquirer_up(self) -> None:
        if not self.acquirer.up:
            self.acquirer.rise()

    def _peer_down(self, event: Event) -> None:
        peer = self.ledger.peers[event.whom]
        self.ledger.fall(peer)
        self.later(event.seconds, self.ledger.rise, peer)

    def _set_clock(self, service: Service, ahead: float) -> None:
        service.offset = ahead
        if service.process is not None:
            service.process.offset = ahead


def run_seed(seed: int, plan: Plan | None = None) -> Result:
    """Play a seed; the same seed gives the same trace."""
    folder = Path(tempfile.mkdtemp(prefix="clearline-sim-", dir=_fast_folder()))
    try:
        return _play(World(seed, plan or draw(seed), folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fast_folder() -> Path | None:
    """Files that end with the run need no disk."""
    return _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None


def _play(world: World) -> Result:
    with _as_seeded(world):
        loop = world.loop
        asyncio.set_event_loop(loop)
        try:
            main = loop.create_task(world.run(), context=world.outside)
            try:
                loop.run_until_complete(main)
            except Exception as error:
                world.broken("the run itself", repr(error))
            _end_tasks(world, main)
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    return Result(world.seed, tuple(world.violations), tuple(world.trace.lines()))


def _end_tasks(world: World, main: "asyncio.Task[None]") -> None:
    loop = world.loop
    left = [task for task in asyncio.all_tasks(loop) if task is not main]
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.run_until_complete(loop.shutdown_asyncgens())


@contextmanager
def _as_seeded(world: World) -> Iterator[None]:
    """Clocks and chance are the world's while it runs; logs are not wanted."""
    state = random.getstate()
    random.seed(world.seed)
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    with (
        mock.patch.object(times, "now", lambda: times.render(world.process_wall())),
        mock.patch.object(time, "time", lambda: world.process_wall().timestamp()),
        mock.patch.object(secrets, "token_bytes", world.chance.randbytes),
    ):
        try:
            yield
        finally:
            logging.disable(disabled)
            random.setstate(state)


def _first_block() -> Envelope:
    nobody = Submitter("BankOne", "", "p-0")
    return Envelope("tx-first", "network", "", b"", EPOCH, nobody, {}, registered(), (), b"[]")
