"""Sends what is due: many deliveries at once, few to one receiver, one at a time for a payment.

An attempt is marked after its answer: whoever is killed between the two sends the event again,
under the same id. Nothing here holds up blocks: they are applied whatever receivers do.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Protocol, TypeVar

from clearline.fabric.blocks import Block
from clearline.logs import get_logger
from gateway.webhooks.outbox import Attempted, Due, Outbox
from gateway.webhooks.settings import WebhookSettings

_LONGEST_LOOK: Final = 0.5  # seconds between looks: workers register without telling us
_UNDER_WAY: Final = 0.25
_MOMENT: Final = 0.02
_RETRY: Final = 1.0  # seconds before a file that can't be written is tried again
_PRUNE: Final = 600.0
T = TypeVar("T")
_log = get_logger("clearline.gateway.webhooks")


class Attempts(Protocol):
    """What the notifier needs of sender.Sender."""

    def attempt(self, due: Due) -> Awaitable[Attempted]:
        """Send it once; whatever happens is in the answer."""


class Notifier:
    """Owns the outbox; use it from one event loop."""

    def __init__(self, outbox: Outbox, sender: Attempts, settings: WebhookSettings) -> None:
        self._outbox = outbox
        self._sender = sender
        self._settings = settings
        # SQLite syncs: not in the loop, where it would hold up every exchange.
        self._thread = ThreadPoolExecutor(1, "outbox")
        self._busy: set[tuple[int, str]] = set()
        self._done: list[Attempted] = []
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pruned = time.monotonic()

    async def apply(self, block: Block) -> None:
        """Store a block's events; waits as long as the file can't be written."""
        if await self._insist(partial(self._outbox.apply, block)):
            self._wake.set()

    async def run(self) -> None:
        """Send what is due, without end."""
        while True:
            self._wake.clear()
            await self._mark()
            free = self._settings.concurrency - len(self._busy)
            found: list[Due] = []
            if free > 0:
                each = self._settings.per_webhook
                look = partial(self._outbox.due, frozenset(self._busy), free, each)
                found = await self._insist(look)
            for due in found:
                self._begin(due)
            if not found and not self._done:
                await self._sleep()

    async def close(self) -> None:
        """Stop sending; what was answered is marked, what was not goes again."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        done, self._done = self._done, []
        if done:
            try:
                await self._call(partial(self._outbox.record, done))
            except sqlite3.Error as error:
                _log.error("answers are not marked", extra={"reason": str(error)})
        self._thread.shutdown()

    def _begin(self, due: Due) -> None:
        self._busy.add((due.webhook.number, due.payment))
        task = asyncio.create_task(self._attempt(due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempt(self, due: Due) -> None:
        attempted = await self._sender.attempt(due)
        fields = {"event": due.event_id, "payment": due.payment, "webhook": due.webhook.webhook_id}
        if attempted.error:
            _log.info("not delivered", extra=fields | {"reason": attempted.error})
        else:
            _log.info("delivered", extra=fields)
        self._done.append(attempted)
        self._wake.set()

    async def _mark(self) -> None:
        """Write what was answered meanwhile, as one group."""
        done, self._done = self._done, []
        if done:
            await self._insist(partial(self._outbox.record, done))
            for attempted in done:
                self._busy.discard((attempted.due.webhook.number, attempted.due.payment))

    async def _sleep(self) -> None:
        if time.monotonic() - self._pruned > _PRUNE:
            self._pruned = time.monotonic()
            await self._insist(partial(self._outbox.prune, self._settings.keep_days))
        soonest = await self._insist(self._outbox.next_due)
        wait = _LONGEST_LOOK if soonest is None else soonest - time.time()
        try:
            # What is due and under way is no reason to look again at once.
            least = _UNDER_WAY if self._busy else _MOMENT
            async with asyncio.timeout(min(max(wait, least), _LONGEST_LOOK)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _insist(self, work: Callable[[], T]) -> T:
        """Do it, however long the disk is full. Raises StoreError when the file is torn."""
        while True:
            try:
                return await self._call(work)
            except sqlite3.Error as error:
                self._outbox.check_sound(error)
                _log.error("the store can't be used", extra={"reason": str(error)})
                await asyncio.sleep(_RETRY)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
