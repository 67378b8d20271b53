"""The other nodes this peer knows: peers by anchor entries, orderers by their endpoints.

Both come from the channel's configuration, TLS roots from the organisation's MSP. Connections are
kept across configuration changes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fabric_protos.peer import proposal_response_pb2
from google.protobuf.message import DecodeError

from network.embedded import wire
from network.embedded.channelconfig import Bundle
from network.embedded.peer.broadcast_client import BroadcastClient
from network.embedded.peer.grpc_errors import grpc_text

_GRACE_SECONDS = 30.0
_PROCESS = "/protos.Endorser/ProcessProposal"


class EndorserUnavailableError(Exception):
    """The peer answered with a gRPC error or not at all; the text is gRPC's."""

    def __init__(self, reason: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Address:
    """A node: its organisation and host:port."""

    msp_id: str
    endpoint: str


class RemoteEndorser:
    """Another peer's Endorser."""

    def __init__(self, address: Address, channel: Any) -> None:
        self.address = address
        self._channel = channel
        self._process = channel.unary_unary(_PROCESS)

    async def process(self, signed_proposal: bytes, timeout_seconds: float) -> Any:
        """The peer.ProposalResponse. Raises EndorserUnavailableError."""
        try:
            raw = await self._process(signed_proposal, timeout=timeout_seconds)
            return proposal_response_pb2.ProposalResponse.FromString(raw)
        except grpc.aio.AioRpcError as error:
            raise EndorserUnavailableError(grpc_text(error), error.code()) from error
        except DecodeError as error:
            raise EndorserUnavailableError(str(error)) from error

    async def close(self, grace_seconds: float | None = None) -> None:
        """Close the connection, at once or when calls that are under way have ended."""
        await self._channel.close(grace_seconds)


Dial = Callable[[Address, bytes], Any]
"""(node, PEM TLS roots) -> grpc.aio.Channel"""


def dialler(tls: wire.TlsIdentity) -> Dial:
    """Dials with the node's own TLS identity."""
    return lambda address, roots: wire.channel(address.endpoint, roots, tls)


class Registry:
    """Connections to other nodes, made when they are first needed."""

    def __init__(self, own: Address, dial: Dial) -> None:
        self.own = own
        self._dial = dial
        self._endorsers: dict[tuple[Address, bytes], RemoteEndorser] = {}
        self._orderers: dict[tuple[Address, bytes], BroadcastClient] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._known: tuple[Bundle, list[Address]] | None = None

    def peers(self, bundle: Bundle) -> list[Address]:
        """All known peers of a channel, the own one first."""
        if self._known is None or self._known[0] is not bundle:
            self._known = bundle, self._read_peers(bundle)
        return list(self._known[1])

    def _read_peers(self, bundle: Bundle) -> list[Address]:
        others = {
            Address(org.msp.msp_id, f"{host}:{port}")
            for org in bundle.application_orgs.values()
            for host, port in org.anchor_peers
        }
        others.discard(self.own)
        return [self.own, *sorted(others, key=lambda item: (item.msp_id, item.endpoint))]

    def endorser(self, bundle: Bundle, address: Address) -> RemoteEndorser:
        """The connection to another peer."""
        roots = bundle.tls_roots_of(address.msp_id)
        found = self._endorsers.get((address, roots))
        if found is None:
            found = RemoteEndorser(address, self._dial(address, roots))
            self._endorsers[(address, roots)] = found
        return found

    def forget(self, endorser: RemoteEndorser) -> None:
        """Dial anew at the next call: a connection that failed waits before it tries again."""
        for key, found in list(self._endorsers.items()):
            if found is endorser:
                del self._endorsers[key]
                task = asyncio.create_task(endorser.close(_GRACE_SECONDS))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    def orderers(self, bundle: Bundle) -> list[tuple[Address, BroadcastClient]]:
        """The channel's orderers."""
        found = []
        for msp_id, endpoint in bundle.orderer_endpoints():
            address, roots = Address(msp_id, endpoint), bundle.tls_roots_of(msp_id)
            client = self._orderers.get((address, roots))
            if client is None:
                client = BroadcastClient(self._dial(address, roots))
                self._orderers[(address, roots)] = client
            found.append((address, client))
        return found

    async def close(self) -> None:
        """Close all connections."""
        for task in self._closing:
            task.cancel()
        clients: list[RemoteEndorser | BroadcastClient] = [*self._endorsers.values()]
        clients += self._orderers.values()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*(client.close() for client in clients))
