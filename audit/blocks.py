"""Blocks and transactions taken apart for verification: every byte range that is signed or hashed
is kept as it came (fabric-protos common/common.proto, peer/transaction.proto)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.message import DecodeError

from audit.findings import Check, Wrong

VALID: Final = 0
CONFIG: Final = int(common_pb2.HeaderType.CONFIG)
ENDORSER_TRANSACTION: Final = int(common_pb2.HeaderType.ENDORSER_TRANSACTION)
_SIGNATURES, _FLAGS = 0, 2


@dataclass(frozen=True)
class AuditedBlock:
    """A block: `signatures` is the orderer's metadata, `flags` a byte a transaction."""

    number: int
    previous_hash: bytes
    data_hash: bytes
    header: bytes
    envelopes: tuple[bytes, ...]
    signatures: Any
    flags: bytes

    @property
    def header_hash(self) -> bytes:
        """What the next block must name."""
        return hashlib.sha256(self.header).digest()


@dataclass(frozen=True)
class Namespace:
    """Reads, writes and hashed collections of one namespace (kvrwset.KVRWSet)."""

    name: str
    kv: Any
    collections: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Endorsed:
    """The endorsed part of a transaction."""

    proposal_response: bytes
    endorsements: tuple[tuple[bytes, bytes], ...]
    expected_proposal_hash: bytes
    proposal_hash: bytes
    chaincode: str
    arguments: tuple[bytes, ...]
    response_status: int
    answer: bytes
    event: tuple[str, bytes] | None
    namespaces: tuple[Namespace, ...]


@dataclass(frozen=True)
class AuditedTransaction:
    """A transaction's parts; `endorsed` is None for a configuration."""

    payload: bytes
    signature: bytes
    kind: int
    channel: str
    tx_id: str
    seconds: int
    nanos: int
    creator: bytes
    nonce: bytes
    endorsed: Endorsed | None = field(default=None)


def read_block(raw: bytes) -> AuditedBlock:
    """Take a block apart. Raises Wrong."""
    try:
        block = common_pb2.Block.FromString(raw)
        metadata = list(block.metadata.metadata) + [b""] * 5
        signatures = common_pb2.Metadata.FromString(metadata[_SIGNATURES])
    except DecodeError as error:
        raise Wrong(Check.BLOCK_FORM, f"not a block: {error}") from None
    return AuditedBlock(
        number=block.header.number,
        previous_hash=block.header.previous_hash,
        data_hash=block.header.data_hash,
        header=_asn1_header(
            block.header.number, block.header.previous_hash, block.header.data_hash
        ),
        envelopes=tuple(block.data.data),
        signatures=signatures,
        flags=metadata[_FLAGS],
    )


def read_transaction(envelope: bytes) -> AuditedTransaction:
    """Take a transaction apart. Raises Wrong `transaction_form`."""
    try:
        outer = common_pb2.Envelope.FromString(envelope)
        payload = common_pb2.Payload.FromString(outer.payload)
        channel = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        signer = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
        endorsed = None
        if channel.type == ENDORSER_TRANSACTION:
            endorsed = _endorsed(payload)
        elif channel.type != CONFIG:
            raise Wrong(Check.TRANSACTION_FORM, f"header type {channel.type}")
    except DecodeError as error:
        raise Wrong(Check.TRANSACTION_FORM, f"can't be parsed: {error}") from None
    return AuditedTransaction(
        payload=outer.payload,
        signature=outer.signature,
        kind=channel.type,
        channel=channel.channel_id,
        tx_id=channel.tx_id,
        seconds=channel.timestamp.seconds,
        nanos=channel.timestamp.nanos,
        creator=signer.creator,
        nonce=signer.nonce,
        endorsed=endorsed,
    )


def _endorsed(payload: Any) -> Endorsed:
    transaction = transaction_pb2.Transaction.FromString(payload.data)
    if len(transaction.actions) != 1:
        raise Wrong(Check.TRANSACTION_FORM, f"{len(transaction.actions)} actions, not one")
    action = transaction.actions[0]
    if action.header != payload.header.signature_header:
        raise Wrong(Check.TRANSACTION_FORM, "the action's header is not the transaction's")
    body = transaction_pb2.ChaincodeActionPayload.FromString(action.payload)
    response = proposal_response_pb2.ProposalResponsePayload.FromString(
        body.action.proposal_response_payload
    )
    result = proposal_pb2.ChaincodeAction.FromString(response.extension)
    proposal = proposal_pb2.ChaincodeProposalPayload.FromString(body.chaincode_proposal_payload)
    invocation = chaincode_pb2.ChaincodeInvocationSpec.FromString(proposal.input)
    expected = hashlib.sha256(
        payload.header.channel_header
        + payload.header.signature_header
        + body.chaincode_proposal_payload
    ).digest()
    return Endorsed(
        proposal_response=body.action.proposal_response_payload,
        endorsements=tuple((one.endorser, one.signature) for one in body.action.endorsements),
        expected_proposal_hash=expected,
        proposal_hash=response.proposal_hash,
        chaincode=result.chaincode_id.name,
        arguments=tuple(invocation.chaincode_spec.input.args),
        response_status=result.response.status,
        answer=result.response.payload,
        event=_event(result.events),
        namespaces=_namespaces(result.results),
    )


def _event(raw: bytes) -> tuple[str, bytes] | None:
    """Name and payload of the chaincode's event (peer/chaincode_event.proto)."""
    if not raw:
        return None
    event = chaincode_event_pb2.ChaincodeEvent.FromString(raw)
    return event.event_name, event.payload


def _namespaces(results: bytes) -> tuple[Namespace, ...]:
    return tuple(
        Namespace(
            one.namespace,
            kv_rwset_pb2.KVRWSet.FromString(one.rwset),
            tuple(
                (
                    collection.collection_name,
                    kv_rwset_pb2.HashedRWSet.FromString(collection.hashed_rwset),
                )
                for collection in one.collection_hashed_rwset
            ),
        )
        for one in rwset_pb2.TxReadWriteSet.FromString(results).ns_rwset
    )


def _asn1_header(number: int, previous: bytes, data: bytes) -> bytes:
    """DER of SEQUENCE {INTEGER, OCTET STRING, OCTET STRING} (protoutil/blockutils.go)."""
    body = _der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))
    body += _der(4, previous) + _der(4, data)
    return _der(0x30, body)


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content
