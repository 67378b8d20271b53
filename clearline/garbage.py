"""Python's cycle collector, set for a process that serves.

What a server holds once it has started - modules, settings, keys - stays for good, yet every full
collection walks it: some 35,000 objects, 20 ms. And the default looks for cycles after each 700
new objects, a few times within one transaction of a hundred payments, whose objects are free as
soon as they are no longer named. Both together were 4% of a chaincode server's CPU.
"""

from __future__ import annotations

import gc

# New containers that are still alive before the collector looks; and how many such looks go by
# before one at the next older generation.
_THRESHOLDS = (10_000, 20, 20)


def settle() -> None:
    """Call once, when everything is started: what is alive now is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
