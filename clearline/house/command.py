"""Running the rooms' command lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clearline.house.layout import HouseError


def argv(*words: str | Path) -> list[str]:
    """`clearline WORDS...` by this interpreter, without the current folder on its path."""
    return [sys.executable, "-P", "-m", "clearline", *map(str, words)]


def run(*words: str | Path) -> None:
    """Run a command with its output shown. Raises HouseError when it fails."""
    if subprocess.run(argv(*words), check=False).returncode != 0:
        raise HouseError(f"`clearline {shown(words)}` failed")


def output(*words: str | Path) -> str:
    """Run a command and give what it printed. Raises HouseError with its errors when it fails."""
    done = subprocess.run(argv(*words), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise HouseError(f"`clearline {shown(words)}` failed:\n{done.stderr or done.stdout}")
    return done.stdout


def shown(words: Sequence[str | Path]) -> str:
    """A command line for messages."""
    return " ".join(map(str, words))
