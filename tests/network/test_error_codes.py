"""docs/network.md lists the codes that the network commands print, these and no others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "network.md"
# What `clearline network` runs; the identity commands (network/ca) list theirs in identities.md.
SOURCES = sorted(
    [
        *(path for path in (ROOT / "network").glob("*.py")),
        *(ROOT / "network" / "fabric").glob("*.py"),
        *(ROOT / "network" / "embedded").rglob("*.py"),
        ROOT / "clearline" / "ports.py",
        ROOT / "clearline" / "supervisor.py",
    ]
)
TOPOLOGY = "A topology"
# Whoever takes a code, and as which argument. The errors of the commands:
COMMANDS = {"HomeError": 0, "EngineError": 0, "SupervisorError": 0}
# The reader's own methods, called on a section of the file:
READER = {"note": 0, "text": 2, "number": 3, "choice": 2, "choices": 2}
PRINTED = re.compile(r"\[([a-z]+(?:_[a-z]+)+)\]")


def constants(node: ast.AST) -> set[str]:
    return {
        found.value
        for found in ast.walk(node)
        if isinstance(found, ast.Constant) and isinstance(found.value, str)
    }


def arguments(tree: ast.AST, takers: dict[str, int]) -> Iterator[str]:
    """The code in every call of `takers`. A name that is handed on was a constant elsewhere."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        called = getattr(call.func, "id", getattr(call.func, "attr", ""))
        place = takers.get(called)
        if place is None or len(call.args) <= place:
            continue
        code = call.args[place]
        assert isinstance(code, ast.Constant | ast.Name), ast.dump(code)
        if isinstance(code, ast.Constant):
            yield str(code.value)
        else:
            assert code.id == "code", f"{code.id}: a code must be written where it is given"


def defaults(tree: ast.AST) -> Iterator[str]:
    """What a parameter or class member `code` is when nobody says."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            late = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            for parameter, value in zip(late, node.args.defaults, strict=True):
                if parameter.arg == "code":
                    yield from constants(value)
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.Assign) and constants(member.value):
                    names = [target.id for target in member.targets if isinstance(target, ast.Name)]
                    if names == ["code"]:
                        yield from constants(member.value)


def in_source() -> dict[str, set[str]]:
    """Code, by the heading of the document that it belongs under."""
    commands: set[str] = set()
    topology: set[str] = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        commands |= set(arguments(tree, COMMANDS))
        topology |= set(arguments(tree, {"Problem": 0}))
        if path.name == "topology_reader.py":
            topology |= set(arguments(tree, READER)) | set(defaults(tree))
        if path.name == "ports.py":
            commands |= set(defaults(tree))
        if path.name == "cli.py":
            commands |= {code for text in constants(tree) for code in PRINTED.findall(text)}
    return {"The commands": commands, TOPOLOGY: topology}


def in_document() -> dict[str, list[str]]:
    """The first column of each table, by its heading."""
    found: dict[str, list[str]] = {}
    for part in DOCUMENT.read_text().split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        found[heading] = re.findall(r"^\| `([a-z_]+)` \|", body, re.MULTILINE)
    return found


@pytest.mark.parametrize("heading", ["The commands", TOPOLOGY])
def test_the_table_and_the_source_have_the_same_codes(heading: str) -> None:
    listed, given = in_document()[heading], in_source()[heading]
    assert len(listed) == len(set(listed))
    assert (given - set(listed), set(listed) - given) == (set(), set())


def test_each_code_has_a_when_and_a_what_to_do() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) == sum(len(listed) for listed in in_document().values())
    for row in rows:
        _, _, when, advice, _ = row.split("|")
        assert when.strip() and advice.strip(), row
