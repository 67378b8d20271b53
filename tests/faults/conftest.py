"""One house with faults at hand for all tests of this folder; they follow the order of their names.

ENGINE=fabric runs them on Fabric's own nodes (FABRIC_BIN); FAULTS_SEED chooses other moments.
"""

import gc
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "e2e"))  # books.py, the checker

from faulty_house import FaultyHouse, faulty_house
from invariants import hold
from news import News, listening

ENGINE = os.environ.get("ENGINE", "embedded")
SEED = os.environ.get("FAULTS_SEED", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A process that is killed while a client connects resets the connection: then Python's
    ssl.SSLSocket._create (3.11.7: `self.recv(1)` where there is no peer any more) raises without
    closing what it has begun, and the warning comes whenever that is collected."""
    mark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(mark)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyHouse]:
    """On free ports, behind proxies."""
    home, folder = tmp_path_factory.mktemp("faulty"), tmp_path_factory.mktemp("faults")
    with faulty_house(home, folder, ENGINE) as house:
        yield house


@pytest.fixture(scope="session")
def news(whole: FaultyHouse) -> Iterator[News]:
    """The merchant's webhook, of which everything must come."""
    with listening(whole) as heard:
        yield heard


@pytest.fixture
def faulty(whole: FaultyHouse, news: News) -> Iterator[FaultyHouse]:
    """The house; after each test everything must hold."""
    yield whole
    begun = time.monotonic()
    news.hold(hold(whole))
    print(f"checked in {time.monotonic() - begun:.1f} s")
    gc.collect()  # what `pytest_collection_modifyitems` speaks of, while that holds


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Where and when: from FAULTS_SEED and the test's name."""
    print(f"FAULTS_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")
