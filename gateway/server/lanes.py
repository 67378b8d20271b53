"""Who is answered now, who waits for a thread, and who is told to come back.

Each kind of request has threads of its own, so that posts that wait for the ledger leave the
others their threads; and a line that is short in number and in time, because a request that
would wait longer is better refused at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_HEALTH: Final = b"GET /healthz "
_READS: Final = (b"GET ", b"HEAD ", b"OPTIONS ")


class Kind(Enum):
    """Requests that have threads of their own."""

    HEALTH = "health"
    READS = "reads"
    WRITES = "writes"


class Place(Enum):
    """What becomes of a request that comes in."""

    THREAD = "thread"
    LINE = "line"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Width:
    """Threads of a lane; requests that may wait for one, and for how many seconds."""

    threads: int
    line: int
    patience: float


def widths(threads: int) -> dict[Kind, Width]:
    """The lanes of a worker with this many threads for posts. Reads have as many: those that wait
    for a final status hold theirs for long."""
    return {
        Kind.HEALTH: Width(1, 256, 10.0),
        Kind.READS: Width(threads, 8 * threads, 5.0),
        Kind.WRITES: Width(threads, 2 * threads, 1.0),
    }


def kind_of(head: bytes) -> Kind:
    """The lane of a request by its first bytes; 16 are enough."""
    if head.startswith(_HEALTH):
        return Kind.HEALTH
    return Kind.READS if head.startswith(_READS) else Kind.WRITES


class Lane(Generic[T]):
    """One kind's threads and its line. No clock inside: `now` is in seconds, of any one clock."""

    def __init__(self, width: Width) -> None:
        self._width = width
        self._busy = 0
        self._line: deque[tuple[float, T]] = deque()

    @property
    def waiting(self) -> int:
        """How many are in the line."""
        return len(self._line)

    def enter(self, item: T, now: float) -> Place:
        """A request came in. THREAD: it has one until `leave`."""
        if self._busy < self._width.threads:
            self._busy += 1
            return Place.THREAD
        if len(self._line) < self._width.line:
            self._line.append((now, item))
            return Place.LINE
        return Place.REFUSED

    def leave(self) -> T | None:
        """A thread is done: who has it next, the one who came first."""
        if self._line:
            return self._line.popleft()[1]
        self._busy -= 1
        return None

    def overdue(self, now: float) -> list[T]:
        """Those who have waited too long; they are out of the line."""
        late: list[T] = []
        while self._line and now - self._line[0][0] > self._width.patience:
            late.append(self._line.popleft()[1])
        return late
