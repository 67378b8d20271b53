"""The threads of a run: each takes the job that is due, makes one exchange, and puts it back.

No thread waits with a job in its hands longer than one exchange, so that a slow payment or a
gateway that wants a pause holds up nothing else. Threads write nothing: what they find out goes
to the run's queue of events.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from clearline import times
from merchant.attempts import Change
from merchant.client import Answered, Broken, Busy, GatewayApi, Refused, Reply, Unreachable
from merchant.jobs import Call, Ending, Heard, Job, absorb, avoided, next_call, out_of_time
from merchant.profile import Pins
from merchant.rota import Rota

WAIT: Final = 5  # seconds a gateway is asked to hold a GET until the payment's end
SHORT_WAIT: Final = 1


@dataclass(frozen=True, slots=True)
class Gateways:
    """The gateways of a run: how to reach them, their names, whose turn it is."""

    api: GatewayApi
    urls: tuple[str, ...]
    rota: Rota


@dataclass(frozen=True, slots=True)
class Moved:
    """A job's status changed, not to its end."""

    change: Change


@dataclass(frozen=True, slots=True)
class Ended:
    """A job's end in this run; `started` and `ended` are times of the monotonic clock, and
    `started` is that of its first exchange."""

    ending: Ending
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """A gateway does not answer, or nonsense."""

    url: str
    reason: str


Event = Moved | Ended | Trouble


@dataclass(frozen=True, slots=True)
class _Due:
    """Jobs that go in one exchange: several are a batch to be posted."""

    jobs: tuple[Job, ...]
    started: float | None = None

    def __lt__(self, other: object) -> bool:
        return False


class Workers:
    """`concurrency` threads; at most so many exchanges are under way at once."""

    def __init__(
        self,
        gateways: Gateways,
        pins: Pins,
        concurrency: int,
        timeout: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`timeout`: seconds after its first exchange until a job is given up for this run."""
        self._gateways = gateways
        self._pins = pins
        self._timeout = timeout
        self._clock = clock
        self._heap: list[tuple[float, int, _Due]] = []
        self._turn = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        # Daemons: after Ctrl-C nobody waits for a gateway that is being slow.
        self._threads = [
            threading.Thread(target=self._work, name=f"payer-{index}", daemon=True)
            for index in range(concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, jobs: Sequence[Job], batch: int) -> None:
        """Take on jobs, to be posted one by one or, with `batch` over 1, so many together."""
        now = self._clock()
        for first in range(0, len(jobs), max(batch, 1)):
            self._push(_Due(tuple(jobs[first : first + max(batch, 1)])), now)

    def events(self, patience: float) -> list[Event]:
        """What was found out meanwhile; waits up to `patience` seconds for the first of it."""
        found: list[Event] = []
        try:
            found.append(self._events.get(timeout=patience))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            return found

    def stop(self, patience: float) -> None:
        """Start no further exchange; wait up to `patience` seconds for those under way."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        end = self._clock() + patience
        for thread in self._threads:
            thread.join(max(end - self._clock(), 0.0))

    def _push(self, due: _Due, ready_at: float) -> None:
        with self._changed:
            self._turn += 1
            heapq.heappush(self._heap, (ready_at, self._turn, due))
            self._changed.notify()

    def _take(self) -> _Due | None:
        with self._changed:
            while not self._stopped:
                pause = self._heap[0][0] - self._clock() if self._heap else None
                if pause is not None and pause <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(pause)
            return None

    def _work(self) -> None:
        while (due := self._take()) is not None:
            now = self._clock()
            due = replace(due, started=now if due.started is None else due.started)
            try:
                self._exchange(due, now)
            except Exception as error:
                for job in due.jobs:
                    failed = replace(job, last=f"{type(error).__name__}: {error}")
                    self._end(due, out_of_time(failed))

    def _exchange(self, due: _Due, now: float) -> None:
        started = now if due.started is None else due.started
        if now - started > self._timeout:
            for job in due.jobs:
                self._end(due, out_of_time(job))
            return
        clock = times.now()
        calls = {next_call(job, clock) for job in due.jobs}
        if len(due.jobs) > 1 and calls != {Call.POST}:
            for job in due.jobs:
                self._push(replace(due, jobs=(job,)), now)
            return
        job, call = due.jobs[0], calls.pop()
        rota = self._gateways.rota
        held = job.holder is not None and call is Call.GET
        turn = rota.ready(job.holder or 0) if held else rota.pick(avoided(job, call))
        if turn.ready_at > now:
            # Wait where it costs no thread, but not beyond the job's own time.
            self._push(due, min(turn.ready_at, started + self._timeout + 0.001))
            return
        if len(due.jobs) > 1:
            self._post_batch(due, turn.gateway, now)
        else:
            self._settle(due, call, turn.gateway, self._ask(job, call, turn.gateway), now)

    def _ask(self, job: Job, call: Call, gateway: int) -> Reply:
        api = self._gateways.api
        if call is Call.POST:
            reply = api.post(gateway, job.compact, 0 if self._busy() else WAIT)
        else:
            # Only a gateway that holds it can wait for its end.
            wait = SHORT_WAIT if self._busy() else WAIT
            reply = api.get(gateway, job.key, wait if job.holder == gateway else 0)
        self._report(gateway, reply)
        return reply

    def _report(self, gateway: int, reply: Reply) -> None:
        trouble = self._gateways.rota.report(gateway, reply)
        if trouble:
            self._events.put(Trouble(self._gateways.urls[gateway], trouble))

    def _busy(self) -> bool:
        """Whether other jobs are due: then a long wait would cost a thread they need."""
        with self._changed:
            return bool(self._heap) and self._heap[0][0] <= self._clock()

    def _post_batch(self, due: _Due, gateway: int, now: float) -> None:
        replies = self._gateways.api.post_batch(gateway, [job.compact for job in due.jobs])
        self._report(gateway, replies[0])
        kinds = {type(reply) for reply in replies}
        if len(kinds) == 1 and isinstance(replies[0], Busy | Unreachable | Broken):
            # The batch as a whole got nowhere: it goes again as a whole, by the rota's choice.
            jobs = (self._next(job, Call.POST, gateway, replies[0]) for job in due.jobs)
            self._push(replace(due, jobs=tuple(job for job in jobs if isinstance(job, Job))), now)
            return
        for job, reply in zip(due.jobs, replies, strict=True):
            if isinstance(reply, Refused) and reply.code in _NOT_FOR_BATCHES:
                self._push(replace(due, jobs=(job,)), now)
            else:
                self._settle(replace(due, jobs=(job,)), Call.POST, gateway, reply, now)

    def _next(self, job: Job, call: Call, gateway: int, reply: Reply) -> Job | Ending:
        urls = self._gateways.urls
        heard = Heard(call, gateway, len(urls), urls[gateway], reply, times.now())
        return absorb(job, heard, self._pins)

    def _settle(self, due: _Due, call: Call, gateway: int, reply: Reply, called: float) -> None:
        job = due.jobs[0]
        after = self._next(job, call, gateway, reply)
        if isinstance(after, Ending):
            self._end(due, after)
            return
        if after.status is not job.status:
            body = reply.body if isinstance(reply, Answered) else ""
            url = self._gateways.urls[gateway]
            key = after.key
            self._events.put(Moved(Change(*key[1:], after.status, url, body=body)))
        self._push(replace(due, jobs=(after,)), max(self._clock(), called + after.delay))

    def _end(self, due: _Due, ending: Ending) -> None:
        now = self._clock()
        self._events.put(Ended(ending, due.started if due.started is not None else now, now))


# A gateway that takes no (such) batch: the intents go one by one.
_NOT_FOR_BATCHES: Final = frozenset(
    {"batch_too_large", "payload_too_large", "http_404", "not_found", "http_405", "http_413"}
    | {"method_not_allowed", "unsupported_media_type", "malformed", "http_400"}
)
