"""Memory of a process that serves: Python's cycle collector, and the C library's heap.

What a server holds once it has started - modules, settings, keys - stays for good, yet every full
collection walks it: some 35,000 objects, 20 ms. And the default looks for cycles after each 700
new objects, a few times within one transaction of a hundred payments, whose objects are free as
soon as they are no longer named. Both together were 4% of a chaincode server's CPU.

glibc gives large blocks back to the system as soon as they are free. A block of payments is a
megabyte and is copied a dozen times on its way through a process, so that each copy was made on
pages the kernel had to find and clear anew: 82 faults a payment in the whole house, 16 when the
heap is kept (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# New containers that are still alive before the collector looks; and how many such looks go by
# before one at the next older generation.
_THRESHOLDS = (10_000, 20, 20)
# mallopt(3): parameter and value. The heap grows by 16 MiB at a time, gives back what is free at
# its end beyond 64 MiB, and holds all blocks below 32 MiB, the most that glibc allows.
_MIB: Final = 1024 * 1024
_HEAP: Final = ((-2, 16 * _MIB), (-1, 64 * _MIB), (-3, 32 * _MIB))


def settle() -> None:
    """Call once, when everything is started: what is alive now is never looked at again."""
    _keep_heap()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def _keep_heap() -> None:
    """Where the C library is glibc; others have heaps and settings of their own."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in _HEAP:
        mallopt(parameter, value)
