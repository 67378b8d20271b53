"""Filtered blocks: ids, types and validation codes, chaincode events without their payload.

Written after Fabric's core/peer/deliverevents.go toFilteredBlock.
"""

from __future__ import annotations

from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    events_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.message import DecodeError

_ENDORSER = common_pb2.HeaderType.ENDORSER_TRANSACTION
_FLAGS = common_pb2.BlockMetadataIndex.TRANSACTIONS_FILTER


class FilterError(ValueError):
    """A block with a transaction that can't be taken apart."""


def filtered_block(raw: bytes) -> bytes:
    """A serialised peer.FilteredBlock of a serialised common.Block with its validation flags.

    Raises FilterError.
    """
    try:
        block = common_pb2.Block.FromString(raw)
        filtered = events_pb2.FilteredBlock(number=block.header.number)
        metadata = block.metadata.metadata
        flags = metadata[_FLAGS] if len(metadata) > _FLAGS else b""
        for index, data in enumerate(block.data.data):
            _add(filtered, data, flags[index] if index < len(flags) else 0)
    except (DecodeError, ValueError) as error:
        raise FilterError(str(error)) from error
    return bytes(filtered.SerializeToString())


def _add(filtered: Any, data: bytes, flag: int) -> None:
    try:
        envelope = common_pb2.Envelope.FromString(data)
    except DecodeError:
        return  # Fabric logs such a transaction and leaves it out
    payload = common_pb2.Payload.FromString(envelope.payload)
    if not payload.HasField("header"):
        return
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    filtered.channel_id = header.channel_id
    transaction = filtered.filtered_transactions.add(
        txid=header.tx_id, type=header.type, tx_validation_code=flag
    )
    if header.type == _ENDORSER:
        transaction.transaction_actions.SetInParent()
        _add_actions(transaction.transaction_actions, payload.data)


def _add_actions(actions: Any, data: bytes) -> None:
    for item in transaction_pb2.Transaction.FromString(data).actions:
        payload = transaction_pb2.ChaincodeActionPayload.FromString(item.payload)
        if not payload.HasField("action"):
            continue
        response = proposal_response_pb2.ProposalResponsePayload.FromString(
            payload.action.proposal_response_payload
        )
        action = proposal_pb2.ChaincodeAction.FromString(response.extension)
        event = chaincode_event_pb2.ChaincodeEvent.FromString(action.events)
        if event.chaincode_id:
            actions.chaincode_actions.add().chaincode_event.MergeFrom(
                chaincode_event_pb2.ChaincodeEvent(
                    tx_id=event.tx_id,
                    chaincode_id=event.chaincode_id,
                    event_name=event.event_name,
                )
            )
