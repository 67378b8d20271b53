"""Times have one spelling, so texts compare as the moments they name."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearline import times

MOMENTS = st.datetimes(timezones=st.just(UTC)).filter(lambda m: 1 < m.year < 9999)


@given(MOMENTS, MOMENTS)
def test_texts_compare_as_moments(one: datetime, other: datetime) -> None:
    first, second = times.render(one), times.render(other)
    assert times.parse(first) == one.replace(microsecond=one.microsecond // 1000 * 1000)
    assert (first < second) == (times.parse(first) < times.parse(second))


def test_another_zone_is_rendered_in_utc_and_milliseconds_are_cut_not_rounded() -> None:
    moment = datetime(2026, 11, 23, 8, 0, 0, 999_999, timezone(timedelta(hours=8)))
    assert times.render(moment) == "2026-11-23T00:00:00.999Z"
    assert times.after("2026-11-23T23:59:59.500Z", 1) == "2026-11-24T00:00:00.500Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T08:00:00Z", "2026-11-23T08:00:00.0Z", "2026-11-23T08:00:00.000+00:00",
        "2026-11-23 08:00:00.000Z", "2026-02-30T08:00:00.000Z", "2026-11-23T24:00:01.000Z",
        "2026-11-23T08:00:00.000Z\n", "\u0662026-11-23T08:00:00.000Z", "",
    ],
)  # fmt: skip
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        times.parse(text)


@pytest.mark.parametrize("text", ["2026-2-3", "2026-02-30", "20260203", "2026-02-03\n", ""])
def test_other_dates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        times.parse_date(text)
