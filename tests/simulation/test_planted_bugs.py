"""A simulation that finds nothing proves nothing: bugs are planted, and each must be found."""

import re
from pathlib import Path

import pytest
from planted_bugs import BUGS, Bug
from sim_world import run_seed

DOCS = Path(__file__).parents[2] / "docs" / "simulation.md"
SEEDS = 300  # of the 500 that the product passes


def rules(violations: tuple[str, ...]) -> set[str]:
    """The rules that were broken."""
    return {violation.partition(":")[0] for violation in violations}


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_planted_bug_is_found(bug: Bug) -> None:
    with bug.planted():
        found = next(
            (
                seed
                for seed in range(SEEDS)
                if rules(run_seed(seed).violations) & set(bug.caught_by)
            ),
            None,
        )
    assert found is not None, f"{bug.name} was not found in {SEEDS} seeds"
    assert run_seed(found).violations == ()


def test_there_are_enough_of_them() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 10


def test_the_table_says_what_catches_each() -> None:
    """Row for row, in the order of BUGS."""
    section = DOCS.read_text().partition("## Planted bugs")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", section, re.M)[1:]
    said = [(name, set(caught.split(", "))) for name, caught in rows]
    assert [caught for _, caught in said] == [set(bug.caught_by) for bug in BUGS], said
