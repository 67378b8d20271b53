"""The connections of a worker by what they are at, each with its deadline.

A phase has one length for all, so within one the oldest is the first to run out, and looking at
the first of each phase is enough.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from gateway.server.connection import Connection, Phase

# Whose place is given to a newcomer first: who has shown the least.
_DISPENSABLE = (Phase.LEAVING, Phase.GREETING, Phase.SILENT, Phase.SENDING, Phase.IDLE)


class Table:
    """Every open connection. Times are seconds of a monotonic clock, given by whoever asks."""

    def __init__(self, lasts: Mapping[Phase, float]) -> None:
        """`lasts`: how long a phase may take; what is not in it has no end."""
        self._lasts = dict(lasts)
        self._of: dict[Phase, OrderedDict[Connection, None]] = {
            phase: OrderedDict() for phase in Phase if phase is not Phase.CLOSED
        }
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, connection: Connection, now: float) -> None:
        """A new one, in the phase that it says."""
        self._size += 1
        self._of[connection.phase][connection] = None
        connection.deadline = now + self._lasts[connection.phase]

    def move(self, connection: Connection, phase: Phase, now: float) -> None:
        """It is at something else now; the same phase again gives it no more time."""
        if connection.phase is phase:
            return
        del self._of[connection.phase][connection]
        connection.phase = phase
        self._of[phase][connection] = None
        connection.deadline = now + self._lasts.get(phase, float("inf"))

    def remove(self, connection: Connection) -> None:
        """It is closed."""
        del self._of[connection.phase][connection]
        self._size -= 1

    def late(self, now: float) -> Iterator[Connection]:
        """Those whose time is over; remove each before the next is asked for."""
        for phase in self._lasts:
            held = self._of[phase]
            while held:
                first = next(iter(held))
                if first.deadline > now:
                    break
                yield first

    def dispensable(self) -> Connection | None:
        """The one whose place a newcomer gets: the oldest of those that ask for least."""
        for phase in _DISPENSABLE:
            if self._of[phase]:
                return next(iter(self._of[phase]))
        return None

    def largest(self) -> Connection | None:
        """The one that holds most of a request it has not sent whole."""
        return max(self._of[Phase.SENDING], key=lambda one: one.held, default=None)

    def of(self, phase: Phase) -> list[Connection]:
        """Those in a phase, oldest first."""
        return list(self._of[phase])

    @property
    def held(self) -> int:
        """Bytes of requests that are not whole yet, in all."""
        return sum(one.held for one in self._of[Phase.SENDING])

    def shorten(self, phase: Phase, seconds: float, now: float) -> None:
        """From now on a phase lasts so long, for those in it too."""
        self._lasts[phase] = seconds
        for one in self._of[phase]:
            one.deadline = min(one.deadline, now + seconds)
