"""Endorsers must agree on every signature, whichever version of `cryptography` each has.

Other versions are installed beside the environment's own, in a cache folder
($XDG_CACHE_HOME/clearline-tests), from the package index that pip is set up with.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import cryptography
import pytest
from ed25519_vectors import SPECCHECK, TAKEN, Vector, answer, vectors

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
# The oldest that pyproject.toml takes and one between it and ours: OpenSSL 3.4 and 3.5 inside.
OTHERS = ("44.0.3", "46.0.5")


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.name)
def test_vector(vector: Vector) -> None:
    assert answer(vector) == vector.expected


def test_names_are_unique_and_all_answers_occur() -> None:
    names = [vector.name for vector in vectors()]
    assert len(frozenset(names)) == len(names)
    assert {vector.expected for vector in vectors()} == {"taken", "invalid", "key refused"}
    assert len(SPECCHECK) == 12


def test_the_supported_range_is_the_tested_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = cryptography.__version__.split(".")[0]
    oldest = OTHERS[0].split(".")[0]
    assert f"cryptography>={oldest},<{int(ours) + 1}" in project["dependencies"]


def other_version(version: str) -> Path:
    """A folder with this version of `cryptography` alone; skips the test with the reason."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "clearline-tests"
    python = f"{sys.implementation.cache_tag}-{sys.platform}"
    folder = cache / f"cryptography-{version}-{python}"
    if (folder / "done").exists():
        return folder
    if importlib.util.find_spec("pip") is None:
        pytest.skip("no pip here to install another version with")
    words = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet",
             "--retries", "1", "--timeout", "10", "--upgrade")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *words, "--target", str(folder),
         f"cryptography=={version}"],
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"cryptography {version} can't be installed: {done.stderr.strip()[-300:]}")
    (folder / "done").touch()
    return folder


@pytest.mark.parametrize("version", [*OTHERS, cryptography.__version__])
def test_endorsers_with_other_versions_agree(version: str) -> None:
    first = [] if version == cryptography.__version__ else [str(other_version(version))]
    path = os.pathsep.join([*first, str(ROOT)])
    done = subprocess.run(
        [sys.executable, str(HERE / "ed25519_vectors.py")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["version"] == version
    assert said["answers"] == {vector.name: vector.expected for vector in vectors()}
    assert TAKEN in said["answers"].values()
