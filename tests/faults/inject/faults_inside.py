"""Faults inside a process of the house: its clock, its disk. For tests only; see sitecustomize.

A process is named by its supervisor's mark, or by FAULTS_NAME. In the folder FAULTS_FOLDER:

    <name>.clock   eight bytes (a double): seconds its clock is ahead, read at each look; only a
                   process that finds the file at its start has such a clock
    <name>.order   JSON, obeyed at SIGUSR1: {"file_bytes": N} lowers RLIMIT_FSIZE, so that writes
                   beyond N fail (EFBIG); null lifts it; {"fails": {"fdatasync": 5, ...}} makes
                   these system calls fail with that errno for as long as the process lives
"""

import contextlib
import ctypes
import datetime as datetimes
import json
import mmap
import os
import platform
import resource
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
# Numbers of the system calls, and seccomp's own, by machine.
CALLS = {
    "x86_64": {"seccomp": 317, "pwrite64": 18, "fsync": 74, "fdatasync": 75},
    "aarch64": {"seccomp": 277, "pwrite64": 68, "fsync": 82, "fdatasync": 83},
}


def can_fail_calls() -> bool:
    """Whether this machine can make a process's system calls fail."""
    return sys.platform == "linux" and platform.machine() in CALLS


def fail_calls(fails: dict[str, int]) -> None:
    """seccomp(2) without privileges: the named calls of all threads fail with these errnos."""
    numbers = CALLS[platform.machine()]
    steps = [(0x20, 0, 0, 0)]  # load seccomp_data.nr
    for name, errno in fails.items():
        steps += [(0x15, 0, 1, numbers[name]), (0x06, 0, 0, 0x00050000 | errno)]
    steps.append((0x06, 0, 0, 0x7FFF0000))  # allow
    packed = b"".join(struct.pack("HBBI", *step) for step in steps)
    program = ctypes.create_string_buffer(packed)
    header = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(numbers["seccomp"], _SET_MODE_FILTER, _ALL_THREADS, header) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _obey(path: Path) -> None:
    order = json.loads(path.read_text())
    if "file_bytes" in order:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        soft = hard if order["file_bytes"] is None else order["file_bytes"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if "fails" in order:
        fail_calls(order["fails"])


def _shift(path: Path) -> None:
    """Put time.time, time.time_ns and datetime.now ahead by what the file says now."""
    with path.open("rb") as file:
        view = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    real_time, real_time_ns = time.time, time.time_ns
    real: Any = datetimes.datetime
    module: Any = datetimes

    def ahead() -> float:
        return float(struct.unpack_from("d", view)[0])

    class _AnyDatetime(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    class Shifted(real, metaclass=_AnyDatetime):  # type: ignore[misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.now(tz) + datetimes.timedelta(seconds=ahead())

    def shifted() -> float:
        # gRPC makes deadlines of it for its core, which has the machine's clock.
        if sys._getframe(1).f_globals.get("__name__", "").startswith("grpc"):
            return real_time()
        return real_time() + ahead()

    time.time = shifted
    time.time_ns = lambda: real_time_ns() + int(ahead() * 1e9)
    module.datetime = Shifted


def begin() -> None:
    """Called when the interpreter starts."""
    folder = os.environ.get("FAULTS_FOLDER")
    mark = os.environ.get("CLEARLINE_SUPERVISED", "").rpartition("/")[2]
    name = os.environ.get("FAULTS_NAME") or mark
    if not folder or not name:
        return
    order, clock = Path(folder, f"{name}.order"), Path(folder, f"{name}.clock")
    with contextlib.suppress(FileNotFoundError):
        _shift(clock)
    if order.exists():
        signal.signal(signal.SIGUSR1, lambda *_: _obey(order))
