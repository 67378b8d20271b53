"""Whether an acquirer can take payments now, from what its connectors reported. Pure.

A hint decides only where an intent goes, or that it does not go yet; the ledger stays the judge.
So silence never refuses: a gateway that nobody reports to behaves as one without the link, and a
connector that fell silent is avoided where the merchant named another acquirer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from clearline.acquirer_health import STALE_S, Health

# Seconds a client is told to wait at most, and that is half of what the excess takes: who comes too
# soon costs little, and if all come too late an acquirer that has caught up has nothing to do.
_LONGEST_WAIT_S: Final = 5


class Availability(IntEnum):
    """Lower is better; the last is refused before the ledger."""

    AVAILABLE = 0
    DOUBTFUL = 1
    UNAVAILABLE = 2

    @property
    def label(self) -> str:
        """The word clients and metrics see."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Heard:
    """A connector's newest report; `heard_at` by time.monotonic, which all processes of a machine
    share."""

    health: Health
    reason: str
    depth: int
    heard_at: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """Payments that wait for an acquirer, and how many it works off a second; `pace` is 0 while
    nothing is measured."""

    waiting: int
    pace: float = 0.0

    @property
    def seconds(self) -> float:
        """How long one more would wait; 0 while that is not known."""
        return self.waiting / self.pace if self.pace else 0.0


NOTHING: Final = Backlog(0)


@dataclass(frozen=True, slots=True)
class Paced:
    """An acquirer's backlog as the committer has counted it, and when; see gateway.pace."""

    backlog: Backlog
    noted_at: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """From how many payments waiting, and beyond how many seconds of its own pace, an acquirer
    takes no more."""

    depth: int
    backlog_s: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """How available, why when it is not, and the depth that was reported; its backlog, and how
    many seconds later it is worth asking again."""

    availability: Availability
    reason: str = ""
    depth: int = 0
    backlog: Backlog = NOTHING
    retry_after: int = 1

    @property
    def crowded(self) -> bool:
        """Whether it takes no more for what waits for it."""
        return self.availability is Availability.UNAVAILABLE and self.backlog is not NOTHING


UNLINKED: Final = Judgement(Availability.AVAILABLE)
_ORDER: Final = {Health.UP: 0, Health.DEGRADED: 1, Health.DOWN: 2}


def judge(
    reports: Sequence[Heard], now: float, bounds: Bounds, paced: Paced | None = None
) -> Judgement:
    """What an acquirer's connectors' newest reports mean at `now`, and its backlog where one was
    counted. Two connectors of one acquirer: the one that sees it best counts."""
    if not reports:
        return UNLINKED
    fresh = [report for report in reports if not _stale(now, report.heard_at)]
    if not fresh:
        return Judgement(Availability.DOUBTFUL, "its connector is silent")
    best = min(fresh, key=lambda report: (_ORDER[report.health], report.depth))
    if best.health is Health.DOWN:
        return Judgement(Availability.UNAVAILABLE, best.reason or "it is down", best.depth)
    if best.depth >= bounds.depth:
        reason = f"{best.depth} payments wait for it"
        return Judgement(Availability.UNAVAILABLE, reason, best.depth)
    backlog = NOTHING if paced is None or _stale(now, paced.noted_at) else paced.backlog
    if backlog.seconds > bounds.backlog_s:
        reason = f"{backlog.waiting} payments wait for it, {backlog.seconds:.1f} s of its pace"
        later = min(_LONGEST_WAIT_S, math.ceil((backlog.seconds - bounds.backlog_s) / 2))
        return Judgement(Availability.UNAVAILABLE, reason, best.depth, backlog, later)
    if best.health is Health.DEGRADED:
        return Judgement(Availability.DOUBTFUL, best.reason, best.depth, backlog)
    return Judgement(Availability.AVAILABLE, "", best.depth, backlog)


def _stale(now: float, at: float) -> bool:
    return not -1.0 <= now - at <= STALE_S
