"""The Broadcast stream (orderer/common/broadcast/broadcast.go).

One answer a message, in order. After an answer that isn't SUCCESS the stream ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2

from clearline.logs import get_logger
from network.embedded import goproto
from network.embedded.orderer.chain import Chain
from network.embedded.orderer.processor import Refusal, channel_header

_log = get_logger(__name__)
_STATUS = common_pb2.Status
_SUCCESS = ab_pb2.BroadcastResponse(status=_STATUS.SUCCESS).SerializeToString()

Chains = Callable[[str], Chain | None]
"""Finds the chain of a channel id."""


class BroadcastStreams:
    """`serve` is the handler of the bidirectional method Broadcast."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains

    async def serve(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Order what the client sends until it is done or one message is refused."""
        async for raw in requests:
            try:
                envelope = goproto.parse(common_pb2.Envelope, raw)
            except goproto.GoDecodeError as error:
                await context.abort(grpc.StatusCode.INTERNAL, goproto.streamed(error))
            try:
                await self._process(raw, envelope)
            except Refusal as refusal:
                _log.warning(
                    "message refused",
                    extra={"status": _STATUS.Name(refusal.status), "info": refusal.info},
                )
                answer = ab_pb2.BroadcastResponse(status=refusal.status, info=refusal.info)
                await context.write(answer.SerializeToString())
                return
            await context.write(_SUCCESS)

    async def _process(self, raw: bytes, envelope: Any) -> None:
        header = channel_header(envelope)
        chain = self._chains(header.channel_id)
        if chain is None:
            raise Refusal(_STATUS.BAD_REQUEST, "channel does not exist")
        await chain.submit(raw, envelope, header)
