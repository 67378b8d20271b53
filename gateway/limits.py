"""Limits per merchant: a token bucket, kept in memory by the process that asks it, and a share of
the queue."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_ALONE: Final = 0.75  # of the queue one merchant may fill; what is left is for who comes next
_MERCHANTS: Final = 10_000  # buckets kept; the least recently used is full again anyway


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket said: `retry_after` is 0 when the tokens were there, else whole seconds until
    they will be. `limit` is the bucket's size, `remaining` what is left in it; `rate` what flows in
    a second."""

    limit: int
    remaining: int
    retry_after: int
    rate: int = 1

    def headers(self, policy: str) -> dict[str, str]:
        """draft-ietf-httpapi-ratelimit-headers: the policy by name (a bucket of `q` that is full
        again after `w` seconds) and what is left of it (`r`; in `t` seconds there is more)."""
        window = max(1, -(-self.limit // self.rate))
        soon = self.retry_after or max(1, -(-(self.limit - self.remaining) // self.rate))
        found = {
            "RateLimit-Policy": f'"{policy}";q={self.limit};w={window}',
            "RateLimit": f'"{policy}";r={self.remaining};t={soon}',
        }
        return found if self.granted else found | {"Retry-After": str(self.retry_after)}

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
            return Allowance(self._burst, int(level), 0, self._rate)
        missing = (min(tokens, self._burst) - level) / self._rate
        return Allowance(self._burst, int(level), max(1, -int(-missing // 1)), self._rate)


@dataclass(frozen=True, slots=True)
class Line:
    """What waits for the ledger: `depth` intents of `merchants` merchants, `mine` of the one who
    asks."""

    depth: int
    mine: int
    merchants: int

    def refusal(self, limit: int) -> str:
        """Why one more of this merchant is not taken, empty when it is.

        Once the queue is half full nobody may hold more than their share of it, so that one
        merchant's crowd is refused before it takes the place of the others' intents.
        """
        if self.depth >= limit:
            return "too many intents wait for the ledger"
        others = self.merchants - (self.mine > 0)
        share = limit / (others + 1) if others else limit * _ALONE
        if self.depth >= limit / 2 and self.mine >= share:
            return "too many of this merchant's intents wait for the ledger"
        return ""
