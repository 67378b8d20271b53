"""What every test may use, and how the suite is dealt out to several workers (`make test`).

Modules of tests/support are importable whatever the import mode. Not tests/ itself: its folders
are named like rooms and would stand in their way.
"""

import sys
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).parent
sys.path.insert(0, str(_TESTS / "support"))

import codes_table  # noqa: E402
import reached  # noqa: E402

_PASSED: dict[str, bool] = {}

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


def _share(nodeid: str) -> str:
    """The folder, or the file, that one worker runs as a whole."""
    file = nodeid.partition("::")[0]
    folder = file.split("/")[1]
    return folder if folder in _TOGETHER else file


def _turn(item: pytest.Item) -> int:
    share = _share(item.nodeid)
    if share in _TOGETHER:
        return _TOGETHER.index(share)
    # Long files, which would keep one worker at the end while the other has nothing to do.
    return len(_TOGETHER) + (not share.startswith("tests/simulation/"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under `-n` the long ones come first; one process keeps the order of the folders."""
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """pytest-xdist's own scheduler by scope, with these shares for scopes."""
    from xdist.scheduler import LoadScopeScheduling

    class ByShare(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _share(nodeid)

    return ByShare(config, log)


def pytest_configure() -> None:
    """A place for the codes that tests observe."""
    reached.begin()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Which tests passed as a whole, with all their rows; workers report here too."""
    if report.when == "call" or not report.passed:
        test = reached.named(report.nodeid)
        _PASSED[test] = report.passed and _PASSED.get(test, True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The table of codes is what was observed, or the session fails."""
    if hasattr(session.config, "workerinput"):
        return
    options = session.config.option
    some = options.keyword or options.markexpr or any("::" in arg for arg in session.config.args)
    passed = [test for test, whole in _PASSED.items() if whole and not some]
    missing = reached.missing(codes_table.HOUSE, passed, reached.observed())
    reached.end()
    if missing:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("", *missing, sep="\n")
