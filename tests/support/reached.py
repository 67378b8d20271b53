"""Which outcome codes were observed over real wires, by the test that was running.

Whoever gets an answer from a process of a house calls `note` with it; at the end of the session
the table (codes_table.py) is held against what was noted (tests/conftest.py).
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from clearline.codes import Code

_FOLDER = "CLEARLINE_TESTS_REACHED"
_CODES = frozenset(code.value for code in Code)
_seen: set[tuple[str, str]] = set()
Observed = set[tuple[str, str]]  # tests (file::function, from tests/ on), with a code


def begin() -> None:
    """Give this session, its workers included, a place of its own."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="reached-")


def note(answer: Any) -> None:
    """An answer as JSON; every `code` in it counts."""
    test = named(os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0])
    fresh = {(test, code) for code in _codes(answer)} - _seen
    if fresh and test:
        _seen.update(fresh)
        with Path(os.environ[_FOLDER], str(os.getpid())).open("a") as file:
            file.writelines(f"{test}\t{code}\n" for test, code in sorted(fresh))


def note_body(body: str | bytes) -> None:
    """The same for a text; what is no JSON says nothing."""
    with contextlib.suppress(ValueError):
        note(json.loads(body))


def observed() -> Observed:
    """All of it."""
    lines = [
        line
        for file in Path(os.environ[_FOLDER]).iterdir()
        for line in file.read_text().splitlines()
    ]
    return {(test, code) for test, _, code in (line.partition("\t") for line in lines)}


def end() -> None:
    """Forget all of it."""
    shutil.rmtree(os.environ.pop(_FOLDER), ignore_errors=True)


def named(nodeid: str) -> str:
    """A test without its parameters, from tests/ on."""
    return nodeid.partition("[")[0].removeprefix("tests/")


def missing(table: Mapping[Code, str], passed: Collection[str], seen: Observed) -> list[str]:
    """What the table promises of tests that have passed as a whole and that was not observed."""
    return [
        f"{code.value} was not observed in tests/{test}"
        for code, test in table.items()
        if test in passed and (test, code.value) not in seen
    ]


def _codes(answer: Any) -> set[str]:
    if isinstance(answer, dict):
        own = answer.get("code")
        mine = {own} if isinstance(own, str) and own in _CODES else set()
        return mine.union(*(_codes(one) for one in answer.values()))
    if isinstance(answer, list):
        return set().union(*(_codes(one) for one in answer))
    return set()
