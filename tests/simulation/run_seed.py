"""A seed at the command line: its trace and what it breaks.

.venv/bin/python tests/simulation/run_seed.py 17
"""

import sys
from pathlib import Path

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1])]

from sim_world import run_seed  # noqa: E402

if __name__ == "__main__":
    result = run_seed(int(sys.argv[1]))
    print("\n".join(result.trace))
    print("\n".join(result.violations) or "nothing is broken")
    sys.exit(bool(result.violations))
