"""A stack is skipped when its tools are missing, and never because it is broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from builds import MissingToolError, ProgramError, build


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("dial tcp: lookup proxy: no such host", MissingToolError),
        ("npm error code ENOTFOUND", MissingToolError),
        ("./driver.go:7:2: undefined: gateway", ProgramError),
        ("npm error `npm ci` can only install packages when both are in sync", ProgramError),
    ],
)
def test_what_a_failed_build_means(tmp_path: Path, said: str, expected: type[Exception]) -> None:
    command = [sys.executable, "-c", f"import sys; sys.exit({said!r})"]
    with pytest.raises(expected):
        build(command, tmp_path, {})


def test_a_build_that_passes(tmp_path: Path) -> None:
    build([sys.executable, "-c", ""], tmp_path, {})
