"""Streams from a peer: chaincode events, full blocks, filtered blocks.

They end with an error when the connection does; blockstream.BlockFollower goes on where it ended.
Full and filtered blocks come from protos.Deliver (common/deliver/deliver.go), chaincode events
from the gateway service (internal/pkg/gateway/chaincodeevents.go).
"""

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2
from google.protobuf.message import DecodeError

from clearline.fabric.blocks import Block, code_name
from clearline.fabric.checkpointers import Checkpoint
from clearline.fabric.client import FabricClient, events_error
from clearline.fabric.errors import EventsError, GrpcFailure
from clearline.fabric.identity import Signer
from clearline.fabric.protoutil import (
    delivered_block,
    make_channel_header,
    make_payload,
    make_signature_header,
    new_nonce,
)
from clearline.fabric.signed_request import SignedRequest

_LAST_BLOCK = 2**64 - 1
# What a Deliver status means in gRPC's terms (common/deliver/deliver.go).
_DELIVER_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}


@dataclass(frozen=True)
class Start:
    """Where a stream begins: a checkpoint wins over a block; neither means the next block, or the
    newest that the peer has.

    stop: last block to deliver; then, and only then, a block that isn't there yet is an
    EventsError NOT_FOUND and the stream ends by itself.
    """

    block: int | None = None
    checkpoint: Checkpoint | None = None
    stop: int | None = None
    newest: bool = False

    @property
    def block_number(self) -> int | None:
        """The first block to deliver, None for the next one to be committed."""
        if self.checkpoint is not None and self.checkpoint.block_number is not None:
            return self.checkpoint.block_number
        return self.block

    @property
    def after_transaction_id(self) -> str:
        """Chaincode events start after this transaction, empty when there is none."""
        return (self.checkpoint.transaction_id or "") if self.checkpoint is not None else ""


@dataclass(frozen=True)
class CommittedEvent:
    """A chaincode event of a VALID transaction."""

    block_number: int
    transaction_id: str
    chaincode: str
    name: str
    payload: bytes


@dataclass(frozen=True)
class FilteredTransaction:
    """A transaction without its content; event_names: of its chaincode events."""

    tx_id: str
    header_type: int
    code: int
    event_names: tuple[str, ...]

    @property
    def code_name(self) -> str:
        """The validation code's name."""
        return code_name(self.code)


@dataclass(frozen=True)
class FilteredBlock:
    """A block without contents: peer.FilteredBlock."""

    channel: str
    number: int
    transactions: tuple[FilteredTransaction, ...]


class ChaincodeEventsRequest(SignedRequest):
    """A request for a chaincode's events (gateway.SignedChaincodeEventsRequest)."""

    async def events(self) -> AsyncGenerator[CommittedEvent, None]:
        """Events of VALID transactions, as they commit. Raises EventsError."""
        call = self._client.chaincode_events(self._signed())
        try:
            async for response in call:
                for event in response.events:
                    yield CommittedEvent(
                        response.block_number,
                        event.tx_id,
                        event.chaincode_id,
                        event.event_name,
                        event.payload,
                    )
        except grpc.aio.AioRpcError as error:
            raise events_error(error) from error
        finally:
            call.cancel()


class BlockEventsRequest:
    """A request for blocks, signed on first use or elsewhere over `digest`."""

    def __init__(self, client: FabricClient, signer: Signer, envelope: Any) -> None:
        self._client = client
        self._signer = signer
        self._envelope = envelope

    def to_bytes(self) -> bytes:
        """Serialised common.Envelope, for offline signing."""
        return cast(bytes, self._envelope.SerializeToString())

    @property
    def digest(self) -> bytes:
        """SHA-256 of what is to be signed."""
        return hashlib.sha256(self._envelope.payload).digest()

    def set_signature(self, signature: bytes) -> None:
        """Attach a signature made elsewhere over `digest`."""
        self._envelope.signature = signature

    async def blocks(self) -> AsyncGenerator[Block, None]:
        """Full blocks. Raises EventsError and BlockError."""
        async for found in self._responses("Deliver"):
            raw = found if isinstance(found, bytes) else found.block.SerializeToString()
            yield Block.parse(raw)

    async def filtered_blocks(self) -> AsyncGenerator[FilteredBlock, None]:
        """Filtered blocks. Raises EventsError."""
        async for found in self._responses("DeliverFiltered"):
            yield _filtered(found.filtered_block)

    async def _responses(self, method: str) -> AsyncGenerator[Any, None]:
        """Of each answer the block's own bytes, a megabyte that is parsed once; the
        peer.DeliverResponse when it holds anything else."""
        if not self._envelope.signature:
            self.set_signature(self._signer.sign(self._envelope.payload))
        call = self._client.deliver(method, self._envelope)
        try:
            while True:
                raw = await call.read()
                if raw is grpc.aio.EOF:  # type: ignore[attr-defined]
                    code = await call.code()
                    raise _refused(code, f"the stream ended: {await call.details()}")
                if (block := delivered_block(raw)) is not None:
                    yield block
                    continue
                response = _response(raw)
                if response.WhichOneof("Type") == "status":
                    if response.status == common_pb2.Status.SUCCESS:
                        return
                    name = common_pb2.Status.Name(response.status)
                    code = _DELIVER_CODES.get(response.status, grpc.StatusCode.UNKNOWN)
                    raise _refused(code, f"{method} answered {name}")
                yield response
        except grpc.aio.AioRpcError as error:
            raise events_error(error) from error
        finally:
            call.cancel()


def new_chaincode_events_request(
    client: FabricClient, signer: Signer, channel_id: str, chaincode: str, start: Start
) -> ChaincodeEventsRequest:
    """The unsigned request for events of one chaincode from the gateway service."""
    request = gateway_pb2.ChaincodeEventsRequest(
        channel_id=channel_id,
        chaincode_id=chaincode,
        identity=signer.identity,
        start_position=_position(start.block_number),
        after_transaction_id=start.after_transaction_id,
    )
    signed = gateway_pb2.SignedChaincodeEventsRequest(request=request.SerializeToString())
    return ChaincodeEventsRequest(client, signer, signed)


def new_block_events_request(
    client: FabricClient, signer: Signer, channel_id: str, tls_cert_hash: bytes, start: Start
) -> BlockEventsRequest:
    """The unsigned request for full or filtered blocks.

    tls_cert_hash: of the certificate that the connection is made with; a peer that wants client
    certificates answers BAD_REQUEST to another one, or to none (common/deliver/binding.go).
    """
    header = make_channel_header(
        common_pb2.HeaderType.DELIVER_SEEK_INFO, channel_id, tls_cert_hash=tls_cert_hash
    )
    payload = make_payload(
        header, make_signature_header(signer.identity, new_nonce()), _seek_info(start)
    )
    envelope = common_pb2.Envelope(payload=payload.SerializeToString())
    return BlockEventsRequest(client, signer, envelope)


def _seek_info(start: Start) -> bytes:
    stop = _LAST_BLOCK if start.stop is None else start.stop
    behaviors = ab_pb2.SeekInfo.SeekBehavior
    first = _position(start.block_number)
    if start.block_number is None and start.newest:
        first = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
    info = ab_pb2.SeekInfo(
        start=first,
        stop=_position(stop),
        behavior=(
            behaviors.BLOCK_UNTIL_READY if start.stop is None else behaviors.FAIL_IF_NOT_READY
        ),
    )
    return cast(bytes, info.SerializeToString())


def _position(block: int | None) -> Any:
    if block is None:
        return ab_pb2.SeekPosition(next_commit=ab_pb2.SeekNextCommit())
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=block))


def _filtered(message: Any) -> FilteredBlock:
    return FilteredBlock(
        channel=message.channel_id,
        number=message.number,
        transactions=tuple(
            FilteredTransaction(
                tx_id=transaction.txid,
                header_type=transaction.type,
                code=transaction.tx_validation_code,
                event_names=tuple(
                    action.chaincode_event.event_name
                    for action in transaction.transaction_actions.chaincode_actions
                    if action.chaincode_event.event_name
                ),
            )
            for transaction in message.filtered_transactions
        ),
    )


def _response(raw: bytes) -> Any:
    """A peer.DeliverResponse. Raises EventsError when it is none."""
    try:
        return events_pb2.DeliverResponse.FromString(raw)
    except DecodeError as error:
        raise _refused(grpc.StatusCode.INTERNAL, "not a DeliverResponse") from error


def _refused(code: grpc.StatusCode, message: str) -> EventsError:
    return EventsError("Deliver", "", "not_applied", GrpcFailure(code, message))
