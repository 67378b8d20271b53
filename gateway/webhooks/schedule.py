"""When a delivery is tried again: the published schedule (docs/webhooks.md)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

# Seconds between an attempt and the next, from the first failure on; after the last one the event
# is given up at this endpoint and stays to be had at GET /v1/events.
DELAYS: Final = (
    5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400,
)  # fmt: skip
ATTEMPTS: Final = len(DELAYS) + 1
# An event that waits behind others at an endpoint that is down is given up by its age.
LONGEST: Final = 4 * 86_400
JITTER: Final = 0.1  # of a delay, either way, so that what failed together is not sent together
# An endpoint that doesn't answer is asked by one message at a time, after a pause that doubles.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
MAX_RETRY_AFTER: Final = 3_600.0  # seconds of a receiver's Retry-After that are heeded


def delay(attempts: int, spread: Callable[[float, float], float] = random.uniform) -> float | None:
    """Seconds until the next attempt after `attempts` of them failed; None when that was all."""
    if attempts > len(DELAYS):
        return None
    return DELAYS[attempts - 1] * spread(1 - JITTER, 1 + JITTER)


def pause(failures: int) -> float:
    """Seconds an endpoint is left alone after so many failures in a row."""
    return float(min(FIRST_PAUSE * 2 ** min(failures - 1, 16), LONGEST_PAUSE))
