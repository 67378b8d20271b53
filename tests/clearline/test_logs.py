"""Lines of a log: what is in them, what never is, and how a queue tells of many payments."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from clearline import logs
from clearline.fabric import queue_log
from clearline.fabric.queue_items import QueueItem

CARD = "4111111111111111"
TX = "5f" * 32


class _Kept(logging.Handler):
    """Lines as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(logs.JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def kept() -> Iterator[_Kept]:
    handler, root = _Kept(), logging.getLogger("clearline")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def item(number: int) -> QueueItem:
    return QueueItem(f"i{number}", "SubmitReports", "{}", (f"payment/M-0001/o-{number}/0001",))


def said(kept: _Kept, count: int, block: int | None = 7) -> list[dict[str, Any]]:
    """The lines of a transaction of so many items."""
    outcomes: list[dict[str, object]] = [
        {"code": "ok", "status": "succeeded", "key": ["M-0001", f"o-{number}", 1]}
        for number in range(count)
    ]
    queue_log.decided([item(number) for number in range(count)], outcomes, TX, block)
    return [json.loads(line) for line in kept.lines]


@pytest.mark.parametrize(("count", "lines"), [(0, 0), (1, 1), (100, 1), (101, 2), (300, 3)])
def test_a_transaction_names_each_payment_in_few_short_lines(
    kept: _Kept, count: int, lines: int
) -> None:
    told = said(kept, count)
    assert len(told) == lines
    assert [entry for line in told for entry in line["items"]] == [
        [f"M-0001/o-{number}/1", "ok", "succeeded"] for number in range(count)
    ]
    for line in told:
        assert (line["message"], line["tx_id"], line["block"]) == ("committed", TX, 7)
        assert line["function"] == "SubmitReports"
    assert all(len(line) < 16_000 for line in kept.lines)


def test_what_was_answered_without_a_block_is_called_so(kept: _Kept) -> None:
    (line,) = said(kept, 1, None)
    assert (line["message"], line["block"]) == ("answered", None)


def test_nothing_is_made_of_what_is_not_written(kept: _Kept) -> None:
    logging.getLogger("clearline").setLevel(logging.WARNING)
    assert said(kept, 3) == []


@pytest.mark.parametrize(
    "value", [CARD, [CARD], ("a", [f"order {CARD}"]), [["payment", f"{CARD[:4]} {CARD[4:]}"]]]
)
def test_a_card_number_is_cut_out_wherever_it_is(kept: _Kept, value: Any) -> None:
    logs.get_logger("clearline.test").info("said", extra={"field": value, "number": 5})
    (line,) = kept.lines
    assert CARD[4:] not in line
    assert "[card data]" in line
    assert json.loads(line)["number"] == 5
