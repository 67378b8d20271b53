"""What the command line is given as text: secrets, attributes, durations.

A secret comes from a file, standard input, the environment or a prompt: an argument would be
seen by everybody who lists the machine's processes.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from network.ca.errors import Code, IdentityCommandError

SECRET_VARIABLE: Final = "CLEARLINE_ENROLL_SECRET"  # noqa: S105 - its name, not a secret
_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes"}


def read_secret(file: Path | None, kept: Path, name: str) -> str:
    """From --secret-file, the environment, the file `register` made, or a prompt.

    Raises IdentityCommandError `no_secret`.
    """
    try:
        if file is not None:
            value = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8")
        elif os.environ.get(SECRET_VARIABLE):
            value = os.environ[SECRET_VARIABLE]
        elif kept.is_file():
            value = kept.read_text(encoding="utf-8")
        elif sys.stdin.isatty():
            value = click.prompt(f"Enrolment secret of {name}", hide_input=True, err=True)
        else:
            value = ""
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityCommandError(Code.NO_SECRET, f"the secret can't be read: {error}") from error
    value = value.strip()
    if not value:
        raise IdentityCommandError(
            Code.NO_SECRET,
            f"no enrolment secret of {name}: give --secret-file, {SECRET_VARIABLE}, or a terminal",
        )
    return value


def attributes_of(texts: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """NAME=VALUE[:ecert] texts: those for certificates, and those that the CA keeps."""
    carried: dict[str, str] = {}
    held: dict[str, str] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise click.UsageError(f"--attr {text}: NAME=VALUE or NAME=VALUE:ecert")
        if value.endswith(":ecert"):
            carried[name] = value.removesuffix(":ecert")
        else:
            held[name] = value
    return carried, held


def duration(text: str) -> timedelta:
    """30d, 12h or 90m. Raises click.UsageError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.UsageError(f"--before {text}: a number with d, h or m, for example 30d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
