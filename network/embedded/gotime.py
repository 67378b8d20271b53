"""Times as Go prints them, years beyond Python's included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_CYCLE_SECONDS = 146_097 * 86_400
"""400 years: after these the Gregorian calendar repeats."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(seconds: int, nanos: int = 0) -> str:
    """Go's time.RFC3339 in UTC of seconds and nanoseconds since 1970; fractions are left out."""
    cycles, rest = divmod(seconds + nanos // 1_000_000_000, _CYCLE_SECONDS)
    moment = _EPOCH + timedelta(seconds=rest)
    year = moment.year + 400 * cycles
    sign = "-" if year < 0 else ""
    return f"{sign}{abs(year):04d}{moment:-%m-%dT%H:%M:%SZ}"
