"""How long a new payment would wait for its acquirer, by what the blocks show. Pure: no clock.

A payment that is `requested` on the ledger waits until the first report about it, whatever that
says; one that is `accepted` waits for its payer, which is nobody's backlog. Payments are taken in
their order, so what came after the newest that has been reported on is the line, and its head
has waited for as long as the acquirer has had work without a pause. What was reported in that time,
over that time, is therefore the acquirer's pace while it was busy, and what it did when it had
nothing to do does not count: a crowd that comes to an idle acquirer is not held against it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Final

from clearline.intents import PaymentKey
from clearline.refunds import RefundKey
from clearline.statuses import Status
from gateway.availability import NOTHING, Backlog
from gateway.projected import PaymentChange

_WINDOW_S: Final = 10.0  # the pace is of so many seconds at most
_LEAST: Final = 10  # payments reported on below which there is no pace
_NEWEST: Final = 9  # of those reported on last, the middle one says where the line is
_SILENCE_S: Final = 1.0  # without a report; what goes beyond is an outage and not counted
_FORGOTTEN_S: Final = 60.0  # until a payment that others passed is not looked at any more


@dataclass(slots=True)
class _Line:
    """One acquirer's: payments without a report in the order of their coming, each with its number
    and when it came, and how many were reported on when. `clock` stands still while nothing is
    reported on for long; `silence` is what it ran since the last report. `behind`: at the last look
    its head had waited for too long."""

    open: dict[PaymentKey, tuple[int, float]] = field(default_factory=dict)
    came: int = 0
    ended: deque[tuple[float, int]] = field(default_factory=deque)
    newest: deque[int] = field(default_factory=lambda: deque(maxlen=_NEWEST))
    under_way: int = 0
    clock: float = 0.0
    silence: float = 0.0
    behind: bool = False

    def tick(self, seconds: float) -> None:
        """Time passes from one block to the next."""
        passed = min(max(0.0, seconds), _SILENCE_S - self.silence)
        self.clock += passed
        self.silence += passed
        while self.ended and self.ended[0][0] < self.clock - _WINDOW_S:
            self.ended.popleft()

    def take(self, change: PaymentChange) -> int:
        """What a block shows of a payment; 1 when it was reported on, else 0. Refunds are not in
        the line: nobody who pays waits for them."""
        if isinstance(change.key, RefundKey):
            return 0
        if change.status is Status.REQUESTED:
            if change.key not in self.open and not change.closing:
                self.came += 1
                self.open[change.key] = (self.came, self.clock)
            return 0
        place = self.open.pop(change.key, None)
        if place is None:
            return 0
        self.newest.append(place[0])
        return 1

    def end(self, number: int) -> None:
        """So many were reported on in this block."""
        self.ended.append((self.clock, number))
        self.silence = 0.0

    def passed(self) -> int:
        """How many the middle one of the newest reported on has passed; long ago means for good."""
        if not self.newest:
            return 0
        middle = sorted(self.newest)[len(self.newest) // 2]
        found = [key for key, _ in takewhile(lambda one: one[1][0] < middle, self.open.items())]
        lost = [key for key in found if self.open[key][1] < self.clock - _FORGOTTEN_S]
        for key in lost:
            del self.open[key]
        return len(found) - len(lost)


class Backlogs:
    """Of those acquirers whose connectors have been heard. Times are seconds of any one clock.

    What was on the ledger before is not known, and neither counts as waiting nor for the pace.
    """

    def __init__(self, bound: float) -> None:
        """`bound`: the seconds that matter. A line has no pace before its head has itself waited
        for so long, so that nobody is refused for what is only reckoned; from then on it has one
        until it is half as long, else a crowd would get in each time it is just below."""
        self._bound = min(bound, _WINDOW_S)
        self._lines: dict[str, _Line] = {}
        self._last_block = 0.0

    @property
    def acquirers(self) -> Iterable[str]:
        """Those heard of."""
        return self._lines.keys()

    def heard(self, acquirer_id: str, under_way: int) -> None:
        """A connector reported: so many of those on the ledger are not in its line, because they
        are at the acquirer now, or in doubt, or stuck."""
        self._lines.setdefault(acquirer_id, _Line()).under_way = under_way

    def applied(self, changes: Iterable[PaymentChange], now: float) -> None:
        """A block was applied."""
        ended: dict[str, int] = {}
        for line in self._lines.values():
            line.tick(now - self._last_block)
        self._last_block = now
        for change in changes:
            waited_in = self._lines.get(change.acquirer_id)
            if waited_in is not None:
                name = change.acquirer_id
                ended[name] = ended.get(name, 0) + waited_in.take(change)
        for name, number in ended.items():
            if number:
                self._lines[name].end(number)

    def of(self, acquirer_id: str) -> Backlog:
        """An acquirer's backlog now."""
        line = self._lines.get(acquirer_id)
        if line is None:
            return NOTHING
        # Those that younger ones have passed are not in the line: at the acquirer, or stuck.
        absent = max(line.passed(), line.under_way)
        head = next(islice(line.open.values(), absent, None), None)
        if head is None:
            line.behind = False
            return NOTHING
        waiting = len(line.open) - absent
        busy = min(line.clock - head[1], _WINDOW_S)
        line.behind = busy >= (self._bound / 2 if line.behind else self._bound)
        if not line.behind:
            return Backlog(waiting)
        since = line.clock - busy
        done = sum(count for at, count in line.ended if at > since)
        return Backlog(waiting, done / busy if done >= _LEAST else 0.0)
