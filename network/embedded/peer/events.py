"""Chaincode events of a committed block (internal/pkg/gateway/event)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_event_pb2
from google.protobuf.message import DecodeError

from network.embedded.peer.transactions import (
    Code,
    InvalidTransactionError,
    parse_action,
    parse_parts,
)

_FLAGS = 2


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
