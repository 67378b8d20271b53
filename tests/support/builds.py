"""Programs that tests build: what is missing skips a test, what is broken fails it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_BUILD_SECONDS: Final = 300

# What npm and go say when the packages can't be had from here: nothing is wrong with ours.
_UNREACHABLE: Final = (
    "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "E404", "E503",
    "dial tcp", "no such host", "connection refused", "i/o timeout", "module lookup disabled",
)  # fmt: skip


class MissingToolError(Exception):
    """It can't be built on this machine; the text says what is missing."""


class ProgramError(Exception):
    """Our own programs don't build: a defect, never a reason to skip."""


def build(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a build command in a folder. Raises MissingToolError, ProgramError."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MissingToolError(f"{command[0]} took over {_BUILD_SECONDS} s") from error
    if done.returncode != 0:
        said = "; ".join(done.stderr.strip().splitlines()[:2]) or "no message"
        failed = f"{' '.join(command[:2])} failed: {said}"
        if any(sign in done.stderr for sign in _UNREACHABLE):
            raise MissingToolError(failed)
        raise ProgramError(f"{failed}\n{done.stderr}")
