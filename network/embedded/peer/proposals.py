"""A signed proposal taken apart and checked.

After core/endorser/msgvalidation.go.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from cryptography import x509
from fabric_protos.common import common_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2
from google.protobuf.message import DecodeError

from network.embedded.msp import Identity, MSPError, MSPManager
from network.embedded.policies import SignedData

_TYPE = common_pb2.HeaderType
GO_PARSE_ERROR = "proto: cannot parse invalid wire-format data"
"""What Go says of bytes that are no message; the most frequent of its texts."""
TIME_WINDOW_SECONDS = 15 * 60
"""peer.authentication.timewindow of Fabric's core.yaml."""


class ProposalError(Exception):
    """The proposal isn't well formed or not its creator's; the text is Fabric's."""


@dataclass(frozen=True)
class Proposal:
    """An unpacked proposal.

    `input` is the ChaincodeInput message; `proposal_hash` covers raw headers and the payload
    without its transient map; `header` and `payload` are the serialised common.Header and
    ChaincodeProposalPayload without transient data, as a transaction carries them.
    """

    signed: Any
    signed_data: SignedData
    channel_id: str
    tx_id: str
    header_type: int
    epoch: int
    timestamp: float
    """Seconds since 1970 UTC, as the client says."""
    nonce: bytes
    chaincode: str
    input: Any
    args: tuple[bytes, ...]
    proposal_hash: bytes
    header: bytes
    payload: bytes
    has_transient: bool = False
    """Whether the client sent transient data, which only chosen organisations may see."""

    @property
    def creator(self) -> bytes:
        """The creator's serialised identity."""
        return self.signed_data.identity


def unpack(signed: Any) -> Proposal:
    """Take a peer.SignedProposal apart. Raises ProposalError."""
    try:
        proposal = proposal_pb2.Proposal.FromString(signed.proposal_bytes)
        header = common_pb2.Header.FromString(proposal.header)
        channel = common_pb2.ChannelHeader.FromString(header.channel_header)
        signature = common_pb2.SignatureHeader.FromString(header.signature_header)
        extension = proposal_pb2.ChaincodeHeaderExtension.FromString(channel.extension)
        if not extension.HasField("chaincode_id"):
            raise ProposalError("ChaincodeHeaderExtension.ChaincodeId is nil")
        if not extension.chaincode_id.name:
            raise ProposalError("ChaincodeHeaderExtension.ChaincodeId.Name is empty")
        payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
        invocation = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input)
    except DecodeError as error:
        raise ProposalError(f"error unmarshalling Proposal: {GO_PARSE_ERROR}") from error
    if not invocation.HasField("chaincode_spec"):
        raise ProposalError("chaincode invocation spec did not contain chaincode spec")
    if not invocation.chaincode_spec.HasField("input"):
        raise ProposalError("chaincode input did not contain any input")
    bare = proposal_pb2.ChaincodeProposalPayload(input=payload.input).SerializeToString()
    digest = hashlib.sha256(header.channel_header + header.signature_header + bare).digest()
    chaincode_input = invocation.chaincode_spec.input
    return Proposal(
        signed=signed,
        signed_data=SignedData(signed.proposal_bytes, signature.creator, signed.signature),
        channel_id=channel.channel_id,
        tx_id=channel.tx_id,
        header_type=channel.type,
        epoch=channel.epoch,
        timestamp=channel.timestamp.seconds + channel.timestamp.nanos / 1e9,
        nonce=signature.nonce,
        chaincode=extension.chaincode_id.name,
        input=chaincode_input,
        args=tuple(chaincode_input.args),
        proposal_hash=digest,
        header=proposal.header,
        payload=bare,
        has_transient=bool(payload.TransientMap),
    )


def check_time(proposal: Proposal, now: float) -> None:
    """Refuse a proposal whose clock is far from ours, or whose creator has expired.

    `now` is seconds since 1970 UTC. After core/handlers/auth/filter (timewindow.go,
    expiration.go). Raises ProposalError.
    """
    if abs(proposal.timestamp - now) > TIME_WINDOW_SECONDS:
        raise ProposalError(
            "request unauthorized due to incorrect timestamp "
            f"{_rfc3339(proposal.timestamp)}, peer time {_rfc3339(now)}, "
            f"peer.authentication.timewindow {TIME_WINDOW_SECONDS // 60}m0s"
        )
    expires = _expiry(proposal.creator)
    if expires is not None and expires < now:
        raise ProposalError("proposal client identity expired")


@lru_cache(maxsize=4096)
def _expiry(creator: bytes) -> float | None:
    """When a creator's certificate ends; None when it can't be read (that is found out later)."""
    try:
        pem = identities_pb2.SerializedIdentity.FromString(creator).id_bytes
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    except (DecodeError, ValueError):
        return None


def _rfc3339(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s"


def validate(proposal: Proposal, manager: MSPManager) -> Identity:
    """Check form and signature; answers the creator. Raises ProposalError."""
    if proposal.header_type not in (_TYPE.ENDORSER_TRANSACTION, _TYPE.CONFIG):
        raise ProposalError(f"invalid header type {_type_name(proposal.header_type)}")
    if proposal.epoch != 0:
        raise ProposalError("epoch is non-zero")
    if not proposal.nonce:
        raise ProposalError("nonce is empty")
    if not proposal.creator:
        raise ProposalError("creator is empty")
    expected = hashlib.sha256(proposal.nonce + proposal.creator).hexdigest()
    if proposal.tx_id != expected:
        raise ProposalError(
            f"incorrectly computed txid '{proposal.tx_id}' -- expected '{expected}'"
        )
    if not proposal.signed_data.data:
        raise ProposalError("empty proposal bytes")
    if not proposal.signed_data.signature:
        raise ProposalError("empty signature bytes")
    channel = proposal.channel_id
    try:
        creator = manager.deserialize(proposal.creator)
    except MSPError as error:
        raise ProposalError(
            f"access denied: channel [{channel}] creator org unknown, creator is malformed"
        ) from error
    try:
        creator.validate()
        creator.verify(proposal.signed_data.data, proposal.signed_data.signature)
    except MSPError as error:
        raise ProposalError(
            f"access denied: channel [{channel}] creator org [{creator.msp_id}]"
        ) from error
    return creator


def _type_name(header_type: int) -> str:
    try:
        return str(_TYPE.Name(header_type))
    except ValueError:
        return str(header_type)
