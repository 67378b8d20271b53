"""The conformance suite's fixtures: one network an engine, one stack a language.

Results of a run are kept for docs/conformance.md when CONFORMANCE_RECORD is set.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import conformance_report as report
import toolchains
from behaviours import GO, LIST, NODE, PYTHON
from builds import MissingToolError
from conformance_world import (
    Network,
    Programs,
    Stack,
    go_programs,
    node_programs,
    python_programs,
    start_stack,
    stop_stack,
)

from network import bringup
from network.bringup import PortChoice, UpRequest
from network.home import Home
from network.topology import Engine

ENGINES = ("embedded", *(("fabric",) if os.environ.get("FABRIC_BIN") else ()))
_RESULTS: dict[str, dict[str, dict[str, str]]] = {}


@pytest.fixture(scope="session")
def programs() -> Iterator[dict[str, Future[Programs]]]:
    """Each stack's programs; npm and go work while the network comes up."""
    with ThreadPoolExecutor(3) as pool:
        yield {
            PYTHON: pool.submit(python_programs),
            NODE: pool.submit(lambda: node_programs(toolchains.node())),
            GO: pool.submit(lambda: go_programs(toolchains.go())),
        }


@pytest.fixture(scope="session", params=ENGINES)
def network(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    programs: dict[str, Future[Programs]],
) -> Iterator[Network]:
    """A network of its own on free ports."""
    home = Home(tmp_path_factory.mktemp("conformance") / "home")
    asked = UpRequest(home, None, Engine(request.param), PortChoice.FREE)
    result = bringup.up(asked, lambda _: None)
    try:
        yield Network(request.param, home, result.topology)
    finally:
        bringup.down(home)


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, network: Network, programs: dict[str, Future[Programs]]
) -> Iterator[Stack]:
    """The chaincode servers and the client of the stack that a test is parametrized with."""
    try:
        found = programs[request.param].result()
    except MissingToolError as error:
        pytest.skip(f"stack {request.param}: {error}")
    started = start_stack(request.param, network, found)
    yield started
    stop_stack(started)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is known to differ must go on failing, so that a repair is noticed."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        found = LIST.get(_name(item))
        if parameters.get("network") == "embedded" and found is not None and found.differs:
            item.add_marker(pytest.mark.xfail(strict=True, reason=found.differs))


def _name(item: pytest.Item) -> str:
    return str(getattr(item, "originalname", item.name)).removeprefix("test_")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    made: Any = yield
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if "stack" in parameters and (made.when == "call" or made.failed):
        stacks = _RESULTS.setdefault(parameters["network"], {}).setdefault(_name(item), {})
        stacks[parameters["stack"]] = "differs" if hasattr(made, "wasxfail") else made.outcome
    return made


def pytest_sessionfinish() -> None:
    if os.environ.get("CONFORMANCE_RECORD"):
        for engine, results in _RESULTS.items():
            report.record(engine, results)
