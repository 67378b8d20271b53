"""docs/trust.md names tests; each of them exists."""

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
