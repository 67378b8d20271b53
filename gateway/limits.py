"""Rate limits: a token bucket per merchant, kept in memory by the process that asks it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MERCHANTS: Final = 10_000  # buckets kept; the least recently used is full again anyway


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket said: `retry_after` is 0 when the tokens were there, else whole seconds until
    they will be. `limit` is the bucket's size, `remaining` what is left in it."""

    limit: int
    remaining: int
    retry_after: int

    @property
    def granted(self) -> bool:
        """Whether the tokens were taken."""
        return self.retry_after == 0


class TokenBuckets:
    """Buckets that fill at `rate` tokens a second up to `burst`; safe to use from threads."""

    def __init__(self, rate: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, tokens: int = 1) -> Allowance:
        """Take `tokens` from the bucket `name`, all or none."""
        now = self._clock()
        with self._lock:
            level, since = self._buckets.pop(name, (float(self._burst), now))
            level = min(float(self._burst), level + max(0.0, now - since) * self._rate)
            granted = level >= tokens
            if granted:
                level -= tokens
            self._buckets[name] = (level, now)
            if len(self._buckets) > _MERCHANTS:
                self._buckets.popitem(last=False)
        if granted:
            return Allowance(self._burst, int(level), 0)
        missing = (min(tokens, self._burst) - level) / self._rate
        return Allowance(self._burst, int(level), max(1, -int(-missing // 1)))
