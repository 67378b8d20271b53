"""A block's messages taken apart once, with Fabric's codes for what is malformed.

After core/common/validation/msgvalidation.go and protoutil/txutils.go. Nothing here needs the
ledger; every parse error becomes a validation code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.message import DecodeError

from network.embedded.msp import Identity, MSPError, MSPManager
from network.embedded.peer.rwset import NsRwSet, parse

Code = transaction_pb2.TxValidationCode
_TYPE = common_pb2.HeaderType
_KNOWN_TYPES = frozenset({_TYPE.ENDORSER_TRANSACTION, _TYPE.CONFIG_UPDATE, _TYPE.CONFIG})


class InvalidTransactionError(Exception):
    """A transaction is invalid: `code` is its peer.TxValidationCode."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Endorsement:
    """Who signed the proposal response, and the signature."""

    endorser: bytes
    signature: bytes


@dataclass(frozen=True)
class Action:
    """The one action of an endorser transaction.

    `response_payload` is the serialised ProposalResponsePayload that endorsers signed; `event` a
    serialised ChaincodeEvent or empty; `version` and `chaincode` as the endorsers wrote them.
    """

    response_payload: bytes
    endorsements: tuple[Endorsement, ...]
    chaincode: str
    version: str
    event: bytes
    rwsets: tuple[NsRwSet, ...]


@dataclass
class Transaction:
    """One message of a block, as far as it could be parsed. `code` grows with validation."""

    index: int
    tx_id: str = ""
    header_type: int = -1
    code: int = Code.NOT_VALIDATED
    reason: str = ""
    action: Action | None = None
    config: bytes = b""
    vscc_results: dict[str, bool] = field(default_factory=dict)


def decode(message_type: Any, data: bytes) -> Any:
    """Parse a message. Raises DecodeError."""
    return message_type.FromString(data)


def tx_id_of(data: bytes) -> str:
    """The id under which a message is indexed: its header's, else the one computed from nonce and
    creator; empty when it can't be parsed (GetOrComputeTxIDFromEnvelope)."""
    try:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(data).payload)
    except DecodeError:
        return ""
    return _tx_id(payload)


def _tx_id(payload: Any) -> str:
    if not payload.HasField("header"):
        return ""
    try:
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        if header.tx_id:
            return str(header.tx_id)
        signature = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    except DecodeError:
        return ""
    return hashlib.sha256(signature.nonce + signature.creator).hexdigest()


def parse_parts(data: bytes) -> tuple[Any, Any]:
    """(channel header, action parts) of an endorser transaction whose signatures don't matter.

    For messages that a block holds as VALID. Raises InvalidTransactionError.
    """
    try:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(data).payload)
    except DecodeError as error:
        raise InvalidTransactionError(Code.BAD_PAYLOAD, "payload can't be parsed") from error
    header, _ = _common_header(payload)
    if header.type != _TYPE.ENDORSER_TRANSACTION:
        raise InvalidTransactionError(Code.UNKNOWN_TX_TYPE, "not an endorser transaction")
    return header, _endorser_action(payload)


def _fail(code: int, reason: str) -> InvalidTransactionError:
    return InvalidTransactionError(code, reason)


def parse_transaction(
    tx: Transaction, data: bytes, channel_id: str, manager: MSPManager
) -> tuple[Any, Any] | None:
    """Steps 1 to 5: envelope, payload, headers, creator's signature, and by type.

    Fills `tx`, its id as `tx_id_of` finds it. Answers (channel header, peer.TransactionAction) of
    an endorser transaction, None of a configuration. Raises InvalidTransactionError.
    """
    try:
        envelope = common_pb2.Envelope.FromString(data)
    except DecodeError as error:
        raise _fail(Code.INVALID_OTHER_REASON, "no envelope") from error
    try:
        payload = common_pb2.Payload.FromString(envelope.payload)
    except DecodeError as error:
        raise _fail(Code.BAD_PAYLOAD, "payload can't be parsed") from error
    tx.tx_id = _tx_id(payload)
    header, signature_header = _common_header(payload)
    tx.header_type = header.type
    _check_creator(envelope, signature_header, header.channel_id, channel_id, manager)
    if header.type == _TYPE.CONFIG:
        tx.config = payload.data
        return None
    if header.type != _TYPE.ENDORSER_TRANSACTION:
        raise _fail(Code.UNSUPPORTED_TX_PAYLOAD, f"type {header.type} has no place in a block")
    expected = hashlib.sha256(signature_header.nonce + signature_header.creator).hexdigest()
    if header.tx_id != expected:
        raise _fail(Code.BAD_PROPOSAL_TXID, f"tx id {header.tx_id} is not {expected}")
    return header, _endorser_action(payload)


def _common_header(payload: Any) -> tuple[Any, Any]:
    bad = Code.BAD_COMMON_HEADER
    if not payload.HasField("header"):
        raise _fail(bad, "nil header")
    try:
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        signature = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    except DecodeError as error:
        raise _fail(bad, "header can't be parsed") from error
    if header.type not in _KNOWN_TYPES:
        raise _fail(bad, f"invalid header type {header.type}")
    if header.epoch != 0:
        raise _fail(bad, f"epoch {header.epoch} is not 0")
    if not signature.nonce or not signature.creator:
        raise _fail(bad, "nonce or creator is empty")
    return header, signature


def _check_creator(
    envelope: Any, header: Any, named_channel: str, channel_id: str, manager: MSPManager
) -> Identity:
    bad = Code.BAD_CREATOR_SIGNATURE
    if not envelope.signature or named_channel != channel_id:
        # For a channel that isn't ours Fabric looks into an MSP manager without members.
        raise _fail(bad, f"no signature, or channel {named_channel!r} is not {channel_id!r}")
    try:
        creator = manager.deserialize(header.creator)
        creator.validate()
        creator.verify(envelope.payload, envelope.signature)
    except MSPError as error:
        raise _fail(bad, f"creator: {error}") from error
    return creator


def _endorser_action(payload: Any) -> Any:
    """msgvalidation.go validateEndorserTransaction; answers the parsed pieces."""
    bad = Code.INVALID_ENDORSER_TRANSACTION
    try:
        transaction = transaction_pb2.Transaction.FromString(payload.data)
        if len(transaction.actions) != 1:
            raise _fail(bad, f"{len(transaction.actions)} actions, only one is supported")
        action = transaction.actions[0]
        signature = common_pb2.SignatureHeader.FromString(action.header)
        if not signature.nonce or not signature.creator:
            raise _fail(bad, "the action's nonce or creator is empty")
        chaincode_action = transaction_pb2.ChaincodeActionPayload.FromString(action.payload)
        response = proposal_response_pb2.ProposalResponsePayload.FromString(
            chaincode_action.action.proposal_response_payload
        )
    except DecodeError as error:
        raise _fail(bad, "transaction can't be parsed") from error
    proposed = chaincode_action.chaincode_proposal_payload
    header = payload.header.channel_header
    # Go tells a missing byte string from an empty one; on the wire they are the same.
    if not header or not action.header or not proposed:
        raise _fail(bad, "nil arguments of the proposal hash")
    if hashlib.sha256(header + action.header + proposed).digest() != response.proposal_hash:
        raise _fail(bad, "proposal hash does not match")
    return chaincode_action, response


def parse_action(header: Any, parts: Any) -> Action:
    """The chaincode action (plugindispatcher/dispatcher.go Dispatch, as far as it is parsing).

    `header` and `parts` are `parse_transaction`'s answer. Raises InvalidTransactionError.
    """
    chaincode_action, response = parts
    try:
        extension = proposal_pb2.ChaincodeHeaderExtension.FromString(header.extension)
    except DecodeError as error:
        raise _fail(Code.BAD_HEADER_EXTENSION, "header extension can't be parsed") from error
    endorsed = chaincode_action.action
    try:
        if not endorsed.proposal_response_payload or not response.extension:
            raise _fail(Code.BAD_RESPONSE_PAYLOAD, "no payload in ChaincodeActionPayload")
        result = proposal_pb2.ChaincodeAction.FromString(response.extension)
    except DecodeError as error:
        raise _fail(Code.BAD_RESPONSE_PAYLOAD, "chaincode action can't be parsed") from error
    try:
        rwsets = parse(result.results, decode)
    except DecodeError as error:
        raise _fail(Code.BAD_RWSET, "read-write set can't be parsed") from error
    _check_chaincode(extension, result)
    seen: set[str] = set()
    for entry in rwsets:
        if entry.namespace in seen:
            raise _fail(Code.ILLEGAL_WRITESET, f"duplicate namespace {entry.namespace!r}")
        seen.add(entry.namespace)
    return Action(
        response_payload=endorsed.proposal_response_payload,
        endorsements=tuple(
            Endorsement(item.endorser, item.signature) for item in endorsed.endorsements
        ),
        chaincode=extension.chaincode_id.name,
        version=result.chaincode_id.version,
        event=result.events,
        rwsets=rwsets,
    )


def _check_chaincode(extension: Any, result: Any) -> None:
    other, bad = Code.INVALID_OTHER_REASON, Code.INVALID_CHAINCODE
    if not extension.HasField("chaincode_id"):
        raise _fail(other, "nil ChaincodeId in header extension")
    if not result.HasField("chaincode_id"):
        raise _fail(other, "nil ChaincodeId in ChaincodeAction")
    name = extension.chaincode_id.name
    if not name:
        raise _fail(bad, "invalid chaincode ID")
    if name != result.chaincode_id.name:
        raise _fail(bad, f"inconsistent ccid info ({name}/{result.chaincode_id.name})")
    if not result.chaincode_id.version:
        raise _fail(bad, "invalid chaincode version")
    if not result.events:
        return
    try:
        event = chaincode_event_pb2.ChaincodeEvent.FromString(result.events)
    except DecodeError as error:
        raise _fail(other, "invalid chaincode event") from error
    if event.chaincode_id != name:
        raise _fail(other, "chaincode event is of another chaincode")
