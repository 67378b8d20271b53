"""Who is killed when: each kind alone again and again, and everything that can die together."""

from __future__ import annotations

from itertools import islice

import pytest
from crash_plan import ALONE, Cast, Round, plan
from crash_run import ALONE_TIMES

CAST = Cast("orderer0", ("p1", "p2", "p3"), ("s1", "s2", "s3"))
CYCLE = 5
KINDS_TOGETHER = 6


def kinds(rounds: list[Round]) -> list[str]:
    return [", ".join(strike.kind for strike in round_) for round_ in rounds]


@pytest.mark.parametrize("seed", range(20))
def test_each_kind_dies_alone_in_every_part_of_a_run(seed: int) -> None:
    found = list(islice(plan(seed, CAST), 6 * CYCLE))
    for start in range(0, len(found), CYCLE):
        part = kinds(found[start : start + CYCLE])
        assert sorted(kind for kind in part if kind in ALONE) == sorted(ALONE)
    # A run of the default size: what the median is taken of, and most of the rest in groups.
    default = [strike for round_ in found[: ALONE_TIMES * CYCLE] for strike in round_]
    assert len({strike.kind for strike in default} - set(ALONE)) == KINDS_TOGETHER
    alone = ALONE_TIMES * len(ALONE)
    assert sum(len(strike.names) for strike in default) > 3 * alone


def test_a_seed_is_a_plan() -> None:
    first, again, other = (list(islice(plan(seed, CAST), 40)) for seed in (7, 7, 8))
    assert first == again != other
