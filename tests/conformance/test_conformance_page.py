"""docs/conformance.md says what the suite holds and what its recorded runs saw."""

from __future__ import annotations

import conformance_report as report
import pytest


def test_page_is_the_suite() -> None:
    advice = "run `python tests/conformance/conformance_report.py`"
    assert report.PAGE.read_text(encoding="utf-8") == report.page(), advice


def test_recorded_runs_name_behaviours_of_the_suite() -> None:
    names = {item.name for item in report.all_behaviours()}
    for engine in report.ENGINES:
        assert set(report.recorded(engine)) <= names


@pytest.mark.parametrize("engine", report.ENGINES)
def test_every_behaviour_was_run_on_each_engine(engine: str) -> None:
    results = report.recorded(engine)
    for item in report.all_behaviours():
        outcomes = results.get(item.name, {})
        expected = "differs" if item.differs and engine == "embedded" else "passed"
        assert outcomes == dict.fromkeys(item.stacks, expected), item.name
