"""Chaincode events of a committed block (internal/pkg/gateway/event).

Who follows events is nearly always level with the ledger: those of the newest blocks are kept as
the commit has found them, so that no megabyte is parsed again for a few lines.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_event_pb2
from google.protobuf.message import DecodeError

from network.embedded.peer.block_processor import CommittedTransaction
from network.embedded.peer.transactions import (
    Code,
    InvalidTransactionError,
    parse_action,
    parse_parts,
)

_FLAGS = 2
_BLOCKS = 8


class RecentEvents:
    """The serialised ChaincodeEvents of the newest blocks' valid transactions."""

    def __init__(self) -> None:
        self._by_block: OrderedDict[int, tuple[bytes, ...]] = OrderedDict()

    def add(self, number: int, transactions: Sequence[CommittedTransaction]) -> None:
        """Keep those of a block that was just committed, and forget the oldest."""
        events = tuple(tx.event for tx in transactions if tx.code == Code.VALID and tx.event)
        self._by_block[number] = events
        if len(self._by_block) > _BLOCKS:
            self._by_block.popitem(last=False)

    def of(self, number: int) -> Iterator[Any] | None:
        """A block's ChaincodeEvent messages in order, as `block_events`; None when they are not
        kept."""
        kept = self._by_block.get(number)
        return None if kept is None else map(chaincode_event_pb2.ChaincodeEvent.FromString, kept)


def block_events(raw: bytes) -> Iterator[Any]:
    """The ChaincodeEvent messages of a serialised block's valid transactions, in order."""
    block = common_pb2.Block.FromString(raw)
    flags = block.metadata.metadata[_FLAGS]
    for data, code in zip(block.data.data, flags, strict=True):
        if code != Code.VALID:
            continue
        try:
            event = parse_action(*parse_parts(data)).event
            if event:
                yield chaincode_event_pb2.ChaincodeEvent.FromString(event)
        except (InvalidTransactionError, DecodeError):
            continue  # a configuration
