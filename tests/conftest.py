"""What every test may use: modules of tests/support are importable whatever the import mode.

Not tests/ itself: its folders are named like rooms and would stand in their way.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
