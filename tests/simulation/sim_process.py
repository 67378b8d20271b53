"""Processes inside one event loop: each has a clock of its own and can be killed at any step.

What belongs to a process is found by a context variable, which tasks and timers inherit. A killed
process does nothing more: whatever it would write, send or be told, its ports refuse.
"""

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from sim_loop import START, SimTask, VirtualLoop

EPOCH = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


class Trace:
    """What happened, in order: virtual seconds, who, what."""

    def __init__(self) -> None:
        self._events: list[tuple[float, str, str, tuple[object, ...]]] = []

    def add(self, at: float, who: str, what: str, *rest: object) -> None:
        self._events.append((at, who, what, rest))

    def lines(self) -> list[str]:
        return [
            f"{at - START:10.3f} {who:<12} {what} {' '.join(map(str, rest))}".rstrip()
            for at, who, what, rest in self._events
        ]


class Process:
    """One incarnation of a program. `offset`: seconds its clock is ahead."""

    def __init__(self, service: str, world: "Base") -> None:
        world.incarnations[service] = world.incarnations.get(service, 0) + 1
        self.service = service
        self.name = f"{service}.{world.incarnations[service]}"
        self.alive = True
        self.offset = 0.0
        self.points = 0
        self.dies_at = 0  # the point at which it is killed, 0 for none
        self.tasks: dict[SimTask, None] = {}
        self.at_death: list[Callable[[], None]] = []
        self.world = world
        self.context = contextvars.copy_context()
        self.context.run(_CURRENT.set, self)

    def point(self, what: str) -> None:
        """A place at which the process may be killed: raises CancelledError when it is, or was."""
        if not self.alive:
            raise asyncio.CancelledError
        self.points += 1
        if self.points == self.dies_at:
            self.kill(what)
            raise asyncio.CancelledError

    def kill(self, where: str) -> None:
        """kill -9: nothing of it goes on, and what it has not stored is gone."""
        if not self.alive:
            return
        self.alive = False
        self.world.note(self.name, "killed", where)
        for clean in self.at_death:
            clean()
        for task in list(self.tasks):
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task inside the process."""
        return self.world.loop.create_task(work, context=self.context)


_CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current() -> Process | None:
    """The process whose code runs, None outside of all."""
    return _CURRENT.get()


def own_process() -> Process:
    """The process whose code runs."""
    process = _CURRENT.get()
    assert process is not None, "outside of every process"
    return process


class Base:
    """Clock, chance and trace, which everything shares."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.trace = Trace()
        self.loop = VirtualLoop(_adopt)
        self.outside = contextvars.copy_context()
        self.incarnations: dict[str, int] = {}
        self.violations: list[str] = []

    def note(self, who: str, what: str, *rest: object) -> None:
        self.trace.add(self.loop.time(), who, what, *rest)

    def broken(self, rule: str, what: str) -> None:
        """A rule does not hold; the run fails at its end."""
        self.violations.append(f"{rule}: {what}")
        self.note("rule", "BROKEN", rule, what)

    def disk_seconds(self) -> float:
        """How long a group of steps takes."""
        return 0.001

    def disk_is_full(self) -> bool:
        """Whether a group of steps is not written."""
        return False

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the start."""
        return self.loop.time() - START

    def wall(self, offset: float = 0.0) -> datetime:
        """The right time, `offset` seconds later."""
        return EPOCH + timedelta(seconds=self.loop.time() - START + offset)

    def process_wall(self) -> datetime:
        """The time as the process that asks has it."""
        process = current()
        return self.wall(process.offset if process is not None else 0.0)

    def later(self, seconds: float, what: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """Something that happens outside of every process."""
        return self.loop.call_later(seconds, what, *args, context=self.outside)

    def happens(self, likelihood: float) -> bool:
        """Chance; draws nothing for what can't be."""
        return likelihood > 0 and self.chance.random() < likelihood


def _adopt(task: SimTask, context: contextvars.Context) -> None:
    process = context.get(_CURRENT)
    if process is None:
        return
    process.tasks[task] = None
    task.add_done_callback(process.tasks.pop)
    if not process.alive:
        task.cancel()
