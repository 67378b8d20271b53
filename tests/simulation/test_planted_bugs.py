"""A simulation that finds nothing proves nothing: bugs are planted, and each must be found."""

import pytest
from planted_bugs import BUGS, Bug
from sim_world import run_seed

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
