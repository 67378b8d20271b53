"""gRPC statuses with what each node said, as Fabric's gateway service gives them.

After internal/pkg/gateway/apiutils.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never

import grpc
from fabric_protos.gateway import gateway_pb2
from google.rpc import status_pb2

from network.embedded import goproto

_DETAILS = "grpc-status-details-bin"


class RpcError(Exception):
    """A call ends with this status; `details` are gateway.ErrorDetail messages."""

    def __init__(self, code: grpc.StatusCode, message: str, details: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)


def error_detail(address: str, msp_id: str, message: str) -> Any:
    """A gateway.ErrorDetail."""
    return gateway_pb2.ErrorDetail(address=address, msp_id=msp_id, message=message)


def request(message_type: Any, raw: bytes) -> Any:
    """A call's request. Raises RpcError as Go's gRPC does for what it can't parse."""
    try:
        return goproto.parse(message_type, raw)
    except goproto.GoDecodeError as error:
        raise RpcError(grpc.StatusCode.INTERNAL, goproto.unary(error)) from error


def streamed(message_type: Any, raw: bytes) -> Any:
    """As `request`, for a message of a stream, a stream's only request included."""
    try:
        return goproto.parse(message_type, raw)
    except goproto.GoDecodeError as error:
        raise RpcError(grpc.StatusCode.INTERNAL, goproto.streamed(error)) from error


async def abort(context: Any, error: RpcError) -> Never:
    """End a call with the error's status and details."""
    metadata: tuple[tuple[str, bytes], ...] = ()
    if error.details:
        status = status_pb2.Status(code=error.code.value[0], message=error.message)
        for detail in error.details:
            status.details.add().Pack(detail)
        metadata = ((_DETAILS, status.SerializeToString()),)
    await context.abort(error.code, error.message, trailing_metadata=metadata)
    raise AssertionError("abort raises")


def grpc_text(error: Any) -> str:
    """A client-side gRPC error as Go prints it."""
    name = "".join(part.capitalize() for part in error.code().name.split("_"))
    return f"rpc error: code = {name} desc = {error.details()}"
