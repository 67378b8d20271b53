"""Installs the official Node packages and builds the Go programs, once, outside the repository.

The cache folder ($CLEARLINE_CONFORMANCE_CACHE, or clearline/conformance in the user's cache
folder) has one folder for each content of the lock files and sources.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
_INSTALL_SECONDS: Final = 300


# What npm and go say when the packages can't be had from here: nothing is wrong with the suite.
_UNREACHABLE: Final = (
    "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "E404", "E503",
    "dial tcp", "no such host", "connection refused", "i/o timeout", "module lookup disabled",
)  # fmt: skip


class MissingToolError(Exception):
    """A stack can't run on this machine; the text says what is missing."""


class ProgramError(Exception):
    """The suite's own programs don't build: a defect, never a reason to skip."""


def node() -> Path:
    """A folder with node_modules and the suite's Node programs.

    Raises MissingToolError, ProgramError.
    """
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise MissingToolError(f"{tool} is not installed")
    sources = [HERE / "node" / name for name in ("package.json", "package-lock.json")]
    programs = [HERE / "node" / name for name in ("driver.js", "chaincode.js")]

    def install(folder: Path) -> None:
        for source in sources:
            shutil.copy(source, folder)
        # No install script is needed: the only one is an HSM's native module, which isn't used.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        _run(command, folder, {})

    folder = _once("node", sources, install)
    for program in programs:  # small and often edited: always the current ones
        shutil.copy(program, folder)
    return folder


def go() -> Path:
    """A folder with the executables driver and chaincode. Raises MissingToolError, ProgramError."""
    if shutil.which("go") is None:
        raise MissingToolError("go is not installed")
    source = HERE / "go"
    files = sorted(path for path in source.rglob("*") if path.is_file())

    def build(folder: Path) -> None:
        command = ["go", "build", "-trimpath", "-buildvcs=false", "-o", f"{folder}/", "./..."]
        # No C compiler is needed: the only user of one is an HSM's module.
        _run(command, source, {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"})

    return _once("go", files, build)


def _once(name: str, inputs: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """The folder that `make` filled for these inputs, now or in an earlier run."""
    digest = hashlib.sha256()
    for path in inputs:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    root = _cache_folder()
    folder = root / f"{name}-{digest.hexdigest()[:16]}"
    with (root / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = root / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            partial.replace(folder)
    return folder


def _cache_folder() -> Path:
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    own = os.environ.get("CLEARLINE_CONFORMANCE_CACHE")
    root = Path(own) if own else user / "clearline" / "conformance"
    root.mkdir(parents=True, exist_ok=True)
    return root


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MissingToolError(f"{command[0]} took over {_INSTALL_SECONDS} s") from error
    if done.returncode != 0:
        said = "; ".join(done.stderr.strip().splitlines()[:2]) or "no message"
        failed = f"{' '.join(command[:2])} failed: {said}"
        if any(sign in done.stderr for sign in _UNREACHABLE):
            raise MissingToolError(failed)
        raise ProgramError(f"{failed}\n{done.stderr}")
