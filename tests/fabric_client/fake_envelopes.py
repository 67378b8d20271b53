"""Envelopes and blocks for the fake peer: how they are put together and taken apart."""

import hashlib
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    events_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)

CHANNEL, CHAINCODE = "payments", "clearline"
Version = tuple[int, int]


def dump(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def args(proposal_bytes: bytes) -> list[bytes]:
    proposal = proposal_pb2.Proposal.FromString(proposal_bytes)
    payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
    spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input)
    return list(spec.chaincode_spec.input.args)


def prepare(proposal: Any, action: Any) -> Any:
    """internal/pkg/gateway/submit.go prepareTransaction, with one endorsement made up."""
    header = common_pb2.Header.FromString(proposal.header)
    response = proposal_response_pb2.ProposalResponsePayload(
        proposal_hash=hashlib.sha256(proposal.payload).digest(),
        extension=action.SerializeToString(),
    )
    call = transaction_pb2.ChaincodeActionPayload(
        chaincode_proposal_payload=proposal.payload,
        action=transaction_pb2.ChaincodeEndorsedAction(
            proposal_response_payload=response.SerializeToString(),
            endorsements=[proposal_response_pb2.Endorsement(endorser=b"p", signature=b"s")],
        ),
    )
    transaction = transaction_pb2.Transaction(
        actions=[
            transaction_pb2.TransactionAction(
                header=header.signature_header, payload=call.SerializeToString()
            )
        ]
    )
    payload = common_pb2.Payload(header=header, data=transaction.SerializeToString())
    return common_pb2.Envelope(payload=payload.SerializeToString())


def tx_id(envelope: bytes) -> str:
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
    return str(common_pb2.ChannelHeader.FromString(payload.header.channel_header).tx_id)


def action(envelope: bytes) -> Any:
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
    transaction = transaction_pb2.Transaction.FromString(payload.data)
    call = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    response = proposal_response_pb2.ProposalResponsePayload.FromString(
        call.action.proposal_response_payload
    )
    return proposal_pb2.ChaincodeAction.FromString(response.extension)


def kv(envelope: bytes) -> Any:
    results = rwset_pb2.TxReadWriteSet.FromString(action(envelope).results)
    return kv_rwset_pb2.KVRWSet.FromString(results.ns_rwset[0].rwset)


def reads(envelope: bytes) -> list[Any]:
    return list(kv(envelope).reads)


def writes(envelope: bytes) -> list[Any]:
    return list(kv(envelope).writes)


def version(read: Any) -> Version | None:
    return (read.version.block_num, read.version.tx_num) if read.HasField("version") else None


def event(envelope: bytes) -> Any:
    data = action(envelope).events
    return chaincode_event_pb2.ChaincodeEvent.FromString(data) if data else None


def filtered(block: Any) -> Any:
    message = events_pb2.FilteredBlock(channel_id=CHANNEL, number=block.header.number)
    for envelope, flag in zip(block.data.data, block.metadata.metadata[2], strict=False):
        transaction = message.filtered_transactions.add(
            txid=tx_id(envelope), type=3, tx_validation_code=flag
        )
        found = event(envelope)
        if found is not None:
            actions = transaction.transaction_actions.chaincode_actions
            actions.add().chaincode_event.CopyFrom(found)
    return message
