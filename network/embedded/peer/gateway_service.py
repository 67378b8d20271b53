"""The gateway service: evaluate, endorse, submit, commit status, chaincode events.

After internal/pkg/gateway (evaluate.go, endorse.go, submit.go, commitstatus.go,
chaincodeevents.go). Requests come in as raw bytes and signed proposals go on as such.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2
from google.protobuf.message import DecodeError

from network.embedded import goproto, wire
from network.embedded.deliver import SourceClosed
from network.embedded.limits import GATEWAY, Limit
from network.embedded.peer import grpc_errors
from network.embedded.peer.acl import AccessControl, AccessError
from network.embedded.peer.broadcast_client import BroadcastError
from network.embedded.peer.channel import Channel
from network.embedded.peer.endorsements import (
    EndorsementCollector,
    nobody_to_ask,
    response_status,
)
from network.embedded.peer.grpc_errors import RpcError, abort, error_detail
from network.embedded.peer.proposals import ProposalError, SignedProposal
from network.embedded.peer.registry import Address, Registry
from network.embedded.policies import SignedData

_SERVICE = "gateway.Gateway"
_Code = grpc.StatusCode


@dataclass(frozen=True)
class Parts:
    """What the gateway service is made of; `joined` are the peer's channels by id."""

    joined: Mapping[str, Channel]
    access: AccessControl
    registry: Registry
    collector: EndorsementCollector


class GatewayService:
    """`gateway.Gateway` of one peer."""

    def __init__(self, parts: Parts) -> None:
        self._joined = parts.joined
        self._access = parts.access
        self._registry = parts.registry
        self._collector = parts.collector
        self._limit = Limit(_SERVICE, GATEWAY)

    def service(self) -> Any:
        """The gRPC service."""
        return wire.service(
            _SERVICE,
            {
                "Evaluate": self._limit.unary(_guarded(self._evaluate)),
                "Endorse": self._limit.unary(_guarded(self._endorse)),
                "Submit": self._limit.unary(_guarded(self._submit)),
                "CommitStatus": self._limit.unary(_guarded(self._commit_status)),
                "ChaincodeEvents": self._limit.server_stream(self._chaincode_events),
            },
        )

    async def _evaluate(self, raw: bytes) -> bytes:
        request = grpc_errors.request(gateway_pb2.EvaluateRequest, raw)
        proposal = SignedProposal(request.proposed_transaction)
        try:
            _check_evaluation(proposal)
        except ProposalError as error:
            text = f"failed to unpack transaction proposal: {error}"
            raise RpcError(_Code.INVALID_ARGUMENT, text) from error
        channel = self._joined.get(proposal.channel_id)
        if channel is None:
            raise RpcError(_Code.UNAVAILABLE, _no_config(proposal.channel_id))
        peers = self._evaluators(channel, proposal, request.target_organizations)
        details = []
        code = _Code.UNAVAILABLE
        for peer in peers:
            response, failure = await self._collector.ask(channel.bundle, peer, proposal)
            status = response_status(response, failure)
            if status is None:
                return _evaluated(response)
            code = status.code
            details.append(error_detail(peer.endpoint, peer.msp_id, status.message))
            if not status.retry:
                text = f"evaluate call to endorser returned error: {status.message}"
                raise RpcError(status.code, text, details)
        text = "failed to evaluate transaction, see attached details for more info"
        raise RpcError(code, text, details)

    def _evaluators(
        self, channel: Channel, proposal: SignedProposal, wanted: Sequence[str]
    ) -> list[Address]:
        """Peers to ask, in order: transient data stays in the own organisation unless others are
        named (evaluate.go). Raises RpcError."""
        protected = proposal.has_transient and not wanted
        targets = {self._registry.own.msp_id} if protected else set(wanted)
        if self._collector.knows(channel, proposal.named):
            peers = self._registry.peers(channel.bundle)
            peers = [peer for peer in peers if not targets or peer.msp_id in targets]
            if peers:
                return peers
        reason = (
            f"no peers available to evaluate chaincode {proposal.named} in channel "
            f"{proposal.channel_id}"
        )
        if protected:
            reason = (
                "no endorsers found in the gateway's organization; retry specifying target "
                f"organization(s) to protect transient data: {reason}"
            )
        raise RpcError(_Code.FAILED_PRECONDITION, reason)

    async def _endorse(self, raw: bytes) -> bytes:
        request = grpc_errors.request(gateway_pb2.EndorseRequest, raw)
        proposal = SignedProposal(request.proposed_transaction)
        if not proposal.signed.proposal_bytes:
            text = "the proposed transaction must contain a signed proposal"
            raise RpcError(_Code.INVALID_ARGUMENT, text)
        try:
            _parse_for_gateway(proposal)
        except ProposalError as error:
            raise RpcError(_Code.INVALID_ARGUMENT, str(error)) from error
        channel = self._joined.get(proposal.channel_id)
        organisations = tuple(request.endorsing_organizations)
        if channel is None or not self._collector.knows(channel, proposal.named):
            raise nobody_to_ask(proposal, organisations)
        payload, endorsements = await self._collector.collect(channel, proposal, organisations)
        envelope = _prepare(proposal, payload, endorsements)
        response = gateway_pb2.EndorseResponse()
        response.prepared_transaction.payload = envelope
        return bytes(response.SerializeToString())

    async def _submit(self, raw: bytes) -> bytes:
        request = grpc_errors.request(gateway_pb2.SubmitRequest, raw)
        if not request.HasField("prepared_transaction"):
            raise RpcError(_Code.INVALID_ARGUMENT, "a prepared transaction is required")
        if not request.prepared_transaction.signature:
            raise RpcError(_Code.INVALID_ARGUMENT, "prepared transaction must be signed")
        channel = self._joined.get(request.channel_id)
        if channel is None:
            raise RpcError(_Code.FAILED_PRECONDITION, _no_config(request.channel_id))
        orderers = self._registry.orderers(channel.bundle)
        if not orderers:
            raise RpcError(_Code.UNAVAILABLE, "no orderer nodes available")
        random.shuffle(orderers)
        envelope = request.prepared_transaction.SerializeToString()
        details = []
        for address, client in orderers:
            try:
                status, info = await client.send(envelope)
            except BroadcastError as error:
                details.append(error_detail(address.endpoint, address.msp_id, str(error)))
                continue
            if status == common_pb2.Status.SUCCESS:
                return bytes(gateway_pb2.SubmitResponse().SerializeToString())
            if 400 <= status < 500:
                text = (
                    "received unsuccessful response from orderer: "
                    f"status={common_pb2.Status.Name(status)}, info={info}"
                )
                raise RpcError(_Code.ABORTED, text)
        text = "no orderers could successfully process transaction"
        raise RpcError(_Code.UNAVAILABLE, text, details)

    async def _commit_status(self, raw: bytes) -> bytes:
        signed = grpc_errors.request(gateway_pb2.SignedCommitStatusRequest, raw)
        if not signed.request:
            raise RpcError(_Code.INVALID_ARGUMENT, "a commit status request is required")
        request = _inner(gateway_pb2.CommitStatusRequest, signed.request, "status")
        for value, text in (
            (request.identity, "no identity provided"),
            (request.channel_id, "no channel ID provided"),
            (request.transaction_id, "transaction ID should not be empty"),
        ):
            if not value:
                raise RpcError(_Code.INVALID_ARGUMENT, text)
        channel = self._authorized("gateway/CommitStatus", signed, request)
        status = await channel.tx_status(request.transaction_id)
        response = gateway_pb2.CommitStatusResponse(result=status.code, block_number=status.block)
        return bytes(response.SerializeToString())

    def _authorized(self, resource: str, signed: Any, request: Any) -> Channel:
        """The channel of a signed request whose signer may ask. Raises RpcError."""
        channel = self._joined.get(request.channel_id)
        if not request.channel_id:
            text = (
                "Invalid channel ID name during check policy on signed data. Name must be "
                "different from nil."
            )
            raise RpcError(_Code.PERMISSION_DENIED, text)
        data = SignedData(signed.request, request.identity, signed.signature)
        try:
            bundle = channel.bundle if channel is not None else None
            self._access.check(resource, bundle, data, request.channel_id)
        except AccessError as error:
            raise RpcError(_Code.PERMISSION_DENIED, str(error)) from error
        assert channel is not None  # noqa: S101 - without a channel no policy is satisfied
        return channel

    async def _chaincode_events(self, raw: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            signed = grpc_errors.streamed(gateway_pb2.SignedChaincodeEventsRequest, raw)
            if not signed.request:
                raise RpcError(_Code.INVALID_ARGUMENT, "a chaincode events request is required")
            request = _inner(gateway_pb2.ChaincodeEventsRequest, signed.request, "chaincode events")
            channel = self._authorized("gateway/ChaincodeEvents", signed, request)
            async for response in _events(channel, request):
                yield response
        except RpcError as error:
            await abort(context, error)
        except SourceClosed:
            await abort(context, RpcError(_Code.UNAVAILABLE, "the peer is stopping"))


def _guarded(handler: Callable[[bytes], Awaitable[bytes]]) -> wire.UnaryHandler:
    async def guarded(raw: bytes, context: Any) -> bytes:
        try:
            return await handler(raw)
        except RpcError as error:
            await abort(context, error)

    return guarded


def _inner(message_type: Any, raw: bytes, name: str) -> Any:
    """The request that a signed request carries. Raises RpcError."""
    try:
        return goproto.parse(message_type, raw)
    except goproto.GoDecodeError as error:
        text = f"invalid {name} request: {error}"
        raise RpcError(_Code.INVALID_ARGUMENT, text) from error


async def _events(channel: Channel, request: Any) -> AsyncIterator[bytes]:
    """Serialised ChaincodeEventsResponses, one a block that has some. Raises RpcError."""
    number = _start_block(channel, request)
    after = request.after_transaction_id
    while True:
        await channel.wait_above(number)
        matching = []
        for event in channel.events(number):
            if after:
                # Everything up to and with this transaction was seen before.
                if event.tx_id == after:
                    after = ""
            elif event.chaincode_id == request.chaincode_id:
                matching.append(event)
        if matching:
            response = gateway_pb2.ChaincodeEventsResponse(block_number=number, events=matching)
            yield bytes(response.SerializeToString())
        number += 1


def _start_block(channel: Channel, request: Any) -> int:
    if request.after_transaction_id:
        location = channel.ledger.tx_location(request.after_transaction_id)
        if location is not None:
            return location.block
    kind = request.start_position.WhichOneof("Type")
    if kind == "specified":
        return int(request.start_position.specified.number)
    if kind in (None, "next_commit"):
        return channel.height
    raise RpcError(_Code.INVALID_ARGUMENT, f"invalid start position type: {kind}")


def _no_config(channel_id: str) -> str:
    """What Fabric says of a channel that the peer hasn't joined (registry.go config)."""
    return (
        f"failed to get config for channel [{channel_id}]: "
        f"could not get last config for channel {channel_id}"
    )


def _parse_for_gateway(proposal: SignedProposal) -> None:
    """Parse what the gateway service looks at, in its order. Raises ProposalError."""
    _ = proposal.channel_header
    _ = proposal.invocation


def _check_evaluation(proposal: SignedProposal) -> None:
    """evaluate.go getChannelAndChaincodeFromSignedProposal. Raises ProposalError."""
    if not proposal.signed.proposal_bytes:
        raise ProposalError("a signed proposal is required")
    _parse_for_gateway(proposal)
    channel_id, spec = proposal.channel_id, proposal.invocation.chaincode_spec
    if not channel_id:
        raise ProposalError("no channel id provided")
    for found, missing in (
        (proposal.invocation.HasField("chaincode_spec"), "no chaincode spec"),
        (spec.HasField("chaincode_id"), "no chaincode id"),
        (proposal.named, "no chaincode name"),
    ):
        if not found:
            raise ProposalError(f"{missing} is provided, channel id [{channel_id}]")


def _evaluated(response: Any) -> bytes:
    """An EvaluateResponse; the result proper is in the proposal response's payload."""
    result = gateway_pb2.EvaluateResponse(result=response.response)
    try:
        payload = proposal_response_pb2.ProposalResponsePayload.FromString(response.payload)
        action = proposal_pb2.ChaincodeAction.FromString(payload.extension)
        result.result.payload = action.response.payload
    except DecodeError:
        pass
    return bytes(result.SerializeToString())


def _prepare(proposal: SignedProposal, response_payload: bytes, endorsements: list[Any]) -> bytes:
    """The serialised payload of a transaction for the client to sign (submit.go)."""
    header = proposal.header
    action = transaction_pb2.ChaincodeActionPayload(
        chaincode_proposal_payload=proposal.bare_payload
    )
    action.action.proposal_response_payload = response_payload
    action.action.endorsements.extend(endorsements)
    transaction = transaction_pb2.Transaction()
    transaction.actions.add(header=header.signature_header, payload=action.SerializeToString())
    payload = common_pb2.Payload(header=header, data=transaction.SerializeToString())
    return bytes(payload.SerializeToString())
