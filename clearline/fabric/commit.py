"""A submitted transaction: all that can be asked is what became of it."""

import hashlib
from dataclasses import dataclass
from typing import Any, cast

from fabric_protos.gateway import gateway_pb2

from clearline.fabric.blocks import VALID, code_name
from clearline.fabric.client import FabricClient
from clearline.fabric.identity import Signer


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


class Commit:
    """Asks the peer for the status of one transaction."""

    def __init__(
        self, client: FabricClient, signer: Signer, transaction_id: str, signed_request: Any
    ) -> None:
        self._client = client
        self._signer = signer
        self._request = signed_request
        self.transaction_id = transaction_id

    def to_bytes(self) -> bytes:
        """Serialised gateway.SignedCommitStatusRequest, for offline signing."""
        return cast(bytes, self._request.SerializeToString())

    @property
    def digest(self) -> bytes:
        """SHA-256 of what is to be signed."""
        return hashlib.sha256(self._request.request).digest()

    def set_signature(self, signature: bytes) -> None:
        """Attach a signature made elsewhere over `digest`."""
        self._request.signature = signature

    async def status(self, deadline: float | None = None) -> CommitStatus:
        """Wait for the block. deadline: seconds. Raises CommitStatusError (outcome unknown)."""
        if not self._request.signature:
            self.set_signature(self._signer.sign(self._request.request))
        answer = await self._client.commit_status(self._request, self.transaction_id, deadline)
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
