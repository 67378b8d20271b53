"""Workers go at once with the process that made them, however it ends.

gunicorn's workers look now and then whether their master lives, and finish what they do; until they
are gone they hold the port, and a new master can't listen. A pipe whose writing end only the
master has ends with it, on every system.
"""

from __future__ import annotations

import os
import threading
from typing import Final

_ORPHANED: Final = 1


class Tether:
    """Make it in the parent, before it forks; `hold` it in each child."""

    def __init__(self) -> None:
        self._end, self._parents = os.pipe()

    def hold(self) -> None:
        """From now on this process ends when the parent has ended."""
        os.close(self._parents)
        threading.Thread(target=self._watch, name="tether", daemon=True).start()

    def _watch(self) -> None:
        while os.read(self._end, 1):
            pass
        # Not sys.exit, which would end this thread only; and there is nothing to say goodbye to:
        # whoever waits for an answer is safe to ask again.
        os._exit(_ORPHANED)
