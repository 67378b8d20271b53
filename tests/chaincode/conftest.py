"""Fixtures of the chaincode's tests; the helpers beside this file are importable by name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from chaincode_tls import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The CA of the connection between a peer and its chaincode server."""
    return Authority.create("ccca.bankone")
