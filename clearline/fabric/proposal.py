"""A proposal: it can be evaluated (a query) or endorsed into a Transaction."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2

from clearline.fabric.client import FabricClient
from clearline.fabric.identity import Signer
from clearline.fabric.protoutil import make_chaincode_proposal
from clearline.fabric.transaction import Transaction


@dataclass(frozen=True)
class ProposalOptions:
    """What a proposal may say besides function and arguments.

    transient: data for endorsers that is not part of the transaction. organizations: MSP ids
    that must endorse or may evaluate; empty leaves the choice to the gateway service.
    """

    transient: Mapping[str, bytes] = field(default_factory=dict)
    organizations: Sequence[str] = ()


class Proposal:
    """A chaincode call that nobody has endorsed yet."""

    def __init__(
        self, client: FabricClient, signer: Signer, channel_id: str, proposed: Any
    ) -> None:
        """proposed: gateway.ProposedTransaction."""
        self._client = client
        self._signer = signer
        self._channel_id = channel_id
        self._proposed = proposed

    @property
    def transaction_id(self) -> str:
        """The transaction id, 64 hex digits."""
        return cast(str, self._proposed.transaction_id)

    def to_bytes(self) -> bytes:
        """Serialised gateway.ProposedTransaction, for offline signing."""
        return cast(bytes, self._proposed.SerializeToString())

    @property
    def digest(self) -> bytes:
        """SHA-256 of the proposal bytes: what is to be signed."""
        return hashlib.sha256(self._proposed.proposal.proposal_bytes).digest()

    def set_signature(self, signature: bytes) -> None:
        """Attach a signature made elsewhere over `digest`."""
        self._proposed.proposal.signature = signature

    async def evaluate(self, deadline: float | None = None) -> bytes:
        """Run it on one peer and return the answer. deadline: seconds. Raises EvaluateError."""
        self._sign()
        request = gateway_pb2.EvaluateRequest(
            transaction_id=self.transaction_id,
            channel_id=self._channel_id,
            proposed_transaction=self._proposed.proposal,
            target_organizations=self._proposed.endorsing_organizations,
        )
        answer = await self._client.evaluate(request, deadline)
        return cast(bytes, answer.result.payload)

    async def endorse(self, deadline: float | None = None) -> Transaction:
        """Have enough peers endorse it. deadline: seconds. Raises EndorseError: nothing applied."""
        self._sign()
        request = gateway_pb2.EndorseRequest(
            transaction_id=self.transaction_id,
            channel_id=self._channel_id,
            proposed_transaction=self._proposed.proposal,
            endorsing_organizations=self._proposed.endorsing_organizations,
        )
        answer = await self._client.endorse(request, deadline)
        prepared = gateway_pb2.PreparedTransaction(
            transaction_id=self.transaction_id, envelope=answer.prepared_transaction
        )
        return Transaction(self._client, self._signer, prepared)

    def _sign(self) -> None:
        if not self._proposed.proposal.signature:
            self.set_signature(self._signer.sign(self._proposed.proposal.proposal_bytes))


def new_proposal(
    client: FabricClient,
    signer: Signer,
    channel_id: str,
    *,
    chaincode: str,
    args: Sequence[bytes],
    options: ProposalOptions,
) -> Proposal:
    """The unsigned Proposal of a call; args: function name first."""
    transaction_id, proposal_bytes = make_chaincode_proposal(
        channel_id, chaincode, args, signer.identity, transient=options.transient
    )
    proposed = gateway_pb2.ProposedTransaction(
        transaction_id=transaction_id,
        proposal=proposal_pb2.SignedProposal(proposal_bytes=proposal_bytes),
        endorsing_organizations=options.organizations,
    )
    return Proposal(client, signer, channel_id, proposed)
