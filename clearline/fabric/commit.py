"""A submitted transaction: all that can be asked is what became of it."""

from dataclasses import dataclass
from typing import Any

from fabric_protos.gateway import gateway_pb2

from clearline.fabric.blocks import VALID, code_name
from clearline.fabric.client import FabricClient
from clearline.fabric.identity import Signer
from clearline.fabric.signed_request import SignedRequest


@dataclass(frozen=True)
class CommitStatus:
    """Where a transaction ended: its validation code and block."""

    transaction_id: str
    code: int
    block_number: int

    @property
    def successful(self) -> bool:
        """Whether the code is VALID."""
        return self.code == VALID

    @property
    def code_name(self) -> str:
        """The code's name in peer.TxValidationCode."""
        return code_name(self.code)


class Commit(SignedRequest):
    """Asks the peer for the status of one transaction (gateway.SignedCommitStatusRequest)."""

    def __init__(
        self, client: FabricClient, signer: Signer, transaction_id: str, signed_request: Any
    ) -> None:
        super().__init__(client, signer, signed_request)
        self.transaction_id = transaction_id

    async def status(self, deadline: float | None = None) -> CommitStatus:
        """Wait for the block. deadline: seconds. Raises CommitStatusError (outcome unknown)."""
        answer = await self._client.commit_status(self._signed(), self.transaction_id, deadline)
        return CommitStatus(self.transaction_id, answer.result, answer.block_number)


def new_commit(
    client: FabricClient, signer: Signer, channel_id: str, transaction_id: str
) -> Commit:
    """The unsigned Commit of a transaction id on a channel."""
    request = gateway_pb2.CommitStatusRequest(
        channel_id=channel_id, transaction_id=transaction_id, identity=signer.identity
    )
    signed = gateway_pb2.SignedCommitStatusRequest(request=request.SerializeToString())
    return Commit(client, signer, transaction_id, signed)
