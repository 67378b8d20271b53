"""An event loop whose time jumps to the next timer when nothing is ready: no sleeping, no sockets,
no threads, and the same order of events at each run.

It is asyncio's own BaseEventLoop over a selector that waits for nothing: what asyncio promises
(callbacks in their order, timers by their time) holds unchanged.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

START = 1_000.0  # loop time at which a run begins
_TURNS = 200_000  # of the loop without time passing: nobody does that much at once


class StalledError(Exception):
    """Nothing will ever happen again, or everything happens at once."""


class SimTask(asyncio.Task[Any]):
    """A task whose place in a set depends on its number, not on its address."""

    def __init__(self, number: int, work: Coroutine[Any, Any, Any], **options: Any) -> None:
        self._number = number
        super().__init__(work, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """Run it as any loop; `created` is told of each task, and of its context, before its first
    step."""

    def __init__(self, created: Callable[[SimTask, Context], None]) -> None:
        super().__init__()
        self._now = START
        self._turns = 0
        self._tasks = 0
        self._created = created
        self._selector = self
        self.set_task_factory(self._new_task)  # type: ignore[arg-type]

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        """The selector: time passes at once."""
        if timeout is None:
            raise StalledError("nothing is ready and no timer is set")
        if timeout > 0:
            self._now += timeout
            self._turns = 0
        self._turns += 1
        if self._turns > _TURNS:
            self._turns = 0
            raise StalledError(f"{_TURNS} turns at {self._now - START:.3f} s without time passing")
        return ()

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Inline: what would go to a thread is done when it is asked for."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> SimTask:
        self._tasks += 1
        task = SimTask(self._tasks, work, loop=loop, **options)
        self._created(task, options.get("context") or copy_context())
        return task

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps that would have to be woken."""
