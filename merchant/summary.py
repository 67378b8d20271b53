"""What a run came to: counts, times, and what the merchant should do next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from clearline.canonical import Json
from merchant.attempts import OrderStatus

MAX_LISTED: Final = 100  # orders named one by one in the JSON summary


@dataclass(frozen=True, slots=True)
class Open:
    """An order without a proven end; `code` and `detail` say what is known."""

    order_no: str
    attempt: int
    status: OrderStatus
    code: str
    detail: str
    gateway: str


@dataclass(frozen=True, slots=True)
class Summary:
    """`counts`: how many of the asked orders stand where after the run. `book`: all orders.

    `times`: seconds from an attempt's first post of this run to its verified end, for attempts
    that ended in it; `elapsed`: seconds from the run's start to its last answer.
    """

    counts: dict[OrderStatus, int]
    book: dict[OrderStatus, int]
    times: tuple[float, ...]
    elapsed: float
    open: tuple[Open, ...]
    interrupted: bool = False

    @property
    def asked(self) -> int:
        """How many orders the run was asked about."""
        return sum(self.counts.values())

    @property
    def final(self) -> int:
        """How many of them have a proven end."""
        return sum(count for status, count in self.counts.items() if status.final)

    @property
    def exit_code(self) -> int:
        """0 when every asked order reached a final status and none is disputed, else 1."""
        return 0 if self.final == self.asked and not self.interrupted else 1

    @property
    def rate(self) -> float:
        """Verified ends a second of this run."""
        return len(self.times) / self.elapsed if self.elapsed > 0 else 0.0


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile; None of nothing."""
    if not values:
        return None
    return sorted(values)[max(ceil(len(values) * percent / 100), 1) - 1]


def to_json(summary: Summary) -> dict[str, Json]:
    """The document of `pay --json`; its members are listed in docs/merchant.md."""
    return {
        "asked": summary.asked,
        "final": summary.final,
        "counts": _named(summary.counts),
        "book": _named(summary.book),
        "time_to_final_ms": {
            "count": len(summary.times),
            "median": _ms(percentile(summary.times, 50)),
            "p99": _ms(percentile(summary.times, 99)),
            "max": _ms(percentile(summary.times, 100)),
        },
        "elapsed_ms": _ms(summary.elapsed),
        "payments_per_second": round(summary.rate, 1),
        "open": [
            {
                "order_no": item.order_no,
                "attempt": item.attempt,
                "status": item.status.value,
                "code": item.code,
                "detail": item.detail,
                "gateway": item.gateway,
            }
            for item in summary.open[:MAX_LISTED]
        ],
        "interrupted": summary.interrupted,
        "exit_code": summary.exit_code,
        "next": advice(summary),
    }


def _named(counts: dict[OrderStatus, int]) -> dict[str, int]:
    return {status.value: counts[status] for status in OrderStatus if counts.get(status)}


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def advice(summary: Summary) -> list[str]:
    """What to do next, most urgent first; empty when there is nothing to do."""
    lines = []
    counts = summary.counts
    if disputed := counts.get(OrderStatus.DISPUTED, 0):
        lines.append(
            f"{disputed} disputed: a gateway's answer could not be proven. Do not deliver; see "
            "`clearline merchant status ORDER`, tell the bank, and ask again with "
            "`clearline merchant pay ORDER`."
        )
    if refused := counts.get(OrderStatus.REFUSED, 0):
        lines.append(
            f"{refused} refused by every gateway: see `clearline merchant list --status refused`. "
            "After the cause is mended run `pay` again; if merchant.json changed, import again "
            "and add --renew."
        )
    if lapsed := counts.get(OrderStatus.LAPSED, 0):
        lines.append(
            f"{lapsed} lapsed: the signed intent expired before a gateway took it. "
            "Run `pay` again with --renew."
        )
    waiting = sum(
        count
        for status, count in counts.items()
        if not status.final
        and status not in (OrderStatus.DISPUTED, OrderStatus.REFUSED, OrderStatus.LAPSED)
    )
    if waiting:
        lines.append(f"{waiting} without a final answer yet: run the same command again.")
    return lines


def to_lines(summary: Summary) -> list[str]:
    """The summary for people."""
    counts = ", ".join(f"{count} {name}" for name, count in _named(summary.counts).items())
    lines = [f"{summary.asked} orders: {counts or 'nothing to do'}"]
    median, p99 = percentile(summary.times, 50), percentile(summary.times, 99)
    if median is not None and p99 is not None:
        lines.append(
            f"time to a final answer: median {median:.2f} s, p99 {p99:.2f} s; "
            f"{summary.rate:.1f} payments/s over {summary.elapsed:.1f} s"
        )
    if summary.interrupted:
        lines.append("Interrupted. Nothing is lost: run the same command again.")
    return lines + advice(summary)
