"""What the ledger shows, and when: chaincode events as one peer commits them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from clearline.fabric.errors import EventsError
from clearline.fabric.events import Start
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile
from clearline.statuses import Status

_AGAIN = 0.05  # seconds before a stream that broke is opened again
_LOOK = 0.02


@dataclass(slots=True)
class Seen:
    """When a payment's request and its final status were first seen (monotonic seconds)."""

    requested: float | None = None
    final: float | None = None


class Observer:
    """Follows the ledger in a thread of its own; use as a context."""

    def __init__(self, profile: Path, first_block: int) -> None:
        """first_block: the next one to be made; nothing before it is looked at."""
        self._profile = Profile.load(profile)
        self._first = first_block
        self._payments: defaultdict[str, dict[str, Seen]] = defaultdict(dict)
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def payments(self, prefix: str) -> list[Seen]:
        """Every payment whose order number begins `prefix-`, as seen so far."""
        with self._lock:
            return list(self._payments[prefix].values())

    def counts(self, prefix: str) -> tuple[int, int]:
        """How many requests and how many ends were seen."""
        seen = self.payments(prefix)
        ended = sum(one.final is not None for one in seen)
        return len(seen), ended

    def wait_final(self, prefix: str, timeout: float) -> bool:
        """Whether every payment seen of `prefix` has ended, at the latest after `timeout`."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            requested, ended = self.counts(prefix)
            if requested == ended:
                return True
            time.sleep(_LOOK)
        return False

    def _main(self) -> None:
        self._task = self._loop.create_task(self._follow())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        finally:
            left = asyncio.all_tasks(self._loop)  # gRPC's own, ending with the connection
            if left:
                self._loop.run_until_complete(asyncio.wait(left, timeout=1))
            self._loop.close()

    async def _follow(self) -> None:
        block = self._first
        async with Gateway.connect(self._profile) as gateway:
            network = gateway.network(self._profile.channel)
            while True:
                events = network.chaincode_events(self._profile.chaincode, Start(block=block))
                try:
                    async for event in events:
                        block = event.block_number
                        self._take(json.loads(event.payload))
                except EventsError:
                    await asyncio.sleep(_AGAIN)
                finally:
                    await events.aclose()

    def _take(self, changes: list[tuple[str, str, str, int, str]]) -> None:
        now = time.monotonic()
        with self._lock:
            for _, _, order_no, _, status in changes:
                prefix = order_no.rpartition("-")[0]
                seen = self._payments[prefix].setdefault(order_no, Seen())
                if seen.requested is None:
                    seen.requested = now
                if Status(status).final and seen.final is None:
                    seen.final = now
