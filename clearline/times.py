"""Times as the network writes them: RFC 3339 in UTC with milliseconds and `Z`.

One spelling only, so that texts compare as the times they name.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
DATE_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_SHAPE: Final = re.compile(PATTERN[:-1] + r"\Z")
_DATE_SHAPE: Final = re.compile(DATE_PATTERN[:-1] + r"\Z")


def parse(text: str) -> datetime:
    """`2026-11-23T08:00:00.000Z` as an aware datetime. Raises ValueError for any other form."""
    if not _SHAPE.match(text):
        raise ValueError(f"{text[:40]!r} is not an RFC 3339 time in UTC with milliseconds and Z")
    return datetime.fromisoformat(text)


def parse_date(text: str) -> date:
    """`2026-11-23` (a clearing date). Raises ValueError for any other form."""
    if not _DATE_SHAPE.match(text):
        raise ValueError(f"{text[:40]!r} is not a date YYYY-MM-DD")
    return date.fromisoformat(text)


def render(moment: datetime) -> str:
    """An aware datetime as RFC 3339 UTC, milliseconds, `Z`."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds") + "Z"


def now() -> str:
    """This process's clock, for values it signs itself; never for a decision of the contract."""
    return render(datetime.now(UTC))


def after(text: str, seconds: int) -> str:
    """The time `seconds` after `text`."""
    return render(parse(text) + timedelta(seconds=seconds))
