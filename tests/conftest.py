"""What every test may use, and how the suite is dealt out to several workers (`make test`).

Modules of tests/support are importable whatever the import mode. Not tests/ itself: its folders
are named like rooms and would stand in their way.
"""

import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent
sys.path.insert(0, str(_TESTS / "support"))

# A folder whose tests share one network or house goes to one worker as a whole. The longest come
# first, so that no worker is left with one of them while the others have nothing to do.
_TOGETHER = (
    "e2e",
    "faults",
    "conformance",
    "crashes",
    "identity",
    "security",
    "fidelity",
)


def _share(item: pytest.Item) -> str:
    """The folder, or the file, that one worker runs as a whole."""
    path = item.path.relative_to(_TESTS)
    return path.parts[0] if path.parts[0] in _TOGETHER else str(path)


def _turn(item: pytest.Item) -> int:
    folder = _share(item)
    return _TOGETHER.index(folder) if folder in _TOGETHER else len(_TOGETHER)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under `-n`, name each test's share and put the long ones first; one process keeps order."""
    if not hasattr(config, "workerinput"):
        return
    items.sort(key=_turn)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_share(item)))
