"""The table of codes is whole, and what it says of tests below a house is asserted there.

What it says of tests with a house is held against what they observed: tests/conftest.py.
"""

import ast
from functools import cache
from pathlib import Path

import pytest
from codes_table import BELOW, HOUSE, OTHERS
from reached import missing, named

from clearline.codes import Code

TESTS = Path(__file__).parents[1]


def test_every_code_has_its_place() -> None:
    assert set(Code) == OTHERS | set(HOUSE) | set(BELOW)
    assert not OTHERS & (set(HOUSE) | set(BELOW))
    assert not set(HOUSE) & set(BELOW)


@pytest.mark.parametrize("code", BELOW)
def test_the_named_test_asserts_the_code(code: Code) -> None:
    """In an assertion or in the rows it is given: not in a comment or a text beside them."""
    assert code.value in asserted(*parts(BELOW[code]))


@pytest.mark.parametrize("code", HOUSE)
def test_the_named_test_is_there(code: Code) -> None:
    assert parts(HOUSE[code])[1] is not None


def test_what_was_not_observed_is_missed() -> None:
    table = {Code.OK: "e2e/test_a.py::test_b", Code.EXPIRED: "e2e/test_a.py::test_c"}
    test = named("tests/e2e/test_a.py::test_b[row]")
    assert missing(table, [test], {(test, "ok")}) == []
    assert missing(table, [test], {(test, "duplicate"), ("e2e/test_a.py::test_c", "ok")}) == [
        "ok was not observed in tests/e2e/test_a.py::test_b"
    ]


def test_a_comment_asserts_nothing() -> None:
    tree = ast.parse('def test_x():\n    """not_found"""\n    # rate_limited\n    assert 1\n')
    assert asserted(tree, None) == set()


@cache
def parts(place: str) -> tuple[ast.Module, ast.FunctionDef | None]:
    """A test's module, and its function where one is named."""
    file, _, name = place.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    found = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    assert len(found) == bool(name), place
    return tree, found[0] if found else None


def asserted(module: ast.Module, function: ast.FunctionDef | None) -> set[str]:
    """What a test, or a module's tests, assert, expect to be raised, or are given as rows."""
    found: set[str] = set()
    for node in ast.walk(function or module):
        if isinstance(node, ast.Assert):
            found |= _codes(node)
        elif isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                found |= _codes(decorator) | _rows(module, decorator)
    return found


def _rows(module: ast.Module, decorator: ast.expr) -> set[str]:
    """Of the tables that a decorator names."""
    names = {node.id for node in ast.walk(decorator) if isinstance(node, ast.Name)}
    return set().union(*(
        _codes(node.value)
        for node in module.body
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id in names for target in node.targets)
    ))  # fmt: skip


def _codes(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Code":
            found.add(node.attr.lower())
    return found
