"""What a transaction's signed proposal says: header, creator, timestamp, transient map.

Fabric checks a proposal before the chaincode sees it (core/endorser/msgvalidation.go); the
reading here follows fabric-chaincode-go shim/stub.go, newChaincodeStub.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from fabric_protos.common import common_pb2
from fabric_protos.peer import proposal_pb2
from google.protobuf.message import DecodeError

from chaincode.shim.errors import ProposalError, ProtocolError
from chaincode.shim.wire import moment

_HEADER_TYPES = (common_pb2.ENDORSER_TRANSACTION, common_pb2.CONFIG)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal's header. `timestamp` is the submitter's claim; `payload` is still encoded."""

    channel_id: str
    tx_id: str
    timestamp: datetime
    epoch: int
    creator: bytes
    nonce: bytes
    payload: bytes

    @property
    def binding(self) -> bytes:
        """SHA-256 over nonce, creator and epoch (little-endian 64 bit), as Fabric binds it."""
        epoch = self.epoch.to_bytes(8, "little")
        return hashlib.sha256(self.nonce + self.creator + epoch).digest()

    def transient(self) -> dict[str, bytes]:
        """The transient map, which is never written to a block; raises ProposalError."""
        try:
            payload = proposal_pb2.ChaincodeProposalPayload.FromString(self.payload)
        except DecodeError as error:
            raise ProposalError(f"the proposal's payload can't be read: {error}") from error
        return dict(payload.TransientMap)


def read_proposal(raw: bytes) -> Proposal:
    """Read protos.Proposal bytes; raises ProposalError."""
    try:
        proposal = proposal_pb2.Proposal.FromString(raw)
        header = common_pb2.Header.FromString(proposal.header)
        channel = common_pb2.ChannelHeader.FromString(header.channel_header)
        signature = common_pb2.SignatureHeader.FromString(header.signature_header)
        timestamp = moment(channel.timestamp.seconds, channel.timestamp.nanos)
    except (DecodeError, ProtocolError) as error:
        raise ProposalError(f"the proposal can't be read: {error}") from error
    if channel.type not in _HEADER_TYPES:
        raise ProposalError(f"header type {channel.type} is not a transaction's")
    if not signature.creator:
        raise ProposalError("the proposal names no creator")
    return Proposal(
        channel_id=channel.channel_id,
        tx_id=channel.tx_id,
        timestamp=timestamp,
        epoch=channel.epoch,
        creator=signature.creator,
        nonce=signature.nonce,
        payload=proposal.payload,
    )
