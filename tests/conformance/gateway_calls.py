"""Calls of a gateway service by hand, past the client under test."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from conformance_world import SECONDS, Stack
from fabric_protos.peer import events_pb2
from grpc import StatusCode

from clearline.fabric.profile import Profile, channel_options


class Raw:
    """BankOne's peer."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def refused(self, method: str, request: object) -> tuple[StatusCode, str]:
        """The status a call must end with."""
        call = self._channel.unary_unary(
            f"/gateway.Gateway/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=None,
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=10)
        return caught.value.code(), caught.value.details() or ""

    def ended(self, service: str, raw: bytes) -> tuple[StatusCode, str]:
        """The status that a call with bytes that are no request must end with."""
        call = self._channel.unary_unary(f"/{service}")
        with pytest.raises(grpc.RpcError) as caught:
            call(raw, timeout=10)
        # Go's parser writes a space or a no-break space.
        return caught.value.code(), (caught.value.details() or "").replace("\xa0", " ")

    def delivered(self, method: str, envelope: bytes) -> Any:
        """The first answer of a block stream."""
        stream = self._channel.stream_stream(
            f"/protos.Deliver/{method}",
            response_deserializer=events_pb2.DeliverResponse.FromString,
        )(iter([envelope]), timeout=10)
        try:
            return next(stream)
        finally:
            stream.cancel()

    @contextmanager
    def crowd(self, method: str, request: object, many: int) -> Iterator[Callable[[], None]]:
        """So many calls of the gateway service are under way inside the block, most of them these.

        More are made: that one was refused shows that the service is full. It yields what makes
        one more, for when a call that was there before has ended.
        """
        call = self._channel.unary_unary(
            f"/gateway.Gateway/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=None,
        )
        ended: queue.SimpleQueue[object] = queue.SimpleQueue()
        calls: list[Any] = []

        def more() -> None:
            calls.append(call.future(request, timeout=4 * SECONDS))

        try:
            for _ in range(many + 1):
                more()
            for made in list(calls):
                made.add_done_callback(ended.put)
            ended.get(timeout=SECONDS)
            yield more
        finally:
            for made in calls:
                made.cancel()


@contextmanager
def raw_gateway(stack: Stack) -> Iterator[Raw]:
    """Connected as BankOne's gateway user."""
    profile = Profile.load(stack.network.home.profile("BankOne", "gateway"))
    own = channel_options(profile.peer.server_name)
    unlimited = ("grpc.max_send_message_length", -1)
    options = [*(option for option in own if option[0] != unlimited[0]), unlimited]
    credentials = profile.channel_credentials()
    with grpc.secure_channel(profile.peer.endpoint, credentials, options) as channel:
        yield Raw(channel)
