"""Sending envelopes to an orderer over one pipelined Broadcast stream.

The orderer answers in order and ends the stream after any answer but SUCCESS
(orderer/common/broadcast/broadcast.go): what was sent behind that one was not looked at and goes
again on a new stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from google.protobuf.message import DecodeError

from network.embedded.peer.grpc_errors import grpc_text

_BROADCAST = "/orderer.AtomicBroadcast/Broadcast"
_EOF: Any = getattr(grpc.aio, "EOF")  # noqa: B009 - missing in the stubs


class BroadcastError(Exception):
    """The orderer didn't answer; the envelope may or may not be ordered."""


@dataclass
class _Sent:
    envelope: bytes
    answer: asyncio.Future[Any]


class BroadcastClient:
    """One orderer's Broadcast. Belongs to one event loop."""

    def __init__(self, channel: Any) -> None:
        """`channel` is a grpc.aio.Channel to the orderer; it is closed by `close`."""
        self._channel = channel
        self._queue: deque[_Sent] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def send(self, envelope: bytes) -> tuple[int, str]:
        """(status, info) of the orderer's answer. Raises BroadcastError."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Sent(envelope, answer))
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        response = await answer
        return response.status, response.info

    async def _run(self) -> None:
        while self._queue:
            unanswered: deque[_Sent] = deque()
            call = self._channel.stream_stream(_BROADCAST)()
            writer = asyncio.create_task(self._write(call, unanswered))
            reason = "EOF"
            try:
                refused = await self._read(call, unanswered)
            except grpc.aio.AioRpcError as error:
                refused, reason = False, grpc_text(error)
            except DecodeError as error:
                refused, reason = False, str(error)
            finally:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
                call.cancel()
            waiting = [item for item in unanswered if not item.answer.done()]
            if refused:
                self._queue.extendleft(reversed(waiting))
                continue
            if not waiting and self._queue:
                # The stream could not even be opened: whoever waits must hear of it.
                waiting = list(self._queue)
                self._queue.clear()
            for item in waiting:
                item.answer.set_exception(BroadcastError(reason))

    async def _write(self, call: Any, unanswered: deque[_Sent]) -> None:
        while True:
            while self._queue:
                item = self._queue.popleft()
                if item.answer.done():
                    continue
                unanswered.append(item)
                await call.write(item.envelope)
            self._wake.clear()
            await self._wake.wait()

    async def _read(self, call: Any, unanswered: deque[_Sent]) -> bool:
        """Give answers out; True when the orderer refused one, False when the stream ended."""
        while (raw := await call.read()) is not _EOF:
            response = ab_pb2.BroadcastResponse.FromString(raw)
            if not unanswered:
                return False
            item = unanswered.popleft()
            if not item.answer.done():
                item.answer.set_result(response)
            if response.status != common_pb2.Status.SUCCESS:
                return True
        return False

    async def close(self) -> None:
        """End the stream and the connection; what waits fails."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for item in self._queue:
            item.answer.cancel()
        await self._channel.close()
