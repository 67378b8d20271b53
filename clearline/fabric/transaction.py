"""An endorsed transaction: all that can be done is to submit it."""

import hashlib
from typing import Any, cast

from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import transaction_pb2
from google.protobuf.message import DecodeError

from clearline.fabric.blocks import Action, parse_action
from clearline.fabric.client import FabricClient
from clearline.fabric.commit import Commit, new_commit
from clearline.fabric.identity import Signer


class Transaction:
    """An endorsed envelope. to_bytes() after sign() is what must be stored before submitting."""

    def __init__(self, client: FabricClient, signer: Signer, prepared: Any) -> None:
        """prepared: gateway.PreparedTransaction. Raises ValueError when it holds no envelope
        with an endorsed chaincode action."""
        self._client = client
        self._signer = signer
        self._prepared = prepared
        self._channel_id, self._action = _parse(prepared.envelope.payload)

    @property
    def transaction_id(self) -> str:
        """The transaction id, 64 hex digits."""
        return cast(str, self._prepared.transaction_id)

    @property
    def result(self) -> bytes:
        """What the chaincode answered when it was endorsed."""
        return self._action.response_payload

    @property
    def action(self) -> Action:
        """The endorsed response, writes and event."""
        return self._action

    def to_bytes(self) -> bytes:
        """Serialised gateway.PreparedTransaction, signature included once there is one."""
        return cast(bytes, self._prepared.SerializeToString())

    @property
    def digest(self) -> bytes:
        """SHA-256 of the envelope's payload: what is to be signed."""
        return hashlib.sha256(self._prepared.envelope.payload).digest()

    def set_signature(self, signature: bytes) -> None:
        """Attach a signature made elsewhere over `digest`."""
        self._prepared.envelope.signature = signature

    def sign(self) -> None:
        """Sign once; signed again the bytes would differ (ECDSA draws a random number)."""
        if not self._prepared.envelope.signature:
            self.set_signature(self._signer.sign(self._prepared.envelope.payload))

    async def submit(self, deadline: float | None = None) -> Commit:
        """Send the envelope to be ordered. deadline: seconds. The answer is an acceptance by the
        orderer, not a commit. Raises SubmitError; its outcome says what is known."""
        # One that was signed before may have been sent before: about that a peer must be asked.
        stream = None
        if not self._prepared.envelope.signature:
            stream = self._client.commit_streams.get(self._channel_id)
            self.sign()
        request = gateway_pb2.SubmitRequest(
            transaction_id=self.transaction_id,
            channel_id=self._channel_id,
            prepared_transaction=self._prepared.envelope,
        )
        told = stream.expect(self.transaction_id) if stream is not None else None
        await self._client.submit(request, deadline)
        commit = self.new_commit()
        commit.told = told
        return commit

    def new_commit(self) -> Commit:
        """The Commit of this transaction, submitted by this process or an earlier one."""
        return new_commit(self._client, self._signer, self._channel_id, self.transaction_id)


def _parse(payload_bytes: bytes) -> tuple[str, Action]:
    """Channel id and endorsed action of a common.Payload."""
    try:
        payload = common_pb2.Payload.FromString(payload_bytes)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        actions = transaction_pb2.Transaction.FromString(payload.data).actions
        if not actions:
            raise ValueError("a prepared transaction without actions")
        call = transaction_pb2.ChaincodeActionPayload.FromString(actions[0].payload)
        return header.channel_id, parse_action(call.action.proposal_response_payload)
    except DecodeError as error:
        raise ValueError(f"not a prepared transaction: {error}") from error
