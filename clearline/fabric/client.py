"""The gRPC calls themselves: Fabric's gateway service and a peer's Deliver.

Method paths and messages: fabric-protos gateway/gateway.proto and peer/events.proto.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2

from clearline.fabric.errors import (
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    GatewayError,
    GrpcFailure,
    Outcome,
    SubmitError,
    peer_errors,
    submit_outcome,
)

if TYPE_CHECKING:
    from clearline.fabric.commit_stream import CommitStream

_Error = TypeVar("_Error", bound=GatewayError)


@dataclass(frozen=True)
class CallTimeouts:
    """Deadlines in seconds for calls that are given none of their own."""

    evaluate: float = 5.0
    endorse: float = 15.0
    submit: float = 5.0
    commit_status: float = 60.0


class FabricClient:
    """Typed errors and deadlines around the stubs of one gRPC channel to a peer."""

    def __init__(self, channel: grpc.aio.Channel, timeouts: CallTimeouts) -> None:
        _keep_grpc_running()
        self.channel = channel
        self.timeouts = timeouts
        self.commit_streams: dict[str, CommitStream] = {}
        """By channel: Network.commit_stream."""
        self._evaluate = _unary(channel, "Evaluate", gateway_pb2.EvaluateResponse.FromString)
        self._endorse = _unary(channel, "Endorse", gateway_pb2.EndorseResponse.FromString)
        self._submit = _unary(channel, "Submit", gateway_pb2.SubmitResponse.FromString)
        self._status = _unary(channel, "CommitStatus", gateway_pb2.CommitStatusResponse.FromString)
        self._events = channel.unary_stream(
            "/gateway.Gateway/ChaincodeEvents",
            request_serializer=_serialize,
            response_deserializer=gateway_pb2.ChaincodeEventsResponse.FromString,
        )

    async def evaluate(self, request: Any, deadline: float | None) -> Any:
        """gateway.EvaluateRequest to EvaluateResponse. Raises EvaluateError."""
        try:
            return await self._evaluate(request, timeout=deadline or self.timeouts.evaluate)
        except grpc.aio.AioRpcError as error:
            raise _typed(EvaluateError, error, request.transaction_id, "not_applied") from error

    async def endorse(self, request: Any, deadline: float | None) -> Any:
        """gateway.EndorseRequest to EndorseResponse. Raises EndorseError."""
        try:
            return await self._endorse(request, timeout=deadline or self.timeouts.endorse)
        except grpc.aio.AioRpcError as error:
            raise _typed(EndorseError, error, request.transaction_id, "not_applied") from error

    async def submit(self, request: Any, deadline: float | None) -> None:
        """gateway.SubmitRequest; returns when the orderer accepted. Raises SubmitError."""
        try:
            await self._submit(request, timeout=deadline or self.timeouts.submit)
        except grpc.aio.AioRpcError as error:
            outcome = submit_outcome(error.code())
            raise _typed(SubmitError, error, request.transaction_id, outcome) from error

    async def commit_status(self, request: Any, tx_id: str, deadline: float | None) -> Any:
        """gateway.SignedCommitStatusRequest to CommitStatusResponse. Raises CommitStatusError."""
        try:
            return await self._status(request, timeout=deadline or self.timeouts.commit_status)
        except grpc.aio.AioRpcError as error:
            raise _typed(CommitStatusError, error, tx_id, "unknown") from error

    def chaincode_events(self, request: Any) -> Any:
        """The open stream of gateway.ChaincodeEventsResponse for a signed request."""
        return self._events(request)

    def deliver(self, method: str, envelope: Any) -> Any:
        """The stream of serialised DeliverResponses, a block kept as it came, that protos.Deliver's
        `Deliver` or `DeliverFiltered` answers one signed common.Envelope with.

        Both take a stream of envelopes; one goes as a call of one request, the same on the wire.
        A message that is written to an open stream hides the status of a server that has ended it
        meanwhile: INTERNAL, "Internal error from Core" (github.com/grpc/grpc/issues/36066).
        """
        stub: Any = self.channel.unary_stream(
            f"/protos.Deliver/{method}", request_serializer=_serialize, response_deserializer=bytes
        )
        return stub(envelope)


def events_error(error: grpc.aio.AioRpcError) -> EventsError:
    """The EventsError of a broken stream."""
    return _typed(EventsError, error, "", "not_applied")


@cache
def _keep_grpc_running() -> None:
    """grpc.aio ends its poller when the last channel or server is collected, by a join inside a
    finaliser: with a cancelled call still in the poller's queue that join never returns."""
    grpc.aio.init_grpc_aio()  # type: ignore[attr-defined]


def _serialize(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _unary(channel: grpc.aio.Channel, method: str, parse: Callable[[bytes], Any]) -> Any:
    return channel.unary_unary(
        f"/gateway.Gateway/{method}", request_serializer=_serialize, response_deserializer=parse
    )


def _typed(
    kind: type[_Error], error: grpc.aio.AioRpcError, transaction_id: str, outcome: Outcome
) -> _Error:
    action = kind.__name__.removesuffix("Error")
    status = GrpcFailure(error.code(), error.details() or "", peer_errors(error))
    return kind(action, transaction_id, outcome, status)
