"""Whether an acquirer can take payments now, from what its connectors reported. Pure.

A hint decides only where an intent goes, or that it does not go yet; the ledger stays the judge.
So silence never refuses: a gateway that nobody reports to behaves as one without the link, and a
connector that fell silent is avoided where the merchant named another acquirer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from clearline.acquirer_health import STALE_S, Health


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
class Judgement:
    """How available, why when it is not, and the depth that was reported."""

    availability: Availability
    reason: str = ""
    depth: int = 0


UNLINKED: Final = Judgement(Availability.AVAILABLE)
_ORDER: Final = {Health.UP: 0, Health.DEGRADED: 1, Health.DOWN: 2}


def judge(reports: Sequence[Heard], now: float, most: int) -> Judgement:
    """What an acquirer's connectors' newest reports mean at `now`; `most` is the depth from which
    it drowns. Two connectors of one acquirer: the one that sees it best counts."""
    if not reports:
        return UNLINKED
    fresh = [report for report in reports if -1.0 <= now - report.heard_at <= STALE_S]
    if not fresh:
        return Judgement(Availability.DOUBTFUL, "its connector is silent")
    best = min(fresh, key=lambda report: (_ORDER[report.health], report.depth))
    if best.health is Health.DOWN:
        return Judgement(Availability.UNAVAILABLE, best.reason or "it is down", best.depth)
    if best.depth >= most:
        reason = f"{best.depth} payments wait for it"
        return Judgement(Availability.UNAVAILABLE, reason, best.depth)
    if best.health is Health.DEGRADED:
        return Judgement(Availability.DOUBTFUL, best.reason, best.depth)
    return Judgement(Availability.AVAILABLE, "", best.depth)
