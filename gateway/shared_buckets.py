"""Token buckets that the processes of one server share, so that what is published is what holds.

They are in memory that is mapped before the workers are forked. A bucket is one number: when it
will be full again (the generic cell rate algorithm, ITU-T I.371 annex A). One that is full says
nothing, so its place is free; a place is found by a digest of the merchant's name.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import struct
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.limits import Allowance

_PLACES: Final = 16_384
_TRIED: Final = 16  # places a name may be at, in a row
_PLACE: Final = struct.Struct("=Qd")  # digest of the name, when the bucket is full (seconds)
_ROUNDING: Final = 1e-6  # tokens


class SharedBuckets:
    """Buckets that fill at `rate` tokens a second up to `burst`; safe to use from threads, and from
    processes that are forked after it was made."""

    def __init__(self, rate: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, the same in all processes."""
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._memory = mmap.mmap(-1, _PLACES * _PLACE.size)
        # Its lock goes with the process that held it, however that ended.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  open as long as this is
        weakref.finalize(self, self._file.close)
        self._threads = threading.Lock()

    def take(self, name: str) -> Allowance:
        """Take a token from the bucket `name`."""
        digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") or 1
        with self._alone():
            now = self._clock()
            place, full = self._find(digest, now)
            level = self._burst - max(0.0, full - now) * self._rate + _ROUNDING
            if level < 1:
                return Allowance(0, max(1, -int((level - 1) / self._rate // 1)))
            full = max(full, now) + 1 / self._rate
            _PLACE.pack_into(self._memory, place * _PLACE.size, digest, full)
        return Allowance(int(level - 1))

    def _find(self, digest: int, now: float) -> tuple[int, float]:
        """The place of a bucket and when it is full; a free place for one that has none, or the
        place of the one that is full the soonest."""
        soonest: tuple[float, int] | None = None
        for step in range(_TRIED):
            place = (digest + step) % _PLACES
            held, full = _PLACE.unpack_from(self._memory, place * _PLACE.size)
            if held == digest:
                return place, full
            full = max(full, now)  # those that are full are alike: the first
            if soonest is None or full < soonest[0]:
                soonest = (full, place)
        assert soonest is not None  # noqa: S101
        return soonest[1], now

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # The threads among themselves: a lock of the file is the whole process's.
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
