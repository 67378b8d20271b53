"""Showing a run: a progress bar on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from merchant.attempts import OrderStatus
from merchant.payrun import Observer

EVERY: Final = 2.0  # seconds between plain lines


def counted(counts: dict[OrderStatus, int]) -> str:
    """`3 paid, 1 declined`, in the order of the statuses."""
    shown = [f"{counts[status]} {status}" for status in OrderStatus if counts.get(status)]
    return ", ".join(shown) or "no orders"


class BarObserver:
    """A bar with counts beside it."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[counts]}", markup=False),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("paying", counts="")

    def begin(self, counts: dict[OrderStatus, int], total: int) -> None:
        self._progress.update(self._task, total=total, counts=counted(counts))
        self._progress.start()

    def update(self, counts: dict[OrderStatus, int], done: int) -> None:
        self._progress.update(self._task, completed=done, counts=counted(counts))

    def say(self, text: str) -> None:
        style = "bold red" if text.startswith("DISPUTED") else "yellow"
        self._progress.console.print(text, style=style, markup=False, highlight=False)

    def end(self) -> None:
        self._progress.stop()


class LineObserver:
    """A line every few seconds and one at the end, for logs."""

    def __init__(self) -> None:
        self._total = 0
        self._shown = monotonic()
        self._last = ""

    def begin(self, counts: dict[OrderStatus, int], total: int) -> None:
        self._total = total
        self._last = f"0 of {total} done: {counted(counts)}"
        click.echo(f"{total} orders: {counted(counts)}", err=True)

    def update(self, counts: dict[OrderStatus, int], done: int) -> None:
        self._last = f"{done} of {self._total} done: {counted(counts)}"
        if monotonic() - self._shown >= EVERY:
            self._shown = monotonic()
            click.echo(self._last, err=True)

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def end(self) -> None:
        click.echo(self._last, err=True)


def choose() -> Observer:
    """The observer that suits standard error."""
    return BarObserver() if sys.stderr.isatty() else LineObserver()
