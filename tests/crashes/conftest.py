"""The network that is loaded and killed, once for all tests here (how much: crash_choice.py)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import crash_choice
from crash_network import Network, start
from crash_run import Run, crash, report


def pytest_addoption(parser: pytest.Parser) -> None:
    crash_choice.add_options(parser)


@pytest.fixture(scope="session")
def kills(request: pytest.FixtureRequest) -> int:
    """How many processes are killed at least."""
    return crash_choice.kills(request.config)


@pytest.fixture(scope="session")
def crash_seed(request: pytest.FixtureRequest) -> int:
    """What decides who is killed when, and what is sent."""
    return crash_choice.seed(request.config)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A running network; the test files' numbers say in which order it is used."""
    started = start(tmp_path_factory.mktemp("crashes") / "home")
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def crashed(
    network: Network, tmp_path_factory: pytest.TempPathFactory, kills: int, crash_seed: int
) -> Run:
    """What a crash run left: all processes ended, ledgers only to be read."""
    run = Run(network, kills)
    try:
        crash(run, tmp_path_factory.mktemp("queues"), crash_seed)
    finally:
        network.stop()
        print(report(run))
    return run
