"""A signed proposal taken apart and checked.

After core/endorser/msgvalidation.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2
from google.protobuf.message import DecodeError

from network.embedded import goproto, gotime
from network.embedded.expiry import expires_at
from network.embedded.msp import Identity, MSPError, MSPManager
from network.embedded.policies import SignedData

_TYPE = common_pb2.HeaderType
TIME_WINDOW_SECONDS = 15 * 60
"""peer.authentication.timewindow of Fabric's core.yaml."""


class ProposalError(Exception):
    """The proposal isn't well formed or not its creator's; the text is Fabric's."""


@dataclass(frozen=True)
class Proposal:
    """An unpacked proposal.

    `input` is the ChaincodeInput message; `proposal_hash` covers raw headers and the payload
    without its transient map. `chaincode` is what the header names and the endorser runs, `named`
    what the invocation names, None when it names none.
    """

    signed: Any
    signed_data: SignedData
    channel_id: str
    tx_id: str
    header_type: int
    epoch: int
    nonce: bytes
    chaincode: str
    named: str | None
    input: Any
    args: tuple[bytes, ...]
    proposal_hash: bytes

    @property
    def creator(self) -> bytes:
        """The creator's serialised identity."""
        return self.signed_data.identity


class SignedProposal:
    """A peer.SignedProposal and what is in it.

    The gateway service, the filters at the endorser's door and the endorser each need other parts,
    and each has its own answer to one that can't be parsed: a part raises ProposalError when it is
    asked for, not before.
    """

    proposal: Any
    """The peer.Proposal."""
    header: Any
    """The common.Header."""
    channel_header: Any
    """The common.ChannelHeader."""
    signature_header: Any
    """The common.SignatureHeader."""
    extension: Any
    """The peer.ChaincodeHeaderExtension, whose chaincode the endorser runs."""
    payload: Any
    """The peer.ChaincodeProposalPayload, transient data included."""
    invocation: Any
    """The peer.ChaincodeInvocationSpec."""
    bare_payload: bytes
    """The serialised payload without transient data, as a transaction carries it."""

    def __init__(self, signed: Any) -> None:
        self.signed = signed

    def __getattr__(self, name: str) -> Any:
        """A part that wasn't asked for before."""
        if name == "bare_payload":
            bare = proposal_pb2.ChaincodeProposalPayload(input=self.payload.input)
            found: Any = bytes(bare.SerializeToString())
        elif name in _PARTS:
            message_type, whole, field = _PARTS[name]
            found = _part(message_type, getattr(getattr(self, whole), field))
        else:
            raise AttributeError(name)
        setattr(self, name, found)
        return found

    @property
    def channel_id(self) -> str:
        """The channel that the proposal is for."""
        return str(self.channel_header.channel_id)

    @property
    def named(self) -> str:
        """The chaincode that the invocation names, by which the gateway service chooses peers."""
        return str(self.invocation.chaincode_spec.chaincode_id.name)

    @property
    def has_transient(self) -> bool:
        """Whether the client sent transient data, which only chosen organisations may see."""
        return bool(self.payload.TransientMap)


_PARTS: Mapping[str, tuple[Any, str, str]] = {
    "proposal": (proposal_pb2.Proposal, "signed", "proposal_bytes"),
    "header": (common_pb2.Header, "proposal", "header"),
    "channel_header": (common_pb2.ChannelHeader, "header", "channel_header"),
    "signature_header": (common_pb2.SignatureHeader, "header", "signature_header"),
    "extension": (proposal_pb2.ChaincodeHeaderExtension, "channel_header", "extension"),
    "payload": (proposal_pb2.ChaincodeProposalPayload, "proposal", "payload"),
    "invocation": (chaincode_pb2.ChaincodeInvocationSpec, "payload", "input"),
}
"""Part -> (its message type, the part that holds it, in which field)."""


def _part(message_type: Any, raw: bytes) -> Any:
    try:
        return message_type.FromString(raw)
    except DecodeError as error:
        name = message_type.DESCRIPTOR.name
        text = f"error unmarshalling {name}: {goproto.fault(message_type, raw)}"
        raise ProposalError(text) from error


def check_filters(signed: SignedProposal, now: float) -> None:
    """Refuse a creator who has expired, and a proposal whose clock is far from ours.

    `now` is seconds since 1970 UTC. After core/handlers/auth/filter (expiration.go,
    timewindow.go), which parse what they need themselves. Raises ProposalError.
    """
    for part in ("proposal", "header", "signature_header", "channel_header"):
        try:
            getattr(signed, part)
        except ProposalError as error:
            name = part.replace("_", " ")
            raise ProposalError(f"failed parsing {name}: {error}") from error
        if part == "signature_header":
            expires = expires_at(signed.signature_header.creator)
            if expires is not None and expires < now:
                raise ProposalError("proposal client identity expired")
    stamp = signed.channel_header.timestamp
    if abs(stamp.seconds + stamp.nanos / 1e9 - now) > TIME_WINDOW_SECONDS:
        raise ProposalError(
            "request unauthorized due to incorrect timestamp "
            f"{gotime.rfc3339(stamp.seconds, stamp.nanos)}, peer time {gotime.rfc3339(int(now))}, "
            f"peer.authentication.timewindow {TIME_WINDOW_SECONDS // 60}m0s"
        )


def unpack(parts: SignedProposal) -> Proposal:
    """Take a proposal apart (msgvalidation.go UnpackProposal). Raises ProposalError."""
    header, channel = parts.header, parts.channel_header
    signature, extension = parts.signature_header, parts.extension
    if not extension.HasField("chaincode_id"):
        raise ProposalError("ChaincodeHeaderExtension.ChaincodeId is nil")
    if not extension.chaincode_id.name:
        raise ProposalError("ChaincodeHeaderExtension.ChaincodeId.Name is empty")
    invocation = parts.invocation
    if not invocation.HasField("chaincode_spec"):
        raise ProposalError("chaincode invocation spec did not contain chaincode spec")
    if not invocation.chaincode_spec.HasField("input"):
        raise ProposalError("chaincode input did not contain any input")
    signed = parts.signed
    raw = header.channel_header + header.signature_header + parts.bare_payload
    spec = invocation.chaincode_spec
    return Proposal(
        signed=signed,
        signed_data=SignedData(signed.proposal_bytes, signature.creator, signed.signature),
        channel_id=channel.channel_id,
        tx_id=channel.tx_id,
        header_type=channel.type,
        epoch=channel.epoch,
        nonce=signature.nonce,
        chaincode=extension.chaincode_id.name,
        named=spec.chaincode_id.name if spec.HasField("chaincode_id") else None,
        input=spec.input,
        args=tuple(spec.input.args),
        proposal_hash=hashlib.sha256(raw).digest(),
    )


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
