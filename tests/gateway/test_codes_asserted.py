"""Each code that only a gateway gives is what a test of the gateway asserts or is given a row for.

tests/chaincode/test_contract_rules.py does the same for the contract's codes, by running them.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from clearline.codes import Code

# The enumeration has them last.
GATEWAYS = list(Code)[list(Code).index(Code.UNAUTHENTICATED) :]


def _tables(body: list[ast.stmt]) -> dict[str, ast.AST]:
    """What is assigned to a name here, and the functions that make rows."""
    made: dict[str, ast.AST] = {}
    for node in body:
        if isinstance(node, ast.Assign):
            made |= {name.id: node.value for name in node.targets if isinstance(name, ast.Name)}
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("test_"):
            made[node.name] = node
    return made


def _judged(tree: ast.Module) -> Iterator[ast.AST]:
    """What a module's tests assert, and the rows that they are parametrized with or walk over."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield node.test
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        tables = _tables(tree.body) | _tables(node.body)
        loops = [loop.iter for loop in ast.walk(node) if isinstance(loop, ast.For)]
        for rows in (*node.decorator_list, *loops):
            yield rows
            for name in ast.walk(rows):
                if isinstance(name, ast.Name) and name.id in tables:
                    yield tables[name.id]


def _named(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for part in _judged(tree):
        for node in ast.walk(part):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Code":
                found.add(node.attr.lower())
    return found


NAMED = set().union(
    *(_named(ast.parse(file.read_text())) for file in Path(__file__).parent.glob("test_*.py"))
)


@pytest.mark.parametrize("code", GATEWAYS)
def test_a_gateway_s_code_is_reached(code: Code) -> None:
    assert code.value in NAMED


def test_a_code_that_is_only_listed_is_not_called_reached() -> None:
    listed = 'OTHERS = {"rate_limited"}\n\ndef test_x():\n    """not_found"""\n    assert OTHERS\n'
    asserted = 'def test_x():\n    assert code(get()) == (503, "overloaded")\n'
    tabled = "T = [Code.NOT_FOUND]\n\n@parametrize('x', T)\ndef test_x(x):\n    pass\n"
    assert _named(ast.parse(listed)) == set()
    assert _named(ast.parse(asserted)) == {"overloaded"}
    assert "not_found" in _named(ast.parse(tabled))
