"""What went wrong with a call to Fabric, and what is known about its effect.

Four failures of a submission, four types, as in the official client (fabric-gateway,
node/src/endorseerror.ts and its neighbours). `outcome` is what ours add: `not_applied` means this
transaction changes nothing; `unknown` means it may have been, or may yet be, committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import grpc.aio
from fabric_protos.gateway import gateway_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from clearline.fabric.blocks import code_name

Outcome = Literal["not_applied", "unknown"]

DUPLICATE_TXID = 9  # peer.TxValidationCode
_DETAILS_KEY = "grpc-status-details-bin"
# An orderer or peer that answers so has refused the envelope before ordering it
# (internal/pkg/gateway/submit.go); everything else may hide an accepted one.
_SUBMIT_REFUSED = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


@dataclass(frozen=True)
class PeerError:
    """What one node answered: gateway.ErrorDetail."""

    address: str
    msp_id: str
    message: str


@dataclass(frozen=True)
class GrpcFailure:
    """A gRPC status with what each node said."""

    code: grpc.StatusCode
    message: str
    details: tuple[PeerError, ...] = ()


class FabricError(Exception):
    """Any failure of a call about one transaction (transaction_id is empty for streams)."""

    def __init__(self, message: str, transaction_id: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.transaction_id = transaction_id
        self.outcome: Outcome = outcome


class GatewayError(FabricError):
    """A call to the gateway service failed: gRPC status, and what each node said."""

    def __init__(
        self, action: str, transaction_id: str, outcome: Outcome, failure: GrpcFailure
    ) -> None:
        said = "".join(f"; {d.msp_id} {d.address}: {d.message}" for d in failure.details)
        text = f"{action}: {failure.code.name}: {failure.message}{said}"
        super().__init__(text, transaction_id, outcome)
        self.code = failure.code
        self.message = failure.message
        self.details = failure.details


class EvaluateError(GatewayError):
    """Nothing was answered. A query changes nothing."""


class EndorseError(GatewayError):
    """No endorsed transaction came about, so nothing can be committed."""


class SubmitError(GatewayError):
    """The orderer didn't acknowledge; `outcome` says whether it can have taken the envelope."""


class CommitStatusError(GatewayError):
    """The status couldn't be learnt in time; the transaction may be committed or not."""


class EventsError(GatewayError):
    """A stream of events broke, or a peer refused it."""


class CommitError(FabricError):
    """The transaction is in a block with a code other than VALID: its writes didn't happen.

    With DUPLICATE_TXID an earlier copy with the same id may have happened: outcome unknown.
    """

    def __init__(self, transaction_id: str, code: int, block_number: int) -> None:
        outcome: Outcome = "unknown" if code == DUPLICATE_TXID else "not_applied"
        text = f"transaction {transaction_id} is invalid in block {block_number}: {code_name(code)}"
        super().__init__(text, transaction_id, outcome)
        self.code = code
        self.code_name = code_name(code)
        self.block_number = block_number


def submit_outcome(code: grpc.StatusCode) -> Outcome:
    """What a failed Submit with this status says about the envelope."""
    return "not_applied" if code in _SUBMIT_REFUSED else "unknown"


def peer_errors(error: grpc.aio.AioRpcError) -> tuple[PeerError, ...]:
    """The nodes' own errors out of the trailing metadata; empty when there are none."""
    found: list[PeerError] = []
    metadata: Sequence[Any] = list(error.trailing_metadata() or ())
    for key, value in metadata:
        if key != _DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            for packed in status_pb2.Status.FromString(value).details:
                if packed.type_url.endswith("/gateway.ErrorDetail"):
                    detail = gateway_pb2.ErrorDetail.FromString(packed.value)
                    found.append(PeerError(detail.address, detail.msp_id, detail.message))
        except DecodeError:
            continue
    return tuple(found)
