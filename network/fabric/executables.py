"""Finds Fabric's `peer` and `orderer`, and refuses versions this engine isn't made for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from network.engine import EngineError

VARIABLE: Final = "FABRIC_BIN"
INSTALL_GUIDE: Final = "https://hyperledger-fabric.readthedocs.io/en/latest/install.html"
SUPPORTED: Final = "3.1"
_NOT_YET: Final = "2.5"
# What a build that was given no version says (common/metadata/metadata.go).
_UNNUMBERED: Final = "latest"
_VERSION: Final = re.compile(r"^\s*Version:\s*v?(\S+)\s*$", re.MULTILINE)
_VERSION_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Executables:
    """Absolute paths of the two programs."""

    peer: Path
    orderer: Path


def find(environment: Mapping[str, str] = os.environ) -> Executables:
    """Each program from the folder that FABRIC_BIN names, else from PATH.

    Raises EngineError `fabric_missing`: which is missing and where it was looked for.
    """
    peer, orderer = _which("peer", environment), _which("orderer", environment)
    if peer is None or orderer is None:
        missing = [name for name, path in (("peer", peer), ("orderer", orderer)) if path is None]
        raise EngineError("fabric_missing", _missing(missing, environment))
    return Executables(peer, orderer)


def check(executables: Executables) -> tuple[str, ...]:
    """Run `peer version` and `orderer version`; remarks for the operator.

    Raises EngineError: `fabric_unusable` when one doesn't run, `fabric_version` for another
    version than 3.1 or for two that differ.
    """
    peer = _version("peer", executables.peer)
    orderer = _version("orderer", executables.orderer)
    for path, version in ((executables.peer, peer), (executables.orderer, orderer)):
        _supported(path, version)
    if peer != orderer:
        raise EngineError(
            "fabric_version",
            f"{executables.peer} is version {peer} but {executables.orderer} is {orderer}: "
            f"take both from one release. {_install()}",
        )
    if peer == _UNNUMBERED:
        return (f"Hyperledger Fabric, a build without a number (taken for {SUPPORTED})",)
    return (f"Hyperledger Fabric {peer}",)


def _which(name: str, environment: Mapping[str, str]) -> Path | None:
    for place in (environment.get(VARIABLE, ""), environment.get("PATH", "")):
        found = shutil.which(name, path=place) if place else None
        if found is not None:
            return Path(found).absolute()
    return None


def _missing(names: list[str], environment: Mapping[str, str]) -> str:
    folder = environment.get(VARIABLE, "")
    looked = f"{VARIABLE} ({folder})" if folder else f"{VARIABLE} (not set)"
    return (
        f"the fabric engine runs Hyperledger Fabric's own programs, and {' and '.join(names)} "
        f"{'was' if len(names) == 1 else 'were'} not found. Looked in {looked}, then in PATH. "
        f"{_install()}"
    )


def _install() -> str:
    return (
        f"Install Fabric {SUPPORTED} by its own guide ({INSTALL_GUIDE}) and set {VARIABLE} to the "
        "folder with its executables, or use --engine embedded, which needs none."
    )


def _version(name: str, program: Path) -> str:
    try:
        done = subprocess.run(
            [str(program), "version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"{program} can't be run: {error}. {_install()}"
        raise EngineError("fabric_unusable", reason) from error
    found = _VERSION.search(done.stdout)
    if done.returncode != 0 or found is None or not done.stdout.startswith(f"{name}:"):
        said = (done.stdout + done.stderr).strip().splitlines()
        reason = f"{program} is not Fabric's {name}: `{name} version` said {said[:1]}. {_install()}"
        raise EngineError("fabric_unusable", reason)
    return found[1]


def _supported(program: Path, version: str) -> None:
    if version == _UNNUMBERED or re.match(rf"{re.escape(SUPPORTED)}(\.|-|$)", version):
        return
    yet = ""
    if re.match(rf"{re.escape(_NOT_YET)}(\.|-|$)", version):
        yet = f" Version {_NOT_YET} is not supported yet."
    raise EngineError(
        "fabric_version",
        f"{program} is version {version}, this engine runs {SUPPORTED}.x.{yet} {_install()}",
    )
