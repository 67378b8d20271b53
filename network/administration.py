"""One peer, seen by its organisation's administrator: system chaincodes and direct endorsement.

Lifecycle calls are endorsed on peers chosen here instead of by the gateway's own choice: that
needs no discovery, so it works in a network that has just started (docs/fabric.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2

from clearline.fabric import protoutil
from clearline.fabric.client import CallTimeouts
from clearline.fabric.commit import CommitStatus
from clearline.fabric.errors import CommitStatusError, FabricError, SubmitError
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import Signer, X509Signer
from clearline.fabric.profile import Profile
from clearline.fabric.transaction import Transaction

_OK: Final = 200
_START_SECONDS: Final = 20.0
_AGREE_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_CALL_SECONDS: Final = 30.0
# A node that is starting refuses connections first, and services next.
_STARTING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED})
# How long the same envelope is sent again while its fate is unknown, or while new orderers have
# not elected a leader yet (docs/fabric.md).
_SUBMIT_SECONDS: Final = 30.0
TIMEOUTS: Final = CallTimeouts(commit_status=5.0)


class AdministrationError(Exception):
    """A step of setting the channel up that a node refused; names the node and its words."""

    def __init__(self, node: str, step: str, reason: str, status: int = 0) -> None:
        super().__init__(f"{node}: {step}: {reason}")
        self.node, self.step, self.reason, self.status = node, step, reason, status


class PeerAdministration:
    """A connection to one peer with an administrator's identity. Use as an async context."""

    def __init__(self, node: str, profile: Profile) -> None:
        self.node, self.msp_id = node, profile.msp_id
        self._channel_id = profile.channel
        self._channel = profile.open_channel()
        self.signer: Signer = X509Signer.from_profile(profile)
        self._gateway = Gateway(self._channel, self.signer, timeouts=TIMEOUTS)
        self._process: Any = self._channel.unary_unary(
            "/protos.Endorser/ProcessProposal",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=proposal_response_pb2.ProposalResponse.FromString,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._gateway.close()

    async def process(self, step: str, signed_proposal: Any) -> Any:
        """The peer's ProposalResponse, whatever its status. Waits for a peer that is starting.

        Raises AdministrationError when the peer doesn't answer.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return await self._process(signed_proposal, timeout=_CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _STARTING or time.monotonic() > deadline:
                    text = f"{error.code().name}: {error.details()}"
                    raise AdministrationError(self.node, step, text) from error
                await asyncio.sleep(0.05)

    async def call(self, channel_id: str, chaincode: str, args: Sequence[bytes]) -> bytes:
        """One system chaincode call on this peer; its payload.

        channel_id: "" for calls that concern the peer itself. args: function name first.
        Raises AdministrationError with the response's status when it isn't 200.
        """
        step = f"{chaincode} {args[0].decode()}"
        _, proposal = protoutil.make_chaincode_proposal(
            channel_id, chaincode, args, self.signer.identity
        )
        signed = protoutil.sign_proposal(self.signer, proposal)
        response = await self.process(step, signed)
        status, message = response.response.status, response.response.message
        if status != _OK:
            raise AdministrationError(self.node, step, message, status)
        return bytes(response.response.payload)

    async def submit(
        self, chaincode: str, args: Sequence[bytes], endorsers: Sequence[PeerAdministration]
    ) -> CommitStatus:
        """A transaction in this administrator's name, endorsed by exactly these peers.

        Waits for the commit on this peer. Raises AdministrationError.
        """
        step = f"{chaincode} {args[0].decode()}"
        transaction_id, proposal = protoutil.make_chaincode_proposal(
            self._channel_id, chaincode, args, self.signer.identity
        )
        signed = protoutil.sign_proposal(self.signer, proposal)
        envelope = await endorse(step, proposal, signed, endorsers)
        return await self._order(step, transaction_id, envelope)

    async def _order(self, step: str, transaction_id: str, envelope: Any) -> CommitStatus:
        prepared = gateway_pb2.PreparedTransaction(transaction_id=transaction_id, envelope=envelope)
        transaction = self._gateway.new_transaction(prepared.SerializeToString())
        transaction.sign()
        try:
            status = await until_committed(transaction, _SUBMIT_SECONDS)
        except FabricError as error:
            raise AdministrationError(self.node, step, str(error)) from error
        if not status.successful:
            text = f"invalid in block {status.block_number}: {status.code_name}"
            raise AdministrationError(self.node, step, text)
        return status


class Endorser(Protocol):
    """A peer that is asked to endorse: its name for messages, and its answer."""

    @property
    def node(self) -> str: ...

    async def process(self, step: str, signed_proposal: Any) -> Any: ...


async def endorse(
    step: str, proposal: bytes, signed_proposal: Any, endorsers: Sequence[Endorser]
) -> Any:
    """The unsigned common.Envelope that all these peers endorsed.

    A peer that is a block behind answers something else: all are asked again then, for a while,
    as nothing was sent yet. Raises AdministrationError.
    """
    deadline = time.monotonic() + _AGREE_SECONDS
    while True:
        responses = await asyncio.gather(
            *(peer.process(step, signed_proposal) for peer in endorsers)
        )
        for peer, response in zip(endorsers, responses, strict=True):
            status, message = response.response.status, response.response.message
            if status != _OK:
                raise AdministrationError(peer.node, step, message, status)
        try:
            return assemble(proposal, responses)
        except ValueError as error:
            if time.monotonic() > deadline:
                raise AdministrationError(endorsers[0].node, step, str(error)) from error
        await asyncio.sleep(_POLL_SECONDS)


async def until_committed(transaction: Transaction, seconds: float) -> CommitStatus:
    """Send one envelope until its fate is known: the same bytes can be VALID once only.

    Raises SubmitError or CommitStatusError when it isn't known in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await (await transaction.submit()).status()
        except (SubmitError, CommitStatusError):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


def assemble(proposal_bytes: bytes, responses: Sequence[Any]) -> Any:
    """The unsigned common.Envelope of endorsed responses (protoutil/txutils.go CreateTx).

    Raises ValueError when the endorsers didn't sign the same result.
    """
    payloads = {bytes(response.payload) for response in responses}
    if len(payloads) != 1:
        raise ValueError("the endorsers' results differ")
    proposal = proposal_pb2.Proposal.FromString(proposal_bytes)
    header = common_pb2.Header.FromString(proposal.header)
    kept = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
    # What was handed to the endorsers in confidence is no part of the transaction.
    kept.ClearField("TransientMap")
    action = transaction_pb2.ChaincodeActionPayload(
        chaincode_proposal_payload=kept.SerializeToString(),
        action=transaction_pb2.ChaincodeEndorsedAction(
            proposal_response_payload=payloads.pop(),
            endorsements=[response.endorsement for response in responses],
        ),
    )
    transaction = transaction_pb2.Transaction(
        actions=[
            transaction_pb2.TransactionAction(
                header=header.signature_header, payload=action.SerializeToString()
            )
        ]
    )
    payload = common_pb2.Payload(header=header, data=transaction.SerializeToString())
    return common_pb2.Envelope(payload=payload.SerializeToString())
