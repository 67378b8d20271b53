"""How much waits for an acquirer in seconds of its own pace, on a virtual clock, by blocks."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from clearline.acquirer_health import Health, HealthReport
from clearline.intents import PaymentKey
from clearline.statuses import Status
from gateway.availability import Availability, Backlog, Bounds, Heard, Paced, judge
from gateway.health_board import HealthBoard
from gateway.pace import Backlogs
from gateway.pacer import Pacer
from gateway.projected import PaymentChange

BOUND = 2.0
STEP = 0.05  # seconds from block to block
NOW = 1_000.0
_orders = count(1)


def change(key: PaymentKey, status: Status, closing: bool = False) -> PaymentChange:
    return PaymentChange(key, "d", status, "tx", 1, "unionpay", closing)


@dataclass
class World:
    """An acquirer that takes payments in turn, `rate` a second; what it says stands in blocks
    0.1 s later. `says` is what the ledger shows of a payment then."""

    rate: float
    says: Status = Status.SUCCEEDED
    now: float = 100.0
    backlogs: Backlogs = field(default_factory=lambda: Backlogs(BOUND))
    line: deque[PaymentKey] = field(default_factory=deque)
    said: deque[tuple[float, PaymentKey]] = field(default_factory=deque)
    credit: float = 0.0
    arriving: float = 0.0
    most: float = 0.0  # seconds of backlog, at any time

    def __post_init__(self) -> None:
        self.backlogs.heard("unionpay", 0)

    @property
    def backlog(self) -> Backlog:
        return self.backlogs.of("unionpay")

    def come(self, number: int) -> list[PaymentKey]:
        keys = [PaymentKey("M", f"o-{next(_orders)}", 1) for _ in range(number)]
        self.line.extend(keys)
        return keys

    def run(
        self, seconds: float, arrivals: float = 0.0, admits: Callable[[], bool] = lambda: True
    ) -> None:
        """Blocks for so long, with so many requests a second while they are admitted."""
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            self.arriving += arrivals * STEP
            new = self.come(int(self.arriving)) if admits() else []
            self.arriving -= int(self.arriving)
            self.credit = min(self.credit + self.rate * STEP, len(self.line) + self.rate * STEP)
            for _ in range(min(int(self.credit), len(self.line))):
                self.said.append((self.now + 0.1, self.line.popleft()))
                self.credit -= 1
            self.block(new)

    def block(self, new: list[PaymentKey]) -> None:
        changes = [change(key, Status.REQUESTED) for key in new]
        while self.said and self.said[0][0] <= self.now:
            changes.append(change(self.said.popleft()[1], self.says))
        self.backlogs.applied(changes, self.now)
        self.most = max(self.most, self.backlog.seconds)


def test_an_idle_or_new_acquirer_has_no_pace() -> None:
    world = World(rate=100)
    assert world.backlog == Backlog(0)
    world.block(world.come(5_000))
    assert world.backlog == Backlog(5_000, 0.0)
    assert world.backlog.seconds == 0.0


def test_nobody_is_counted_who_was_not_heard() -> None:
    backlogs = Backlogs(BOUND)
    backlogs.applied([change(PaymentKey("M", "o", 1), Status.REQUESTED)], NOW)
    assert (list(backlogs.acquirers), backlogs.of("unionpay")) == ([], Backlog(0))


@pytest.mark.parametrize("before", [0.0, 1.0, 50.0])
def test_a_crowd_that_it_can_take_is_not_held_against_it(before: float) -> None:
    """1,000 at once for an acquirer of 600 a second, idle or with little to do until then."""
    world = World(rate=600)
    world.run(30, arrivals=before)
    world.block(world.come(1_000))
    world.run(10, arrivals=before)
    assert world.most <= BOUND
    assert world.backlog.waiting < 100


def test_a_crowd_that_is_beyond_it_is_seen_soon_and_passes() -> None:
    world = World(rate=100)
    world.block(world.come(1_000))
    world.run(BOUND + 0.3)
    assert world.backlog.seconds == pytest.approx(world.backlog.waiting / 100, rel=0.25)
    assert world.backlog.seconds > BOUND
    world.run(10)
    assert world.backlog == Backlog(0)


def test_overload_is_held_at_the_bound_and_nothing_is_lost_of_the_pace() -> None:
    world = World(rate=200)
    waits: list[float] = []

    def admits() -> bool:
        waits.append(len(world.line) / 200)
        return world.backlog.seconds <= BOUND

    world.run(60, arrivals=900, admits=admits)
    assert max(waits) < 5 * BOUND  # until there is a pace, there is no bound
    later = waits[round(15 / STEP) :]
    assert min(later) > 0  # it never ran dry
    assert max(later) < BOUND + 1


def test_the_pace_follows_the_acquirer() -> None:
    world = World(rate=200)
    world.run(20, arrivals=300)
    assert world.backlog.pace == pytest.approx(200, rel=0.1)
    world.rate = 50
    world.run(12)
    assert world.backlog.pace == pytest.approx(50, rel=0.1)


def test_waiting_for_payers_is_no_backlog() -> None:
    """A wallet: each is accepted at once, and paid minutes later or never."""
    world = World(rate=100, says=Status.ACCEPTED)
    world.run(120, arrivals=60)
    assert world.most == 0.0
    assert world.backlog.waiting < 20


@pytest.mark.parametrize(("told", "refused"), [(True, False), (False, True)])
def test_what_is_at_a_slow_acquirer_does_not_wait_for_its_turn(told: bool, refused: bool) -> None:
    """Each takes four seconds there, all of them at once; without the connector's word on how
    many that are, it looks like a line."""
    backlogs, now = Backlogs(BOUND), NOW
    backlogs.heard("unionpay", 60 if told else 0)
    under_way: deque[tuple[float, PaymentKey]] = deque()
    most = 0.0
    for _ in range(round(20 / STEP)):
        now += STEP
        key = PaymentKey("M", f"o-{next(_orders)}", 1)
        under_way.append((now + 3.0, key))
        changes = [change(key, Status.REQUESTED)]
        while under_way[0][0] <= now:
            changes.append(change(under_way.popleft()[1], Status.SUCCEEDED))
        backlogs.applied(changes, now)
        most = max(most, backlogs.of("unionpay").seconds)
    assert (most > BOUND) is refused


def test_what_others_have_passed_is_not_in_the_line() -> None:
    """Ten whose results never come, and little to do: nobody is refused for them."""
    world = World(rate=100)
    world.run(5, arrivals=3)
    stuck = world.come(10)
    world.line.clear()
    world.block(stuck)
    world.run(120, arrivals=3)
    assert world.most == 0.0
    assert world.backlog.waiting <= 1


def test_while_the_ledger_stands_still_nobody_is_behind() -> None:
    world = World(rate=100)
    world.run(10, arrivals=40)
    world.now += 30
    world.run(10, arrivals=40)
    assert world.most == 0.0


def test_a_connector_that_is_away_for_a_moment_is_not_slow() -> None:
    """Requests come on, results don't: no pace is made of the few that came just before."""
    world = World(rate=100)
    world.run(10, arrivals=40)
    world.rate = 0
    world.run(2, arrivals=40)
    assert world.backlog.pace == 0.0
    world.rate = 100
    world.run(10, arrivals=40)
    assert world.most <= BOUND


def test_a_close_is_no_new_payment() -> None:
    world = World(rate=100)
    (key,) = world.come(1)
    world.block([key])
    other = PaymentKey("M", "of-before", 1)
    closes = [change(key, Status.REQUESTED, True), change(other, Status.REQUESTED, True)]
    world.backlogs.applied(closes, world.now + STEP)
    assert world.backlog.waiting == 1


def heard(health: Health = Health.UP, age: float = 1.0) -> Heard:
    return Heard(health, "why", 0, NOW - age)


@pytest.mark.parametrize(
    ("report", "backlog", "age", "expected", "retry_after"),
    [
        (heard(), Backlog(200, 100.0), 0.1, Availability.AVAILABLE, 1),
        (heard(), Backlog(201, 100.0), 0.1, Availability.UNAVAILABLE, 1),
        (heard(), Backlog(500, 100.0), 0.1, Availability.UNAVAILABLE, 2),
        (heard(), Backlog(1_000_000, 100.0), 0.1, Availability.UNAVAILABLE, 5),
        (heard(), Backlog(1_000_000, 0.0), 0.1, Availability.AVAILABLE, 1),
        (heard(Health.DEGRADED), Backlog(500, 100.0), 0.1, Availability.UNAVAILABLE, 2),
        (heard(Health.DEGRADED), Backlog(1, 100.0), 0.1, Availability.DOUBTFUL, 1),
        (heard(Health.DOWN), Backlog(1, 100.0), 0.1, Availability.UNAVAILABLE, 1),
        # silence of the connector or of the committer refuses nobody
        (heard(age=6.0), Backlog(1_000, 100.0), 0.1, Availability.DOUBTFUL, 1),
        (heard(), Backlog(1_000, 100.0), 6.0, Availability.AVAILABLE, 1),
    ],
)
def test_what_a_backlog_means(
    report: Heard, backlog: Backlog, age: float, expected: Availability, retry_after: int
) -> None:
    judgement = judge([report], NOW, Bounds(10_000, BOUND), Paced(backlog, NOW - age))
    assert (judgement.availability, judgement.retry_after) == (expected, retry_after)
    crowded = expected is Availability.UNAVAILABLE and report.health is not Health.DOWN
    assert judgement.crowded is crowded


def test_a_board_that_cant_be_written_stops_no_block(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    board = HealthBoard(tmp_path / "acquirers.db")
    pacer = Pacer(board, BOUND)
    pacer.note(HealthReport("n", "unionpay", "c", Health.UP, "", 0), time.monotonic())
    board.close()
    for number in range(3):
        pacer.applied([], time.monotonic() + number)
    assert len([one for one in caplog.records if "backlogs" in one.message]) == 1
