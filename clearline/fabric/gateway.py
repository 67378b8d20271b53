"""The client's door: an identity and a connection to one peer's gateway service."""

from typing import Any, Self

import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2
from google.protobuf.message import DecodeError

from clearline.fabric.client import CallTimeouts, FabricClient
from clearline.fabric.commit import Commit
from clearline.fabric.events import BlockEventsRequest, ChaincodeEventsRequest
from clearline.fabric.identity import Signer, X509Signer
from clearline.fabric.network import Network
from clearline.fabric.profile import Profile
from clearline.fabric.proposal import Proposal
from clearline.fabric.transaction import Transaction

_DEFAULT_TIMEOUTS = CallTimeouts()


class Gateway:
    """Everything that one identity does through one connection.

    async with Gateway.connect(profile) as gateway:
        contract = gateway.network("payments").contract("clearline")
        answer = await contract.evaluate("GetPayments", "[]")
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        signer: Signer,
        *,
        timeouts: CallTimeouts = _DEFAULT_TIMEOUTS,
        tls_cert_hash: bytes = b"",
    ) -> None:
        """The gateway closes the channel. tls_cert_hash: see protoutil.make_channel_header."""
        self._client = FabricClient(channel, timeouts)
        self._tls_cert_hash = tls_cert_hash
        self.signer = signer

    @classmethod
    def connect(cls, profile: Profile, *, timeouts: CallTimeouts = _DEFAULT_TIMEOUTS) -> Self:
        """Connect as a profile says; call it in the event loop that will use it.

        No byte is sent before the first call. Raises ProfileError or IdentityError.
        """
        signer = X509Signer.from_profile(profile)
        return cls(
            profile.open_channel(),
            signer,
            timeouts=timeouts,
            tls_cert_hash=profile.tls_cert_hash(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; calls under way fail as cancelled."""
        await self._client.channel.close(None)

    def network(self, channel_id: str) -> Network:
        """The channel of that name."""
        return Network(self._client, self.signer, channel_id, self._tls_cert_hash)

    def new_proposal(self, data: bytes) -> Proposal:
        """A Proposal of its to_bytes(). Raises ValueError for other bytes."""
        proposed = _parse(gateway_pb2.ProposedTransaction, data)
        proposal = _parse(proposal_pb2.Proposal, proposed.proposal.proposal_bytes)
        header = _parse(common_pb2.Header, proposal.header)
        channel_header = _parse(common_pb2.ChannelHeader, header.channel_header)
        return Proposal(self._client, self.signer, channel_header.channel_id, proposed)

    def new_signed_proposal(self, data: bytes, signature: bytes) -> Proposal:
        """A Proposal of its to_bytes() and the signature over its `digest`."""
        proposal = self.new_proposal(data)
        proposal.set_signature(signature)
        return proposal

    def new_transaction(self, data: bytes) -> Transaction:
        """A Transaction of its to_bytes(). Raises ValueError for other bytes."""
        prepared = _parse(gateway_pb2.PreparedTransaction, data)
        return Transaction(self._client, self.signer, prepared)

    def new_signed_transaction(self, data: bytes, signature: bytes) -> Transaction:
        """A Transaction of its to_bytes() and the signature over its `digest`."""
        transaction = self.new_transaction(data)
        transaction.set_signature(signature)
        return transaction

    def new_commit(self, data: bytes) -> Commit:
        """A Commit of its to_bytes(). Raises ValueError for other bytes."""
        signed = _parse(gateway_pb2.SignedCommitStatusRequest, data)
        request = _parse(gateway_pb2.CommitStatusRequest, signed.request)
        return Commit(self._client, self.signer, request.transaction_id, signed)

    def new_signed_commit(self, data: bytes, signature: bytes) -> Commit:
        """A Commit of its to_bytes() and the signature over its `digest`."""
        commit = self.new_commit(data)
        commit.set_signature(signature)
        return commit

    def new_chaincode_events_request(self, data: bytes) -> ChaincodeEventsRequest:
        """A ChaincodeEventsRequest of its to_bytes(). Raises ValueError for other bytes."""
        signed = _parse(gateway_pb2.SignedChaincodeEventsRequest, data)
        return ChaincodeEventsRequest(self._client, self.signer, signed)

    def new_signed_chaincode_events_request(
        self, data: bytes, signature: bytes
    ) -> ChaincodeEventsRequest:
        """A ChaincodeEventsRequest of its to_bytes() and the signature over its `digest`."""
        request = self.new_chaincode_events_request(data)
        request.set_signature(signature)
        return request

    def new_block_events_request(self, data: bytes) -> BlockEventsRequest:
        """A BlockEventsRequest, for full or filtered blocks, of its to_bytes().

        Raises ValueError for other bytes.
        """
        return BlockEventsRequest(self._client, self.signer, _parse(common_pb2.Envelope, data))

    def new_signed_block_events_request(self, data: bytes, signature: bytes) -> BlockEventsRequest:
        """A BlockEventsRequest of its to_bytes() and the signature over its `digest`."""
        request = self.new_block_events_request(data)
        request.set_signature(signature)
        return request


def _parse(message_type: Any, data: bytes) -> Any:
    try:
        return message_type.FromString(data)
    except DecodeError as error:
        raise ValueError(f"not a {message_type.DESCRIPTOR.full_name}") from error
