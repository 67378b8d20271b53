"""The bank's tests: a fake contract stands in for the ledger."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
