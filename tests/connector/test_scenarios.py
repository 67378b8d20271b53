"""The shared scenarios, with each acquirer."""

from pathlib import Path

import pytest
from benches import BENCHES, Bench
from helpers_connector import World
from scenarios import SHARED, Scenario, play


@pytest.mark.parametrize("bench", BENCHES.values(), ids=lambda bench: str(bench.acquirer_id))
@pytest.mark.parametrize("scenario", SHARED, ids=lambda scenario: scenario.__name__)
def test_every_acquirer_passes(tmp_path: Path, scenario: Scenario, bench: Bench) -> None:
    play(World.make(tmp_path, bench), scenario)
