"""docs/trust.md names tests; each of them exists, and each row has one or says why it has none."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[a-z0-9_/]+\.py)::([a-z0-9_]+)`", PAGE)))
FORGERIES = sorted(set(re.findall(r"`(_[a-z_]+)`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_named_test_exists(path: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FORGERIES)
def test_a_named_forgery_exists(name: str) -> None:
    sources = [one.read_text(encoding="utf-8") for one in (ROOT / "tests" / "audit").glob("*.py")]
    assert any(f"def {name}(" in source and f"({name}, Check." in source for source in sources)


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 15
    assert len(FORGERIES) > 10


ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| can still")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0])[:60])
def test_each_row_has_a_test_or_a_reason(row: list[str]) -> None:
    assert len(row) == 4 and all(row)
    *_, shown = row
    assert re.search(r"`tests/[a-z0-9_/]+\.py::[a-z0-9_]+`", shown) or re.search(
        r"\*none\*: \w.{15,}", shown
    ), shown


def test_rows_are_found_and_one_without_either_is_not_taken() -> None:
    assert len(ROWS) > 40
    for empty in ("*none*", "-", "as above", "*none*: no"):
        with pytest.raises(AssertionError):
            test_each_row_has_a_test_or_a_reason(["a", "b", "c", empty])
