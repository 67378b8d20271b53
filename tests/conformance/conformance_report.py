"""Makes docs/conformance.md from the suite's list of behaviours and its recorded runs.

`CONFORMANCE_RECORD=1 pytest tests/conformance` records a run of each engine in results/;
`python tests/conformance/conformance_report.py` writes the page. A test holds that both agree.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
# Certificates of all kinds are made by the orderer's tests, a misbehaving chaincode by fidelity's.
sys.path.insert(0, str(HERE.parent / "embedded_orderer"))
sys.path.insert(0, str(HERE.parent / "fidelity"))
sys.path.insert(0, str(HERE))

import behaviours  # noqa: E402 - found by the line above
from behaviours import Behaviour  # noqa: E402

PAGE: Final = HERE.parent.parent / "docs" / "conformance.md"
ENGINES: Final = ("embedded", "fabric")
_MODULES: Final = tuple(sorted(path.stem for path in HERE.glob("test_conformance_[0-9]_*.py")))
_NAMES: Final = {"python": "Python", "node": "Node", "go": "Go"}

Results = Mapping[str, Mapping[str, str]]


def all_behaviours() -> list[Behaviour]:
    """The list, in the order of the tests."""
    for module in _MODULES:
        importlib.import_module(module)
    return sorted(behaviours.LIST.values(), key=lambda item: item.place)


def record(engine: str, results: Results) -> None:
    """Keep a run's outcomes: behaviour -> stack -> passed, differs, failed or skipped."""
    path = HERE / "results" / f"{engine}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def recorded(engine: str) -> Results:
    """The last recorded run; empty when there is none."""
    path = HERE / "results" / f"{engine}.json"
    if not path.exists():
        return {}
    found: Results = json.loads(path.read_text(encoding="utf-8"))
    return found


def page() -> str:
    """The text of docs/conformance.md."""
    results = {engine: recorded(engine) for engine in ENGINES}
    lines = [_introduction()]
    group = ""
    notes: list[str] = []
    for item in all_behaviours():
        if item.group != group:
            group = item.group
            lines += ["", f"## {group}", ""]
            lines += ["| behaviour | Fabric's source | embedded | fabric |", "|---|---|---|---|"]
        mark = ""
        for note in filter(None, (item.note, item.differs)):
            if note not in notes:
                notes.append(note)
            mark += f" ({notes.index(note) + 1})"
        cells = [_cell(item, results[engine]) for engine in ENGINES]
        lines.append(f"| {item.says}{mark} | `{item.source}` | {cells[0]} | {cells[1]} |")
    numbered = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    lines += ["", "## Notes", "", *numbered, ""]
    return "\n".join(lines)


def _cell(item: Behaviour, results: Results) -> str:
    outcomes = results.get(item.name, {})
    if not outcomes:
        return "not run yet"
    by_outcome: dict[str, list[str]] = {}
    for stack in item.stacks:
        by_outcome.setdefault(outcomes.get(stack, "not run"), []).append(_NAMES[stack])
    words = {
        "passed": "",
        "differs": "**differs:** ",
        "failed": "**failed:** ",
        "skipped": "skipped: ",
        "not run": "not run: ",
    }
    return "; ".join(f"{words[key]}{', '.join(names)}" for key, names in by_outcome.items())


def _introduction() -> str:
    packages = json.loads((HERE / "node" / "package.json").read_text())["dependencies"]
    modules = dict(
        line.split()[:2]
        for line in (HERE / "go" / "go.mod").read_text().splitlines()
        if line.startswith("\tgithub.com/hyperledger/")
    )

    def package(name: str) -> str:
        return f"`{name}` {packages[name]}"

    def module(name: str) -> str:
        return f"`{name}` {modules[name]}"

    return _INTRODUCTION.format(
        node_client=package("@hyperledger/fabric-gateway"),
        node_shim=package("fabric-shim"),
        node_contract=package("fabric-contract-api"),
        go_client=module("github.com/hyperledger/fabric-gateway"),
        go_shim=module("github.com/hyperledger/fabric-chaincode-go/v2"),
    )


_INTRODUCTION: Final = """\
# Conformance: what was seen to behave as Fabric does

Made by `python tests/conformance/conformance_report.py` from the suite's own list; don't edit it.
A test fails when this page and the suite disagree.

Every behaviour is a test over real sockets and TLS against a network of its own: three peers as
processes, a chaincode server an organisation, and one orderer on the embedded engine, three (Raft)
on Fabric's. Three stacks run the same test:

| stack | client | chaincode |
|---|---|---|
| Python | ours, `clearline.fabric` | ours, `chaincode.shim` |
| Node | {node_client} | {node_shim}, {node_contract} |
| Go | {go_client} | {go_shim} |

A cell names the stacks that passed in the last recorded run on that engine; *not run yet* means
what it says. `embedded` is our own peer and orderer, `fabric` Fabric's executables.

    .venv/bin/python -m pytest tests/conformance                        # the embedded engine
    FABRIC_BIN=/path/to/bin .venv/bin/python -m pytest tests/conformance   # both
    CONFORMANCE_RECORD=1 .venv/bin/python -m pytest tests/conformance   # and keep the outcomes

Node's packages are installed by `npm ci` and the Go programs built by `go build`, once for each
content of the lock files, into `$CLEARLINE_CONFORMANCE_CACHE` or the user's cache folder. Where
Node or Go is missing, or a package can't be had, that stack's tests are skipped with the reason.
On two cores all stacks take about 40 s, and up to a minute longer the first time."""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
