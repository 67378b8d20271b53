"""Load generators in processes of their own, so that their CPU is theirs and no house's."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_Job = TypeVar("_Job")
_Report = TypeVar("_Report")


class Workers:
    """Runs jobs elsewhere: functions and jobs must be picklable."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(self, function: Callable[[_Job], _Report], job: _Job) -> _Report:
        """The report of a job."""
        return self.start(function, job).result()

    def start(self, function: Callable[[_Job], _Report], job: _Job) -> Future[_Report]:
        """A job that runs while the caller does something else."""
        return self._pool.submit(function, job)


@contextmanager
def workers() -> Iterator[Workers]:
    """Two processes that are spawned, not forked: gRPC's threads don't survive a fork."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=_many_files) as pool:
        yield Workers(pool)


def _many_files() -> None:
    """As many open connections as the system allows without asking anybody."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8_192 if most == resource.RLIM_INFINITY else min(most, 8_192)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
