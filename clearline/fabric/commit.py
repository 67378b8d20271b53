"""A submitted transaction: all that can be asked is what became of it."""

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
from fabric_protos.gateway import gateway_pb2

from clearline.fabric.blocks import VALID, code_name
from clearline.fabric.client import FabricClient
from clearline.fabric.errors import CommitStatusError, GrpcFailure
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
        self.told: asyncio.Future[CommitStatus | None] | None = None
        """What a commit stream will tell of it, None for that the peer must be asked."""

    async def status(self, deadline: float | None = None) -> CommitStatus:
        """Wait for the block. deadline: seconds. Raises CommitStatusError (outcome unknown)."""
        if self.told is not None:
            loop = asyncio.get_running_loop()
            ends = loop.time() + (deadline or self._client.timeouts.commit_status)
            status = await self._told(self.told, ends)
            if status is not None:
                return status
            deadline = ends - loop.time()
        answer = await self._client.commit_status(self._signed(), self.transaction_id, deadline)
        return CommitStatus(self.transaction_id, answer.result, answer.block_number)

    async def _told(
        self, told: asyncio.Future[CommitStatus | None], ends: float
    ) -> CommitStatus | None:
        """What the stream tells until `ends`, in the loop's time. Raises CommitStatusError."""
        try:
            async with asyncio.timeout_at(ends):
                return await asyncio.shield(told)
        except TimeoutError as error:
            late = GrpcFailure(grpc.StatusCode.DEADLINE_EXCEEDED, "in no block until the deadline")
            raise CommitStatusError("CommitStatus", self.transaction_id, "unknown", late) from error


def new_commit(
    client: FabricClient, signer: Signer, channel_id: str, transaction_id: str
) -> Commit:
    """The unsigned Commit of a transaction id on a channel."""
    request = gateway_pb2.CommitStatusRequest(
        channel_id=channel_id, transaction_id=transaction_id, identity=signer.identity
    )
    signed = gateway_pb2.SignedCommitStatusRequest(request=request.SerializeToString())
    return Commit(client, signer, transaction_id, signed)
