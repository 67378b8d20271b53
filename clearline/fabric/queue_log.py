"""What a commit queue says of what is committed: a line a transaction, with every key in it.

A line for each payment would cost as much as a tenth of its way through the queue; in a list it is
a few microseconds, and a payment's name is found by a search all the same.
"""

from collections.abc import Sequence
from logging import INFO
from typing import Final

from clearline.fabric.queue_items import QueueItem
from clearline.logs import get_logger

# Of items: collectors of logs cut lines, the first of them at 16 KB.
_A_LINE: Final = 100
_log = get_logger("clearline.fabric.queue")


def decided(
    items: Sequence[QueueItem],
    outcomes: Sequence[dict[str, object]],
    tx_id: str,
    block_number: int | None,
) -> None:
    """Say of each item what its outcome says: its name (`key`, as the contract's callers know it),
    code and status; without a block it was answered from what the ledger had, and the
    transaction's id is on none."""
    if not items or not _log.isEnabledFor(INFO):
        return
    fields = {"tx_id": tx_id, "block": block_number, "function": items[0].function}
    message = "answered" if block_number is None else "committed"
    said = [
        (_name(item, outcome), outcome.get("code"), outcome.get("status"))
        for item, outcome in zip(items, outcomes, strict=True)
    ]
    for first in range(0, len(said), _A_LINE):
        _log.info(message, extra=fields | {"items": said[first : first + _A_LINE]})


def _name(item: QueueItem, outcome: dict[str, object]) -> str:
    key = outcome.get("key")
    if isinstance(key, list) and key:
        return "/".join(map(str, key))
    return item.keys[0] if item.keys else item.item_id
