"""One registered channel for all of the auditor's tests; each goes on from a copy."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
# The contract's rules stand as rows in its own tests; here each has its forgery.
sys.path.insert(1, str(Path(__file__).parents[1] / "chaincode"))

from forge import Forge


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    """A channel with the contract defined and a merchant registered."""
    return Forge.start(tmp_path_factory.mktemp("channel"))


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    """A channel with the contract defined and nobody registered."""
    return Forge.blank(tmp_path_factory.mktemp("blank"))


@pytest.fixture
def forge(registered: Forge) -> Forge:
    """A copy of it."""
    return registered.copy()
