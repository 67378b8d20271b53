"""Options of the simulation, and its modules importable whatever the import mode.

pytest tests/simulation --seed 17       one seed again, with its whole trace
pytest tests/simulation --seeds 5000    more of them (or SIMULATION_SEEDS=5000)
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

SEEDS = 500


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known only when this folder is named on the command line."""
    group = parser.getgroup("simulation")
    group.addoption("--seed", type=int, default=None, help="Play this seed only, and show it.")
    group.addoption("--seeds", type=int, default=None, help=f"How many seeds ({SEEDS}).")


@pytest.fixture
def only_seed(request: pytest.FixtureRequest) -> int | None:
    """The one seed that is asked for, or SIMULATION_SEED."""
    asked = request.config.getoption("--seed", None)
    text = os.environ.get("SIMULATION_SEED")
    return asked if asked is not None or text is None else int(text)


@pytest.fixture
def seed_count(request: pytest.FixtureRequest) -> int:
    """How many seeds are asked for."""
    asked = request.config.getoption("--seeds", None)
    return asked or int(os.environ.get("SIMULATION_SEEDS", SEEDS))
