"""Installs the official Node packages and builds the Go programs, once, outside the repository.

The cache folder ($CLEARLINE_CONFORMANCE_CACHE, or clearline/conformance in the user's cache
folder) has one folder for each content of the lock files and sources.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from builds import MissingToolError, build

HERE: Final = Path(__file__).parent


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
        build(command, folder, {})

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

    def compiled(folder: Path) -> None:
        command = ["go", "build", "-trimpath", "-buildvcs=false", "-o", f"{folder}/", "./..."]
        # No C compiler is needed: the only user of one is an HSM's module.
        build(command, source, {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"})

    return _once("go", files, compiled)


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
