"""The Endorser: a proposal in, a simulated and signed response out.

After core/endorser/endorser.go: what is wrong with the proposal itself is a gRPC error, what the
chaincode answers is a response; status >= 500 comes with payload and without endorsement,
400-499 with neither.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric_protos.peer import chaincode_event_pb2, proposal_pb2, proposal_response_pb2
from google.protobuf.message import DecodeError

from clearline.fabric.identity import Signer
from clearline.logs import get_logger
from network.embedded import goproto
from network.embedded.channelconfig import Bundle
from network.embedded.msp import MSPManager
from network.embedded.peer.acl import AccessControl, AccessError
from network.embedded.peer.chaincode_runtime import ChaincodeInfo, ChaincodeRuntime
from network.embedded.peer.chaincode_state import Type
from network.embedded.peer.chaincode_stream import ChaincodeError, Invocation
from network.embedded.peer.channel import Channel
from network.embedded.peer.ledger import Snapshot
from network.embedded.peer.lifecycle import Call, Lifecycle
from network.embedded.peer.lifecycle_state import LifecycleError
from network.embedded.peer.proposals import (
    Proposal,
    ProposalError,
    SignedProposal,
    check_filters,
    unpack,
    validate,
)
from network.embedded.peer.simulator import SimulationError, Simulator
from network.embedded.peer.system_chaincodes import (
    SYSTEM,
    VERSION,
    Answer,
    Channels,
    SystemInvoke,
)

_log = get_logger(__name__)
_ERROR, _ERROR_THRESHOLD = 500, 400
_INITIALIZED = "\x00\U0010ffffinitialized"


class RefusedProposalError(Exception):
    """The proposal is refused before it is simulated: a gRPC error with this text."""


class FilteredProposalError(RefusedProposalError):
    """The proposal is refused at the door, before the endorser: Fabric's gateway can't tell that
    from a peer that is out of reach."""


@dataclass(frozen=True)
class _Simulated:
    """A chaincode's answer: the Response message, read-write set, event, interest, version."""

    response: Any
    results: bytes
    event: bytes
    interest: Any
    version: str


@dataclass(frozen=True)
class Parts:
    """What an endorser is made of; `system` holds the system chaincodes that need no simulation,
    by name."""

    signer: Signer
    local: MSPManager
    access: AccessControl
    channels: Channels
    lifecycle: Lifecycle
    runtime: ChaincodeRuntime
    system: Mapping[str, SystemInvoke]


class Endorser:
    """Endorses for one peer."""

    def __init__(self, parts: Parts) -> None:
        self._signer = parts.signer
        self._local = parts.local
        self._access = parts.access
        self._channels = parts.channels
        self._lifecycle = parts.lifecycle
        self._runtime = parts.runtime
        self._system = parts.system

    async def process(self, signed: SignedProposal) -> Any:
        """The peer.ProposalResponse to a proposal. Raises RefusedProposalError."""
        try:
            check_filters(signed, time.time())
        except ProposalError as error:
            raise FilteredProposalError(str(error)) from error
        try:
            proposal = unpack(signed)
        except ProposalError as error:
            raise RefusedProposalError(str(error)) from error
        channel = None
        if proposal.channel_id:
            channel = self._channels.joined.get(proposal.channel_id)
            if channel is None:
                return _failure(f"channel '{proposal.channel_id}' not found")
        self._pre_process(proposal, channel)
        try:
            return await self._endorse(proposal, channel)
        except (
            ChaincodeError,
            LifecycleError,
            SimulationError,
            DecodeError,
        ) as error:
            _log.info(
                "chaincode failed",
                extra={"tx_id": proposal.tx_id, "chaincode": proposal.chaincode, "why": str(error)},
            )
            return _failure(str(error))

    def _pre_process(self, proposal: Proposal, channel: Channel | None) -> None:
        manager = channel.bundle.msp_manager if channel is not None else self._local
        try:
            creator = validate(proposal, manager)
        except ProposalError as error:
            raise RefusedProposalError(f"error validating proposal: {error}") from error
        if channel is None:
            return
        if channel.ledger.tx_location(proposal.tx_id) is not None:
            raise RefusedProposalError(
                f"duplicate transaction found [{proposal.tx_id}]. "
                f"Creator [{proposal.creator.hex()}]"
            )
        if proposal.chaincode not in SYSTEM:
            try:
                self._access.check_proposer(channel.bundle, creator)
            except AccessError as error:
                raise RefusedProposalError(str(error)) from error

    async def _endorse(self, proposal: Proposal, channel: Channel | None) -> Any:
        if proposal.chaincode in self._system:
            status, message, payload = await self._system[proposal.chaincode](proposal)
            response = _of_system(status, message, payload)
            simulated = _Simulated(response, b"", b"", None, VERSION)
        elif channel is None:
            simulated = self._without_channel(proposal)
        else:
            simulated = await self._simulate(proposal, channel)
        return self._answer(proposal, channel, simulated)

    def _answer(self, proposal: Proposal, channel: Channel | None, simulated: _Simulated) -> Any:
        response = simulated.response
        status = response.status
        answer = proposal_response_pb2.ProposalResponse(response=response)
        if status < _ERROR and (channel is None or status >= _ERROR_THRESHOLD):
            return answer
        action = proposal_pb2.ChaincodeAction(
            results=simulated.results, events=simulated.event, response=response
        )
        action.chaincode_id.name = proposal.chaincode
        action.chaincode_id.version = simulated.version
        payload = proposal_response_pb2.ProposalResponsePayload(
            proposal_hash=proposal.proposal_hash, extension=action.SerializeToString()
        ).SerializeToString()
        answer.payload = payload
        if simulated.interest is not None:
            answer.interest.CopyFrom(simulated.interest)
            answer.interest.SetInParent()
        if status >= _ERROR:
            return answer
        answer.version = 1
        answer.endorsement.endorser = self._signer.identity
        answer.endorsement.signature = self._signer.sign(payload + self._signer.identity)
        return answer

    def _without_channel(self, proposal: Proposal) -> _Simulated:
        if proposal.chaincode != "_lifecycle":
            raise LifecycleError(
                f"make sure the chaincode {proposal.chaincode} has been successfully defined on "
                "channel  and try again: could not get channel config for channel ''"
            )
        call = Call(self._runtime.msp_id)
        status, message, payload = self._invoke_lifecycle(proposal, None, call)
        return _Simulated(_of_system(status, message, payload), b"", b"", None, VERSION)

    async def _simulate(self, proposal: Proposal, channel: Channel) -> _Simulated:
        generation = channel.generation
        simulator = Simulator(Snapshot(channel.ledger), proposal.tx_id)
        try:
            if proposal.chaincode in SYSTEM:
                answer = self._simulate_lifecycle(proposal, channel, simulator)
                response, event, version = _of_system(*answer), b"", VERSION
            else:
                try:
                    info = self._runtime.info(channel, generation, proposal.chaincode, simulator)
                except LifecycleError as error:
                    raise LifecycleError(
                        f"make sure the chaincode {proposal.chaincode} has been successfully "
                        f"defined on channel {proposal.channel_id} and try again: {error}"
                    ) from error
                version = info.version
                response, event = await self._execute(proposal, info, simulator)
            private = simulator.rwset.private_bytes()
            interest = simulator.interest(SYSTEM)
            results = simulator.rwset.public_bytes()
        finally:
            simulator.done()
        if private and response.status < _ERROR_THRESHOLD:
            channel.ledger.put_transient(proposal.tx_id, private)
        return _Simulated(response, results, event, interest, version)

    def _simulate_lifecycle(
        self, proposal: Proposal, channel: Channel, simulator: Simulator
    ) -> Answer:
        if proposal.chaincode != "_lifecycle":
            text = "the lifecycle of Fabric 1.x is left out: use _lifecycle"
            return 500, f"{proposal.chaincode} is not served: {text}", b""
        orgs = tuple(org.msp.msp_id for org in channel.bundle.application_orgs.values())
        call = Call(self._runtime.msp_id, simulator, orgs, proposal.channel_id)
        return self._invoke_lifecycle(proposal, channel.bundle, call)

    def _invoke_lifecycle(self, proposal: Proposal, bundle: Bundle | None, call: Call) -> Answer:
        args = proposal.args
        if not args:
            return 500, "lifecycle scc must be invoked with arguments", b""
        if len(args) != 2:
            return (
                500,
                f"lifecycle scc operations require exactly two arguments but received {len(args)}",
                b"",
            )
        function = args[0].decode(errors="surrogateescape")
        try:
            self._access.check(f"_lifecycle/{function}", bundle, proposal.signed_data)
        except AccessError as error:
            text = f"Failed to authorize invocation due to failed ACL check: {error}"
            return 500, text, b""
        return self._lifecycle.invoke(call, function, args[1])

    async def _execute(
        self, proposal: Proposal, info: ChaincodeInfo, simulator: Simulator
    ) -> tuple[Any, bytes]:
        """The Response message and the serialised event. Raises ChaincodeError."""
        try:
            kind = _message_type(proposal, info, simulator)
            invocation = Invocation(
                channel_id=proposal.channel_id,
                tx_id=proposal.tx_id,
                namespace=proposal.chaincode,
                simulator=simulator,
                payload=proposal.input.SerializeToString(),
                signed_proposal=proposal.signed,
                message_type=kind,
            )
            answer = await self._runtime.execute(info.package_id, invocation)
        except ChaincodeError as error:
            raise ChaincodeError(
                f"error in simulation: failed to execute transaction {proposal.tx_id}: {error}"
            ) from error
        if answer.type == Type.ERROR:
            text = answer.payload.decode(errors="replace")
            raise ChaincodeError(f"error in simulation: transaction returned with failure: {text}")
        try:
            response = proposal_response_pb2.Response.FromString(answer.payload)
        except DecodeError as error:
            raise ChaincodeError(
                "error in simulation: failed to unmarshal response for transaction "
                f"{proposal.tx_id}: {goproto.fault(proposal_response_pb2.Response, answer.payload)}"
            ) from error
        if not answer.HasField("chaincode_event") or response.status >= _ERROR_THRESHOLD:
            return response, b""
        event = chaincode_event_pb2.ChaincodeEvent()
        event.CopyFrom(answer.chaincode_event)
        event.chaincode_id, event.tx_id = proposal.chaincode, proposal.tx_id
        return response, event.SerializeToString()


def _message_type(proposal: Proposal, info: ChaincodeInfo, simulator: Simulator) -> int:
    """INIT or TRANSACTION (chaincode_support.go CheckInvocation). Raises ChaincodeError."""
    name = proposal.chaincode
    needed = False
    if info.init_required:
        needed = simulator.get_state(name, _INITIALIZED) != info.version.encode()
    reason = ""
    if proposal.input.is_init:
        if not info.init_required:
            reason = f"chaincode '{name}' does not require initialization but called as init"
        elif not needed:
            reason = f"chaincode '{name}' is already initialized but called as init"
        else:
            simulator.set_state(name, _INITIALIZED, info.version.encode())
            return int(Type.INIT)
    elif needed:
        reason = (
            f"chaincode '{name}' has not been initialized for this version, must call as init first"
        )
    if reason:
        raise ChaincodeError(f"invalid invocation: {reason}")
    return int(Type.TRANSACTION)


def _response(status: int, message: str, payload: bytes) -> Any:
    return proposal_response_pb2.Response(status=status, message=message, payload=payload)


def _of_system(status: int, message: str, payload: bytes) -> Any:
    """A system chaincode's answer. Raises ChaincodeError for a text that quotes no UTF-8, which
    the shim can't marshal (fabric-chaincode-go shim/handler.go)."""
    try:
        return _response(status, message, payload)
    except UnicodeEncodeError as error:
        raise ChaincodeError(
            "error in simulation: transaction returned with failure: failed to marshal response: "
            f"{goproto.NO_UTF8}"
        ) from error


def _failure(text: str) -> Any:
    return proposal_response_pb2.ProposalResponse(response=_response(_ERROR, text, b""))
