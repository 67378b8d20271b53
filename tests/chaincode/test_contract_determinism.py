"""Every endorser must answer the same bytes: no clock, randomness, floats, set order, environment.

Held twice: by reading the contract's syntax, and by running it under other hash seeds.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import samples

import chaincode.contract

FOLDER = Path(chaincode.contract.__file__).parent
SOURCES = sorted(FOLDER.glob("*.py"))
ALLOWED = frozenset(
    {"__future__", "collections.abc", "dataclasses", "datetime", "enum", "functools", "typing"}
)
# Parts of allowed modules that read a clock or a process's own state.
CLOCKS = frozenset({"now", "utcnow", "today", "fromtimestamp", "time_ns", "monotonic"})
FORBIDDEN_NAMES = frozenset(
    {"open", "input", "print", "eval", "exec", "hash", "id", "float", "set", "globals", "vars"}
)


def findings(source: str) -> Iterator[str]:
    """What in this source could differ between two endorsers."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name not in ALLOWED)
        elif isinstance(node, ast.ImportFrom):
            yield from _import_from(node)
        elif isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            yield f"clock .{node.attr}"
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
            yield f"name {node.id}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield f"float {node.value}"
        elif isinstance(node, ast.Div):
            yield "true division"
        elif isinstance(node, ast.Set | ast.SetComp):
            yield "set"
        elif isinstance(node, ast.For | ast.comprehension):
            yield from _iterates(node.iter)
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield "asynchronous"


def _import_from(node: ast.ImportFrom) -> Iterator[str]:
    module = node.module or ""
    ours = module == "clearline" or module.startswith(("clearline.", "chaincode.contract"))
    if not ours and module not in ALLOWED:
        yield f"import {module}"
    for name in node.names:
        whole = f"{module}.{name.name}"
        if name.name in CLOCKS or whole.startswith(("clearline.logs", "clearline.fabric")):
            yield f"import {whole}"


def _iterates(what: ast.expr) -> Iterator[str]:
    # frozenset(...) may be asked for its members and its size, never walked through.
    called = what.func if isinstance(what, ast.Call) else None
    if isinstance(called, ast.Name) and called.id in ("set", "frozenset"):
        yield "iterates a set"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_source(path: Path) -> None:
    assert list(findings(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import random",
        "import os",
        "from datetime import datetime\ndatetime.now()",
        "from clearline import times\ntimes.now()",
        "from clearline.times import now",
        "from clearline import logs",
        "from clearline.fabric import client",
        "from chaincode.shim.stub import Stub",
        "x = 0.5",
        "x = 1 / 2",
        "x = {1, 2}",
        "x = [y for y in frozenset(z)]",
        "x = hash('a')",
        "async def f(): ...",
    ],
)
def test_the_check_finds(source: str) -> None:
    assert list(findings(source))


def test_sources_are_found() -> None:
    assert {"intents.py", "reports.py", "registry.py"} <= {path.name for path in SOURCES}


SCRIPT = """
import hashlib, sys
sys.path[:0] = sys.argv[1:3]
from test_contract_rules import ROWS, NOW, Refusal
digest = hashlib.sha256()
for row in ROWS:
    if row.rule != "an ES256 key":  # ECDSA signs with a random number: another text each run
        try:
            decision = row.given().decide(row.function, [row.item], row.submitter, NOW + row.after)
            digest.update(decision.answer() + decision.event + repr(decision.writes).encode())
        except Refusal as refusal:
            digest.update(str(refusal).encode())
print(digest.hexdigest())
"""


def test_hash_seeds_change_nothing() -> None:
    here, shared = Path(__file__).parent, Path(samples.__file__).parent
    answers = set()
    for seed in ("1", "2", "77"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(here), str(shared)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        answers.add(done.stdout)
    assert len(answers) == 1
    assert len(answers.pop().strip()) == len(hashlib.sha256().hexdigest())
