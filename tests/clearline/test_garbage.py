"""The cycle collector of a server: what is alive at the start is left alone, the rest is not."""

import subprocess
import sys

PROGRAM = """
import gc, weakref
from clearline import garbage

class Cycle:
    def __init__(self):
        self.me = self

before = [Cycle() for _ in range(100)]
garbage.settle()
assert gc.get_freeze_count() > 100
assert not any(one is before[0] for one in gc.get_objects())
after = weakref.ref(Cycle())
assert gc.isenabled()
kept = [[] for _ in range(5_000)]
assert after() is not None, "looked for too soon"
kept += [[] for _ in range(10_000)]
assert after() is None, "never looked for"
"""


def test_a_cycle_made_later_is_still_collected() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=30)
