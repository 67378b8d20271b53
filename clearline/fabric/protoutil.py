"""Fabric's bytes: transaction ids, headers, hashes and signed envelopes.

Written after Fabric's protoutil package (protoutil/proputils.go, commonutils.go,
blockutils.go). `fabric_protos` ships no stubs, so its messages are `Any` here.
"""

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from fabric_protos.common import common_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2

NONCE_BYTES = 24


class _Signer(Protocol):
    @property
    def identity(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


def new_nonce() -> bytes:
    """24 random bytes, as Fabric's clients use (protoutil/commonutils.go CreateNonce)."""
    return os.urandom(NONCE_BYTES)


def tx_id(nonce: bytes, creator: bytes) -> str:
    """Lower-case hex SHA-256 of nonce || creator (protoutil/proputils.go ComputeTxID)."""
    return hashlib.sha256(nonce + creator).hexdigest()


def serialized_identity(msp_id: str, certificate_pem: bytes) -> bytes:
    """The creator bytes of an X.509 identity: msp.SerializedIdentity with a PEM certificate."""
    message = identities_pb2.SerializedIdentity(mspid=msp_id, id_bytes=certificate_pem)
    return cast(bytes, message.SerializeToString())


def make_channel_header(
    header_type: int,
    channel_id: str,
    transaction_id: str = "",
    *,
    timestamp_ns: int | None = None,
    extension: bytes = b"",
    tls_cert_hash: bytes = b"",
    epoch: int = 0,
) -> Any:
    """A common.ChannelHeader.

    header_type: a common.HeaderType number. timestamp_ns: nanoseconds since 1970 UTC, now when
    None. tls_cert_hash: SHA-256 of the client's TLS certificate in DER, for Deliver requests.
    """
    stamp = time.time_ns() if timestamp_ns is None else timestamp_ns
    header = common_pb2.ChannelHeader(
        type=header_type,
        channel_id=channel_id,
        tx_id=transaction_id,
        extension=extension,
        tls_cert_hash=tls_cert_hash,
        epoch=epoch,
    )
    header.timestamp.seconds, header.timestamp.nanos = divmod(stamp, 1_000_000_000)
    return header


def make_signature_header(creator: bytes, nonce: bytes) -> Any:
    """A common.SignatureHeader of serialised identity and nonce."""
    return common_pb2.SignatureHeader(creator=creator, nonce=nonce)


def make_payload(channel_header: Any, signature_header: Any, data: bytes) -> Any:
    """A common.Payload of both headers and the serialised data."""
    header = common_pb2.Header(
        channel_header=channel_header.SerializeToString(),
        signature_header=signature_header.SerializeToString(),
    )
    return common_pb2.Payload(header=header, data=data)


def sign_payload(signer: _Signer, payload: bytes) -> Any:
    """A common.Envelope around serialised payload bytes, signed over exactly those bytes."""
    return common_pb2.Envelope(payload=payload, signature=signer.sign(payload))


def create_signed_envelope(
    header_type: int,
    channel_id: str,
    signer: _Signer,
    data: bytes,
    *,
    tls_cert_hash: bytes = b"",
    epoch: int = 0,
) -> Any:
    """A signed common.Envelope of serialised data, with a fresh nonce and an empty tx id.

    For requests that are not endorser transactions: seeks, configuration updates
    (protoutil/txutils.go CreateSignedEnvelopeWithTLSBinding).
    """
    channel_header = make_channel_header(
        header_type, channel_id, tls_cert_hash=tls_cert_hash, epoch=epoch
    )
    signature_header = make_signature_header(signer.identity, new_nonce())
    payload = make_payload(channel_header, signature_header, data)
    return sign_payload(signer, payload.SerializeToString())


def make_chaincode_proposal(
    channel_id: str,
    chaincode: str,
    args: Sequence[bytes],
    creator: bytes,
    *,
    transient: Mapping[str, bytes] | None = None,
    nonce: bytes | None = None,
    timestamp_ns: int | None = None,
) -> tuple[str, bytes]:
    """The transaction id and the serialised peer.Proposal of a chaincode call.

    args: function name first. transient: never part of the transaction. Source:
    protoutil/proputils.go CreateChaincodeProposalWithTxIDNonceAndTransient.
    """
    nonce = nonce or new_nonce()
    transaction_id = tx_id(nonce, creator)
    chaincode_id = chaincode_pb2.ChaincodeID(name=chaincode)
    extension = proposal_pb2.ChaincodeHeaderExtension(chaincode_id=chaincode_id)
    channel_header = make_channel_header(
        common_pb2.HeaderType.ENDORSER_TRANSACTION,
        channel_id,
        transaction_id,
        timestamp_ns=timestamp_ns,
        extension=extension.SerializeToString(),
    )
    header = common_pb2.Header(
        channel_header=channel_header.SerializeToString(),
        signature_header=make_signature_header(creator, nonce).SerializeToString(),
    )
    invocation = chaincode_pb2.ChaincodeInvocationSpec(
        chaincode_spec=chaincode_pb2.ChaincodeSpec(
            type=chaincode_pb2.ChaincodeSpec.Type.GOLANG,
            chaincode_id=chaincode_id,
            input=chaincode_pb2.ChaincodeInput(args=list(args)),
        )
    )
    payload = proposal_pb2.ChaincodeProposalPayload(
        input=invocation.SerializeToString(), TransientMap=dict(transient or {})
    )
    proposal = proposal_pb2.Proposal(
        header=header.SerializeToString(), payload=payload.SerializeToString()
    )
    return transaction_id, cast(bytes, proposal.SerializeToString())


def sign_proposal(signer: _Signer, proposal_bytes: bytes) -> Any:
    """A peer.SignedProposal over serialised proposal bytes."""
    return proposal_pb2.SignedProposal(
        proposal_bytes=proposal_bytes, signature=signer.sign(proposal_bytes)
    )


def block_data_hash(data: Sequence[bytes]) -> bytes:
    """One SHA-256 over the concatenated envelopes (protoutil/blockutils.go BlockDataHash)."""
    total = hashlib.sha256()
    for envelope in data:
        total.update(envelope)
    return total.digest()


def delivered_block(response: bytes) -> bytes | None:
    """The block's own bytes in a serialised DeliverResponse; None when it holds a status, or
    anything but one block.

    `block` is field 2 of both orderer/ab.proto's and peer/events.proto's DeliverResponse.
    """
    if response[:1] != b"\x12":
        return None
    size = shift = 0
    for at in range(1, min(len(response), 11)):
        size |= (response[at] & 0x7F) << shift
        shift += 7
        if response[at] < 0x80:
            return response[at + 1 :] if at + 1 + size == len(response) else None
    return None


def block_header_bytes(header: Any) -> bytes:
    """ASN.1 DER SEQUENCE(INTEGER number, OCTET STRING previous, OCTET STRING data hash).

    header: a common.BlockHeader. Source: protoutil/blockutils.go BlockHeaderBytes.
    """
    number = header.number
    # One leading zero byte whenever the top bit is set: DER integers are signed.
    integer = number.to_bytes(number.bit_length() // 8 + 1, "big")
    content = _der(0x02, integer) + _der(0x04, header.previous_hash) + _der(0x04, header.data_hash)
    return _der(0x30, content)


def block_header_hash(header: Any) -> bytes:
    """SHA-256 of block_header_bytes: what the next block's previous_hash holds."""
    return hashlib.sha256(block_header_bytes(header)).digest()


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(encoded))) + encoded + content
