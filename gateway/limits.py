"""Limits per merchant: a token bucket, kept in memory by the process that asks it, and a share of
the queue. What several processes ask is in gateway.shared_buckets."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

POLICY_HEADER: Final = "RateLimit-Policy"
_ALONE: Final = 0.75  # of the queue one merchant may fill; what is left is for who comes next
_MERCHANTS: Final = 10_000  # buckets kept; the least recently used is full again anyway


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit as it is published (draft-ietf-httpapi-ratelimit-headers): a bucket of `burst` tokens
    for each merchant, into which `rate` flow a second. `header` is RateLimit-Policy's value: a
    bucket of `q` that is full again after `w` seconds."""

    name: str
    burst: int
    rate: int
    header: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        window = max(1, -(-self.burst // self.rate))
        object.__setattr__(self, "header", f'"{self.name}";q={self.burst};w={window}')

    def headers(self, allowance: Allowance) -> dict[str, str]:
        """The policy and what is left (`r`; in `t` seconds there is more)."""
        missing = self.burst - allowance.remaining
        soon = allowance.retry_after or max(1, -(-missing // self.rate))
        found = {
            POLICY_HEADER: self.header,
            "RateLimit": f'"{self.name}";r={allowance.remaining};t={soon}',
        }
        return found if allowance.granted else found | {"Retry-After": str(allowance.retry_after)}


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket said: `retry_after` is 0 when the tokens were there, else whole seconds until
    they will be; `remaining` is what is left in it."""

    remaining: int
    retry_after: int = 0

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
            return Allowance(int(level))
        missing = (min(tokens, self._burst) - level) / self._rate
        return Allowance(int(level), max(1, -int(-missing // 1)))


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
