"""The Deliver service of orderers and peers over any source of raw blocks.

Written after Fabric's common/deliver (deliver.go, binding.go, acl.go), core/peer/deliverevents.go
and orderer/common/server/server.go. Blocks leave as the bytes they are stored in. A seek names the
TLS certificate that it is sent with (`tls_cert_hash`): a copy is of no use to anybody else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from google.protobuf.message import DecodeError

from network.embedded import goproto, wire
from network.embedded.channelconfig import (
    APPLICATION_READERS,
    CHANNEL_READERS,
    ORDERER_READERS,
    Bundle,
    is_config_envelope,
)
from network.embedded.filtered import FilterError, filtered_block
from network.embedded.msp import MSPError
from network.embedded.policies import PolicyError, SignedData

_log = logging.getLogger(__name__)
_STATUS = common_pb2.Status
_SEEK = ab_pb2.SeekInfo

TIME_WINDOW_SECONDS = 15 * 60
"""How far a seek's timestamp may be from our clock (Fabric's default AuthenticationTimeWindow)."""


class SourceClosed(Exception):  # noqa: N818 - an end, not an error
    """The block source will not grow any more: the node is stopping."""


class BlockSource(Protocol):
    """A channel's blocks, in order, as a node has committed them."""

    @property
    def bundle(self) -> Bundle:
        """The configuration in force."""

    @property
    def height(self) -> int:
        """Number of blocks; the next block's number."""

    def block(self, number: int) -> bytes:
        """A serialised common.Block. Raises LookupError when `number` >= height."""

    async def wait_above(self, number: int) -> None:
        """Return when `height` > `number`. Raises SourceClosed."""


class Height:
    """A block source's height, which many streams wait for. Belongs to one event loop."""

    def __init__(self, value: int) -> None:
        self.value = value
        self._closed = False
        self._waiters: set[asyncio.Future[None]] = set()

    def advance(self, value: int) -> None:
        """Say that the height is now `value`; wakes everybody."""
        self.value = value
        self._wake()

    def close(self) -> None:
        """End all waiting, now and later, with SourceClosed."""
        self._closed = True
        self._wake()

    async def wait_above(self, number: int) -> None:
        """Return when the height is above `number`. Raises SourceClosed."""
        while self.value <= number:
            if self._closed:
                raise SourceClosed
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


Sources = Callable[[str], BlockSource | None]
"""Finds the source of a channel id."""

Access = Callable[[Bundle], str]
"""Names the policy that a reader must satisfy."""

StreamServe = Callable[[AsyncIterator[bytes], Any], Awaitable[None]]
"""The handler of a bidirectional method: (requests, context)."""

Encoder = Callable[[bytes], bytes]
"""A serialised DeliverResponse for a serialised block."""


def orderer_access(bundle: Bundle) -> str:
    """Readers of an orderer's blocks (orderer/common/server/server.go Deliver)."""
    return ORDERER_READERS if bundle.orderer.maintenance else CHANNEL_READERS


def block_event_access(bundle: Bundle) -> str:
    """Readers of a peer's blocks: resource event/Block (core/aclmgmt/defaultaclprovider.go)."""
    return bundle.acl("event/Block", APPLICATION_READERS)


def filtered_event_access(bundle: Bundle) -> str:
    """Readers of a peer's filtered blocks: resource event/FilteredBlock."""
    return bundle.acl("event/FilteredBlock", APPLICATION_READERS)


def block_response(block: bytes) -> bytes:
    """A DeliverResponse around a block, without parsing it.

    `block` is field 2 of both orderer/ab.proto's and peer/events.proto's DeliverResponse.
    """
    return b"\x12" + _varint(len(block)) + block


def status_response(status: int) -> bytes:
    """A DeliverResponse with a common.Status: field 1 in both services."""
    return b"\x08" + _varint(status)


def filtered_response(block: bytes) -> bytes:
    """A peer's DeliverResponse with the filtered block: field 3."""
    try:
        content = filtered_block(block)
    except FilterError as error:
        _log.warning("failed to generate a filtered block: %s", error)
        return status_response(_STATUS.BAD_REQUEST)
    return b"\x1a" + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class _Refused(Exception):  # noqa: N818 - carries the answer
    """The request ends with this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class _Request:
    header: Any
    """The common.ChannelHeader."""
    data: bytes
    """A serialised orderer.SeekInfo, or what the client takes for one."""
    signed: SignedData


class _Session:
    """Whether a reader may go on: asked before each block, decided again when the configuration
    changes or the reader's certificate expires (common/deliver/acl.go)."""

    def __init__(self, source: BlockSource, signed: SignedData, access: Access) -> None:
        self._source = source
        self._signed = signed
        self._access = access
        self._sequence: int | None = None
        self._ends: datetime | None = None

    def check(self) -> None:
        """Raises _Refused with FORBIDDEN."""
        bundle = self._source.bundle
        try:
            if self._sequence != bundle.sequence:
                self._ends = bundle.msp_manager.deserialize(self._signed.identity).expires_at
                bundle.policy(self._access(bundle)).evaluate([self._signed])
                self._sequence = bundle.sequence
        except (MSPError, PolicyError) as error:
            raise _Refused(_STATUS.FORBIDDEN, str(error)) from error
        if self._ends is not None and datetime.now(UTC) > self._ends:
            raise _Refused(_STATUS.FORBIDDEN, "deliver client identity expired")


class DeliverStreams:
    """Serves one kind of Deliver stream: `serve` is the handler of a bidirectional method."""

    def __init__(self, sources: Sources, access: Access, encode: Encoder = block_response) -> None:
        self._sources = sources
        self._access = access
        self._encode = encode
        self._newest = (b"", b"")

    async def serve(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Answer seeks until the client is done or one of them fails."""
        async for raw in requests:
            try:
                envelope = goproto.parse(common_pb2.Envelope, raw)
            except goproto.GoDecodeError as error:
                await context.abort(grpc.StatusCode.INTERNAL, goproto.streamed(error))
            try:
                request = _parse(envelope)
                _check_binding(request.header.tls_cert_hash, context)
                await self._deliver(request, context)
            except _Refused as refusal:
                _log.info("deliver ends with %s: %s", _STATUS.Name(refusal.status), refusal)
                await context.write(status_response(refusal.status))
                return
            await context.write(status_response(_STATUS.SUCCESS))

    async def _deliver(self, request: _Request, context: Any) -> None:
        channel_id = request.header.channel_id
        source = self._sources(channel_id)
        if source is None:
            raise _Refused(_STATUS.NOT_FOUND, f"channel {channel_id} not found")
        try:
            seek = _SEEK.FromString(request.data)
        except DecodeError as error:
            raise _Refused(_STATUS.BAD_REQUEST, "the seek can't be parsed") from error
        session = _Session(source, request.signed, self._access)
        session.check()
        number, stop = _range(seek, source.height)
        while True:
            if seek.behavior == _SEEK.FAIL_IF_NOT_READY and number >= source.height:
                raise _Refused(_STATUS.NOT_FOUND, f"block {number} not found")
            try:
                await source.wait_above(number)
            except SourceClosed as error:
                raise _Refused(_STATUS.SERVICE_UNAVAILABLE, "the node is stopping") from error
            session.check()
            block = source.block(number)
            if seek.content_type == _SEEK.HEADER_WITH_SIG:
                block = _without_data(block)
            await context.write(self._encoded(block))
            if number == stop:
                return
            number += 1

    def _encoded(self, block: bytes) -> bytes:
        """The response around a block: streams that are level ask for the same one in turn."""
        known, response = self._newest
        if known is not block:
            response = self._encode(block)
            self._newest = (block, response)
        return response


def _parse(envelope: Any) -> _Request:
    """Raises _Refused with BAD_REQUEST."""
    try:
        payload = common_pb2.Payload.FromString(envelope.payload)
        if not payload.HasField("header"):
            raise _Refused(_STATUS.BAD_REQUEST, "envelope has no header")
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        signature_header = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    except DecodeError as error:
        raise _Refused(_STATUS.BAD_REQUEST, "the envelope can't be parsed") from error
    if not header.HasField("timestamp"):
        raise _Refused(_STATUS.BAD_REQUEST, "channel header in envelope must contain timestamp")
    sent = header.timestamp.seconds + header.timestamp.nanos / 1e9
    if abs(time.time() - sent) > TIME_WINDOW_SECONDS:
        raise _Refused(
            _STATUS.BAD_REQUEST,
            f"envelope timestamp is more than {TIME_WINDOW_SECONDS} s apart from server time",
        )
    signed = SignedData(envelope.payload, signature_header.creator, envelope.signature)
    return _Request(header, payload.data, signed)


def _check_binding(claimed: bytes, context: Any) -> None:
    """Hold the hash that a seek names against the client's TLS certificate. Raises _Refused."""
    if not claimed:
        raise _Refused(_STATUS.BAD_REQUEST, "client didn't include its TLS cert hash")
    certificates = context.auth_context().get("x509_pem_cert", ())
    actual = [wire.certificate_hash(pem) for pem in certificates]
    if not actual:
        raise _Refused(_STATUS.BAD_REQUEST, "client didn't send a TLS certificate")
    if actual[0] != claimed:
        raise _Refused(
            _STATUS.BAD_REQUEST,
            f"claimed TLS cert hash is {claimed.hex()} but actual TLS cert hash is "
            f"{actual[0].hex()}",
        )


def _range(seek: Any, height: int) -> tuple[int, int]:
    """First and last block number that a seek asks for.

    A stop of "next commit", or none of the known kinds, is 0, as in Fabric: such a stream ends
    only at block 0. Raises _Refused.
    """
    if not seek.HasField("start") or not seek.HasField("stop"):
        raise _Refused(_STATUS.BAD_REQUEST, "seek with missing start or stop")
    first = _first(seek.start, height)
    kind = seek.stop.WhichOneof("Type")
    if kind == "oldest":
        return (first, first)
    if kind == "newest":
        return (first, first if seek.start == seek.stop else height - 1)
    if kind == "specified":
        last = seek.stop.specified.number
        if last < first:
            raise _Refused(
                _STATUS.BAD_REQUEST, f"start number {first} greater than stop number {last}"
            )
        return (first, last)
    return (first, 0)


def _first(start: Any, height: int) -> int:
    """common/ledger/blockledger/fileledger/impl.go Iterator. Raises _Refused."""
    kind = start.WhichOneof("Type")
    if kind == "oldest":
        return 0
    if kind == "newest":
        return height - 1
    if kind == "next_commit":
        return height
    if kind == "specified" and start.specified.number <= height:
        return int(start.specified.number)
    raise _Refused(_STATUS.NOT_FOUND, "the start position is beyond the ledger")


def _without_data(raw: bytes) -> bytes:
    """Header and metadata alone; configuration blocks stay whole."""
    block = common_pb2.Block.FromString(raw)
    if len(block.data.data) == 1 and is_config_envelope(block.data.data[0]):
        return raw
    block.ClearField("data")
    return bytes(block.SerializeToString())


async def _no_private_data(requests: AsyncIterator[bytes], context: Any) -> None:
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        "the embedded engine has no private data collections: use Deliver, or the fabric engine",
    )


def peer_streams(sources: Sources) -> dict[str, StreamServe]:
    """The methods of a peer's protos.Deliver by name."""
    return {
        "Deliver": DeliverStreams(sources, block_event_access).serve,
        "DeliverFiltered": DeliverStreams(sources, filtered_event_access, filtered_response).serve,
        "DeliverWithPrivateData": _no_private_data,
    }


def peer_service(sources: Sources) -> Any:
    """The service protos.Deliver of a peer."""
    streams = peer_streams(sources)
    methods = {name: wire.bidi_stream(serve) for name, serve in streams.items()}
    return wire.service("protos.Deliver", methods)
