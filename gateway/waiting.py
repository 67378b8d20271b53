"""Threads that wait: only so many of a worker's, so that some are always free to answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_PATIENCE: Final = 1.0  # seconds; a commit ends far sooner while the ledger is there


class WaitingRoom:
    """Seats for a worker's threads. Waits for a commit are short as a rule, so a seat is waited
    for; waits for a final status are long, so there are fewer and they are had at once or not."""

    def __init__(self, threads: int, final_waiters: int) -> None:
        seats = max(1, threads - max(2, threads // 8))
        self._seats = threading.BoundedSemaphore(seats)
        self._long = threading.BoundedSemaphore(max(1, min(final_waiters, seats * 3 // 4)))

    @contextmanager
    def commit(self) -> Iterator[bool]:
        """Gives whether this thread may wait for a commit."""
        seated = self._seats.acquire(timeout=_PATIENCE)
        try:
            yield seated
        finally:
            if seated:
                self._seats.release()

    @contextmanager
    def long(self) -> Iterator[bool]:
        """Gives whether this thread may wait for something far off."""
        seated = self._long.acquire(blocking=False)
        try:
            yield seated
        finally:
            if seated:
                self._long.release()
