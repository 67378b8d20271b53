"""The memory of a server: what is alive at its start is left alone by the cycle collector, the rest
is not; what was freed is used again."""

import platform
import subprocess
import sys

import pytest

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


FAULTS = """
import resource
from clearline import garbage

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [b"x" * 2_000_000 for _ in range(5)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
garbage.settle()
faults()
assert 10 * faults() < given_back, given_back
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has another heap")
def test_freed_blocks_are_used_again_without_the_kernel() -> None:
    subprocess.run([sys.executable, "-c", FAULTS], check=True, timeout=30)
