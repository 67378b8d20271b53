"""How much the crash tests kill and by which seed, on either engine.

`pytest tests/crashes --kills 500 --crash-seed 7`, or CRASH_KILLS and CRASH_SEED, which also count
where a whole suite runs and pytest reads a folder's options too late.
"""

from __future__ import annotations

import contextlib
import os

import pytest

_KILLS = "--kills", "CRASH_KILLS", 50
_SEED = "--crash-seed", "CRASH_SEED", 1


def add_options(parser: pytest.Parser) -> None:
    """Add both flags; harmless when another folder's conftest has."""
    for flag, _, _ in (_KILLS, _SEED):
        with contextlib.suppress(ValueError):
            parser.addoption(flag, type=int, default=None)


def kills(config: pytest.Config) -> int:
    """How many processes are killed at least."""
    return _chosen(config, *_KILLS)


def seed(config: pytest.Config) -> int:
    """What decides who is killed when, and what is sent."""
    return _chosen(config, *_SEED)


def _chosen(config: pytest.Config, flag: str, variable: str, default: int) -> int:
    given = config.getoption(flag, None)
    return int(os.environ.get(variable, default)) if given is None else int(given)
