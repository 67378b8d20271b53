"""The benchmarks are programs beside the packages: scripts/ has to be on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "scripts"))
