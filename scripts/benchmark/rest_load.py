"""Loads of signed intents on the gateways' REST doors, in a process of their own."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmark.http_client import Answer, Connection, tls_context
from benchmark.intents import Signers, Signing

SINGLE, BATCH = "/v1/payments", "/v1/payments/batch"
_AT_ONCE = 16
_PATIENCE = 20.0  # seconds for answers that are still out when the load has ended


@dataclass(frozen=True, slots=True)
class Door:
    """A gateway: its base URL and the CA of its certificate."""

    url: str
    ca: Path


@dataclass(frozen=True, slots=True)
class RestJob:
    """What to post and how.

    batch: intents a post, 1 for single posts. in_flight: connections kept busy (closed loop), or
    at most open (open loop). rate: posts a second offered whatever comes back, None for a closed
    loop. wait: seconds asked for with `Prefer`, 0 for none. presign: intents signed before the
    start; those beyond it are signed as they go.
    """

    doors: tuple[Door, ...]
    signing: Signing
    batch: int
    in_flight: int
    seconds: float
    presign: int
    rate: float | None = None
    wait: int = 0


@dataclass(frozen=True, slots=True)
class Shot:
    """One post: monotonic times, the door's number, HTTP status (0: no whole answer), intents in
    it that are on the ledger, and whether a refusal said when to come back."""

    began: float
    ended: float
    door: int
    status: int
    committed: int
    retry_after: bool


@dataclass(frozen=True, slots=True)
class RestReport:
    """Every post; `start` to `end` is when posts were begun. unsent: arrivals of an open loop that
    found no free connection. client_cpu in seconds."""

    shots: tuple[Shot, ...]
    start: float
    end: float
    unsent: int
    client_cpu: float

    def committed_rate(self, warm_up: float) -> float:
        """Payments answered as committed, a second, in the window after the warm-up."""
        since = self.start + warm_up
        counted = sum(shot.committed for shot in self.shots if since < shot.ended <= self.end)
        return counted / max(1e-9, self.end - since)

    @property
    def committed(self) -> int:
        """Payments answered as committed, in all."""
        return sum(shot.committed for shot in self.shots)


def run(job: RestJob) -> RestReport:
    """Do the job; called in a worker process."""
    signers = Signers(job.signing)
    bodies = [_body(job, signers, number) for number in range(job.presign // job.batch)]
    gc.collect()
    gc.freeze()
    try:
        report: RestReport = uvloop.run(_Load(job, signers, bodies).run())
    finally:
        gc.unfreeze()
    return report


class _Load:
    def __init__(self, job: RestJob, signers: Signers, bodies: list[bytes]) -> None:
        self._job, self._signers = job, signers
        self._bodies = _endless(job, signers, bodies)
        self._contexts = [tls_context(door.ca) for door in job.doors]
        kind = "application/jose" if job.batch == 1 else "application/json"
        self._path = SINGLE if job.batch == 1 else BATCH
        self._headers = {"Content-Type": kind}
        if job.wait:
            self._headers["Prefer"] = f"wait={job.wait}"
        self._shots: list[Shot] = []
        self._unsent = 0

    async def run(self) -> RestReport:
        doors = range(len(self._job.doors))
        connections = [
            (number % len(doors), self._connect(number % len(doors)))
            for number in range(self._job.in_flight)
        ]
        # A request on each, not only a handshake: a new connection holds one of the server's
        # threads until its first request is read.
        for at in range(0, len(connections), _AT_ONCE):
            opened = connections[at : at + _AT_ONCE]
            await asyncio.gather(*(held.request("GET", "/healthz", {}) for _, held in opened))
        cpu, start = time.process_time(), time.monotonic()
        if self._job.rate is None:
            await self._closed(connections, start + self._job.seconds)
        else:
            await self._open(connections, start, self._job.rate)
        end = min(time.monotonic(), start + self._job.seconds)
        cpu = time.process_time() - cpu
        for _, connection in connections:
            connection.close()
        return RestReport(tuple(self._shots), start, end, self._unsent, cpu)

    def _connect(self, door: int) -> Connection:
        return Connection(self._job.doors[door].url, self._contexts[door])

    async def _closed(self, connections: list[tuple[int, Connection]], end: float) -> None:
        async def work(door: int, connection: Connection) -> None:
            while (left := end - time.monotonic()) > 0:
                pause = await self._shoot(door, connection, time.monotonic())
                # As any client does: who is told when to come back comes back then.
                await asyncio.sleep(min(left, pause))

        await asyncio.gather(*(work(door, connection) for door, connection in connections))

    async def _open(
        self, connections: list[tuple[int, Connection]], start: float, rate: float
    ) -> None:
        free = deque(connections)
        out: set[asyncio.Task[None]] = set()

        async def shoot(due: float) -> None:
            door, connection = free.popleft()
            try:
                # The clock starts when it was due: waiting to be sent is waiting.
                await self._shoot(door, connection, due)
            finally:
                free.append((door, connection))

        for number in range(int(rate * self._job.seconds)):
            due = start + number / rate
            if (ahead := due - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            if not free:
                self._unsent += 1
                continue
            task = asyncio.create_task(shoot(due))
            out.add(task)
            task.add_done_callback(out.discard)
            if len(out) >= len(connections):
                await asyncio.sleep(0)
        if out:
            await asyncio.wait(out, timeout=_PATIENCE)
        for task in out:
            task.cancel()

    async def _shoot(self, door: int, connection: Connection, began: float) -> float:
        """Post once; seconds until it is worth posting again."""
        body = next(self._bodies)
        try:
            answer = await connection.request("POST", self._path, self._headers, body)
        except (OSError, EOFError):
            self._shots.append(Shot(began, time.monotonic(), door, 0, 0, False))
            await asyncio.sleep(0.02)  # a door that is shut is not hammered
            return 0.0
        ended = time.monotonic()
        retry = answer.headers.get("retry-after", "")
        committed = _committed(self._job, answer)
        self._shots.append(Shot(began, ended, door, answer.status, committed, bool(retry)))
        return float(retry or 0) if not committed else 0.0


def _committed(job: RestJob, answer: Answer) -> int:
    if job.batch == 1:
        return int(answer.status in (200, 201))
    if answer.status != 200:
        return 0
    outcomes: list[dict[str, Any]] = json.loads(answer.body)["outcomes"]
    return sum(outcome["status"] in (200, 201) for outcome in outcomes)


def _body(job: RestJob, signers: Signers, number: int) -> bytes:
    if job.batch == 1:
        return signers.sign(number).encode()
    first = number * job.batch
    signed = [signers.sign(one) for one in range(first, first + job.batch)]
    return json.dumps({"intents": signed}).encode()


def _endless(job: RestJob, signers: Signers, bodies: list[bytes]) -> Iterator[bytes]:
    yield from bodies
    number = len(bodies)
    while True:
        yield _body(job, signers, number)
        number += 1
