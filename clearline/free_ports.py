"""Free TCP ports, each given to one asker.

Between the choice of a port and the server that listens on it pass seconds, and two networks that
are started side by side would choose the same of 17,000 now and then: one of their nodes then
finds its port taken. So every choice is noted, in a file of this user's in the temporary folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import tempfile
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from clearline import ports
from clearline.ports import PortError

# Below the range from which outgoing connections get theirs (Linux 32768, macOS 49152): such a
# connection could hold a server's port just when it is started again.
LOWEST: Final = 15_000
HIGHEST: Final = 32_000
# A server that is down for a moment must find its port free when it comes back.
_KEPT_SECONDS: Final = 1800.0


def choose(host: str = "127.0.0.1", but: Container[int] = ()) -> int:
    """A port, none of `but`, on which nobody listens now and that nobody who asked here within
    half an hour was given; when there is no such one, one on which nobody listens. Raises
    PortError."""
    with _noted() as given:
        span = HIGHEST - LOWEST
        # Not for secrecy: where the note can't be kept, chance must do.
        first = random.SystemRandom().randrange(span)
        candidates = [LOWEST + (first + step) % span for step in range(span)]
        for port in sorted(candidates, key=lambda port: port in given):
            if port not in but and ports.available(host, port):
                given[port] = time.time()
                return port
    raise PortError(f"no free port between {LOWEST} and {HIGHEST} on {host}")


@contextlib.contextmanager
def _noted() -> Iterator[dict[int, float]]:
    """The ports that were given and when (time.time), to be added to; one process at a time. Where
    there can be no such file it is empty and nothing is kept."""
    path = Path(tempfile.gettempdir()) / f"clearline-ports-{os.getuid()}.json"
    with contextlib.ExitStack() as stack:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = stack.enter_context(os.fdopen(os.open(path, flags, 0o600), "r+b"))
            fcntl.flock(file, fcntl.LOCK_EX)
            given = _recent(file.read())
        except OSError:
            yield {}
            return
        yield given
        with contextlib.suppress(OSError):
            file.seek(0)
            file.truncate()
            file.write(json.dumps(given).encode())


def _recent(text: bytes) -> dict[int, float]:
    now = time.time()
    try:
        noted = json.loads(text or b"{}")
        return {int(port): at for port, at in noted.items() if abs(now - at) < _KEPT_SECONDS}
    except (ValueError, TypeError, AttributeError):  # a write that was cut short
        return {}
