"""The suite's list of behaviours: what a test holds, where Fabric decides it, on which stacks.

A stack is a client and the chaincode API of the same language. The list is made by the tests'
own decorators, so that docs/conformance.md, which conformance_report.py makes from it, can't
disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import pytest

PYTHON: Final = "python"
NODE: Final = "node"
GO: Final = "go"
STACKS: Final = (PYTHON, NODE, GO)

_Test = TypeVar("_Test", bound=Callable[..., None])


@dataclass(frozen=True)
class Behaviour:
    """One row of the table. source: a file of Fabric's repository. note: why not all stacks.

    place: test module and line, by which the table is sorted. differs: what the embedded engine
    is known to do instead; empty when it does as Fabric.
    """

    place: tuple[str, int]
    name: str
    group: str
    says: str
    source: str
    stacks: tuple[str, ...]
    note: str
    differs: str


LIST: dict[str, Behaviour] = {}


def behaviour(
    group: str,
    says: str,
    source: str,
    *,
    stacks: Sequence[str] = STACKS,
    note: str = "",
    differs: str = "",
) -> Callable[[_Test], _Test]:
    """Put a test into the list and run it on each stack. Its name names the behaviour."""
    if set(stacks) != set(STACKS) and not note:
        raise ValueError(f"{says}: say why only {stacks}")

    def listed(test: _Test) -> _Test:
        name = test.__name__.removeprefix("test_")
        if name in LIST and LIST[name].says != says:
            raise ValueError(f"two behaviours are named {name}")
        place = (Path(test.__code__.co_filename).name, test.__code__.co_firstlineno)
        LIST[name] = Behaviour(place, name, group, says, source, tuple(stacks), note, differs)
        marked: _Test = pytest.mark.parametrize("stack", tuple(stacks), indirect=True)(test)
        return marked

    return listed
