"""Figures of a benchmark: samples of several rounds, the bar beside them, the table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A bar that the median must reach."""

    value: float

    def holds(self, median: float) -> bool:
        """Whether a median reaches it."""
        return median >= self.value

    def __str__(self) -> str:
        return f">= {number(self.value)}"


@dataclass(frozen=True, slots=True)
class AtMost:
    """A bar that the median must not pass."""

    value: float

    def holds(self, median: float) -> bool:
        """Whether a median stays within it."""
        return median <= self.value

    def __str__(self) -> str:
        return f"<= {number(self.value)}"


@dataclass(frozen=True, slots=True)
class Below:
    """A bar that the median must stay under."""

    value: float

    def holds(self, median: float) -> bool:
        """Whether a median is less."""
        return median < self.value

    def __str__(self) -> str:
        return f"< {number(self.value)}"


Bar = AtLeast | AtMost | Below


@dataclass(slots=True)
class Figure:
    """One line of the table: a name, a unit, its bar if it has one, a sample a round."""

    name: str
    unit: str
    bar: Bar | None = None
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the rounds, NaN without any."""
        return statistics.median(self.samples) if self.samples else math.nan

    @property
    def verdict(self) -> str:
        """`OK`, `below` (the bar does not hold), `not measured`, or nothing without a bar."""
        if not self.samples:
            return "not measured"
        if self.bar is None:
            return ""
        return "OK" if self.bar.holds(self.median) else "**below**"


class Figures:
    """All figures of one benchmark, in the order in which they were first named."""

    def __init__(self) -> None:
        self._figures: dict[str, Figure] = {}

    def add(self, name: str, unit: str, value: float, bar: Bar | None = None) -> None:
        """One more sample of a figure."""
        figure = self._figures.setdefault(name, Figure(name, unit, bar))
        figure.samples.append(value)

    def last(self, name: str) -> float:
        """The newest sample of a figure, NaN when it was never taken: ratios of one round."""
        return self._figures[name].samples[-1] if name in self._figures else math.nan

    def samples(self, name: str) -> tuple[float, ...]:
        """Every sample of a figure, one a round; none when it was never taken."""
        return tuple(self._figures[name].samples) if name in self._figures else ()

    def all(self) -> tuple[Figure, ...]:
        """Every figure."""
        return tuple(self._figures.values())

    def table(self) -> str:
        """The figures as a Markdown table."""
        rows = [
            [
                figure.name,
                number(min(figure.samples)) if figure.samples else "",
                f"**{number(figure.median)}**" if figure.samples else "",
                number(max(figure.samples)) if figure.samples else "",
                figure.unit,
                str(figure.bar) if figure.bar else "",
                figure.verdict,
            ]
            for figure in self.all()
        ]
        return markdown(["figure", "min", "median", "max", "unit", "bar", ""], rows)

    def to_json(self) -> list[dict[str, object]]:
        """The figures as JSON values."""
        return [
            {
                "name": figure.name,
                "unit": figure.unit,
                "samples": figure.samples,
                "median": figure.median,
                "bar": str(figure.bar) if figure.bar else None,
                "holds": figure.bar.holds(figure.median) if figure.bar else None,
            }
            for figure in self.all()
        ]


def number(value: float) -> str:
    """A figure with three or four digits that mean something."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile (share from 0 to 1), NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares slope of (x, y) points, NaN of fewer than two."""
    if len(points) < 2:
        return math.nan
    xs, ys = zip(*points, strict=True)
    return statistics.linear_regression(xs, ys).slope


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns padded, so that it can be read as it is."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])
