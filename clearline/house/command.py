"""Running the rooms' command lines."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearline.house.layout import HouseError

_LEAVING: Final = 20.0  # seconds a command gets after Ctrl-C to end what it began


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended, and what it printed (nothing where that was shown at once)."""

    exit_code: int
    output: str = ""
    errors: str = ""


def argv(*words: str | Path) -> list[str]:
    """`clearline WORDS...` by this interpreter, without the current folder on its path."""
    return [sys.executable, "-P", "-m", "clearline", *map(str, words)]


def run(*words: str | Path) -> None:
    """Run a command with its output shown. Raises HouseError when it fails."""
    if _ended(words, None, None).exit_code != 0:
        raise HouseError(f"`clearline {shown(words)}` failed")


def ask(*words: str | Path) -> Answer:
    """Run a command with its errors shown, and give what it printed, however it ended."""
    return _ended(words, subprocess.PIPE, None)


def output(*words: str | Path) -> str:
    """Run a command and give what it printed. Raises HouseError with its errors when it fails."""
    done = _ended(words, subprocess.PIPE, subprocess.PIPE)
    if done.exit_code != 0:
        raise HouseError(f"`clearline {shown(words)}` failed:\n{done.errors or done.output}")
    return done.output


def shown(words: Sequence[str | Path]) -> str:
    """A command line for messages."""
    return " ".join(map(str, words))


def _ended(words: Sequence[str | Path], out: int | None, err: int | None) -> Answer:
    with _interrupts_held():
        process = subprocess.Popen(argv(*words), stdout=out, stderr=err, text=True)
    with process:
        try:
            printed, errors = process.communicate()
        except KeyboardInterrupt:
            # The terminal told it as well: it ends by itself, having stopped what it started.
            try:
                process.wait(_LEAVING)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        except BaseException:
            process.kill()
            raise
    return Answer(process.returncode, printed or "", errors or "")


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process started within has Ctrl-C held back until it can answer (clearline/__main__.py):
    one that comes while its interpreter starts would print a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
