"""How many calls of a service may run at once, streams included.

After internal/peer/node/grpc_limiters.go and sampleconfig/core.yaml peer.limits.concurrency. One
more is refused at once: a crowd costs itself, and nobody who is already served.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from network.embedded import wire

ENDORSER, DELIVER, GATEWAY = 2500, 2500, 500
"""Fabric's defaults."""
ORDERER = 2500
"""Fabric's orderer has no such limit: a stream costs it less than it costs us."""


class Limit:
    """The calls of one service. Belongs to one event loop."""

    def __init__(self, service: str, most: int) -> None:
        """`service` is the full protobuf name."""
        self._service = service
        self._most = most
        self.running = 0

    async def _enter(self, context: Any) -> None:
        if self.running >= self._most:
            # Fabric's limiter answers a plain error, which gRPC calls UNKNOWN.
            await context.abort(
                grpc.StatusCode.UNKNOWN,
                f"too many requests for /{self._service}, exceeding concurrency limit "
                f"({self._most})",
            )
        self.running += 1

    def unary(self, handler: wire.UnaryHandler) -> Any:
        """A method with one request and one answer."""

        async def limited(raw: bytes, context: Any) -> bytes:
            await self._enter(context)
            try:
                return await handler(raw, context)
            finally:
                self.running -= 1

        return wire.unary(limited)

    def server_stream(self, handler: Callable[[bytes, Any], AsyncIterator[bytes]]) -> Any:
        """A method with one request and a stream of answers."""

        async def limited(raw: bytes, context: Any) -> AsyncIterator[bytes]:
            await self._enter(context)
            try:
                async for answer in handler(raw, context):
                    yield answer
            finally:
                self.running -= 1

        return wire.server_stream(limited)

    def bidi_stream(self, handler: Callable[[AsyncIterator[bytes], Any], Awaitable[None]]) -> Any:
        """A method with a stream each way, whose handler writes to the context."""

        async def limited(requests: AsyncIterator[bytes], context: Any) -> None:
            await self._enter(context)
            try:
                await handler(requests, context)
            finally:
                self.running -= 1

        return wire.bidi_stream(limited)
