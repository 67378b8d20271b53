"""Whose turn it is among the gateways: round robin, with a pause for those that asked for one or
did not answer. Shared by all threads of a run."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

from merchant.client import Broken, Busy, RefundReply, Reply, Unreachable

FIRST_PAUSE: Final = 0.25  # seconds; doubled with each failure in a row
LONGEST_PAUSE: Final = 8.0
# A pause is stretched at random by up to this share, so that clients don't come back together.
JITTER: Final = 0.25


@dataclass(slots=True)
class _Standing:
    not_before: float = 0.0
    failures: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """A gateway, and the time (of the rota's clock) from which it may be called."""

    gateway: int
    ready_at: float


class Rota:
    """Chooses gateways by index."""

    def __init__(self, count: int, clock: Callable[[], float] = monotonic, seed: str = "") -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._standings = [_Standing() for _ in range(count)]
        self._next = 0
        self._random = random.Random(seed or None)  # noqa: S311 - spreads load, guards nothing
        self.last_answer = clock()

    def pick(self, avoid: frozenset[int] = frozenset()) -> Turn:
        """The next gateway that is not avoided; one that rests only when all others do too.

        With every gateway avoided, all count again.
        """
        with self._lock:
            count = len(self._standings)
            order = [(self._next + step) % count for step in range(count)]
            allowed = [index for index in order if index not in avoid] or order
            now = self._clock()
            chosen = min(allowed, key=lambda index: max(self._standings[index].not_before, now))
            self._next = (chosen + 1) % count
            return Turn(chosen, self._standings[chosen].not_before)

    def ready(self, gateway: int) -> Turn:
        """When this very gateway may be called."""
        with self._lock:
            return Turn(gateway, self._standings[gateway].not_before)

    def report(self, gateway: int, reply: Reply | RefundReply) -> str:
        """Take note of what a gateway replied; answers a new kind of trouble, else nothing."""
        with self._lock:
            standing = self._standings[gateway]
            now = self._clock()
            if isinstance(reply, Unreachable | Broken):
                known = standing.failures > 0 and standing.reason == reply.reason
                self._rest(standing, now, None)
                standing.reason = reply.reason
                return "" if known else reply.reason
            self.last_answer = now
            if isinstance(reply, Busy):
                self._rest(standing, now, reply.retry_after)
                return ""
            standing.failures = 0
            return ""

    def _rest(self, standing: _Standing, now: float, asked: float | None) -> None:
        standing.failures += 1
        backoff = min(FIRST_PAUSE * 2 ** min(standing.failures - 1, 10), LONGEST_PAUSE)
        pause = backoff if asked is None else max(asked, FIRST_PAUSE)
        pause *= 1 + JITTER * self._random.random()
        standing.not_before = max(standing.not_before, now + pause)
