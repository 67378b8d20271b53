"""Every endorser must answer the same bytes: no clock, randomness, floats, set order, environment.

Held twice: by reading the syntax of the contract and of what it loads (determinism.py), and by
running the contract under other hash seeds, time zones, locales and environments.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import determinism
import pytest
import samples


@pytest.mark.parametrize("path", determinism.sources(), ids=determinism.name)
def test_source(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert list(determinism.findings(source, determinism.name(path))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import random",
        "import os",
        "from datetime import datetime\ndatetime.now()",
        "from datetime import datetime\ngetattr(datetime, 'now')()",
        "from clearline import times\ntimes.now()",
        "from clearline.times import now",
        "from clearline import logs",
        "from clearline.fabric import client",
        "from clearline.canonical import hashlib",
        "from clearline.jws import KeySigner\nKeySigner.generate()",
        "from chaincode.shim.stub import Stub",
        "__import__('time').time()",
        "x = 0.5",
        "x = 1 / 2",
        "x = 3**-1",
        "x = 2**y",
        "x = [y for y in {1, 2}]",
        "x = [y for y in frozenset(z)]",
        "s = frozenset(z)\nfor y in s: ...",
        "def f(s: frozenset[str]):\n    for y in s: ...",
        "x = list(frozenset(z))",
        "x = next(iter(frozenset(z)))",
        "x = [*frozenset(z)]",
        "x = ','.join(frozenset(z))",
        "for y in a.keys() & b.keys(): ...",
        "for y in a.union(b): ...",
        "x = frozenset(z).pop()",
        "x = hash('a')",
        "async def f(): ...",
    ],
)
def test_the_check_finds(source: str) -> None:
    assert list(determinism.findings(source))


@pytest.mark.parametrize(
    "source",
    [
        "x = y in frozenset(z)",
        "x = sorted(frozenset(z))",
        "x = len({1, 2})",
        "x = 10**3",
        "x = getattr(record, name)",
        "from clearline.jws import Algorithm",
    ],
)
def test_the_check_lets_pass(source: str) -> None:
    assert list(determinism.findings(source)) == []


def test_sources_are_found() -> None:
    found = {determinism.name(path) for path in determinism.sources()}
    assert {
        "chaincode/adapter.py",
        "chaincode/contract/intents.py",
        "clearline/intents.py",
        "clearline/jws.py",
        "clearline/money.py",
        "clearline/schema.py",
    } <= found


SCRIPT = """
import hashlib, sys
sys.path[:0] = sys.argv[1:3]
from test_contract_rules import ROWS, NOW, Refusal
digest = hashlib.sha256()
for row in ROWS:
    if "an ES256 key" not in row.rule:  # ECDSA signs with a random number: another text each run
        try:
            decision = row.given().decide(row.function, [row.item], row.submitter, NOW + row.after)
            digest.update(decision.answer() + decision.event + repr(decision.writes).encode())
        except Refusal as refusal:
            digest.update(str(refusal).encode())
print(digest.hexdigest())
"""


SURROUNDINGS = (
    {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "2", "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"},
    {
        "PYTHONHASHSEED": "77",
        "TZ": "America/St_Johns",
        "LANG": "tr_TR.UTF-8",
        "CLEARLINE_HOME": "/",
    },
)


def test_surroundings_change_nothing() -> None:
    here, shared = Path(__file__).parent, Path(samples.__file__).parent
    answers = set()
    for surroundings in SURROUNDINGS:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(here), str(shared)],
            env=os.environ | surroundings,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        answers.add(done.stdout)
    assert len(answers) == 1
    assert len(answers.pop().strip()) == 2 * hashlib.sha256().digest_size
