"""The same bytes to a real node and to an embedded one, and what each says of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from fabric_protos.peer import chaincode_shim_pb2, proposal_response_pb2
from fidelity_world import FOLLOWED, Follower, Net
from google.protobuf.message import DecodeError

from network.embedded import wire
from network.topology import Engine

PROCESS = "/protos.Endorser/ProcessProposal"
ENDORSE = "/gateway.Gateway/Endorse"
COMMIT_STATUS = "/gateway.Gateway/CommitStatus"
EVENTS = "/gateway.Gateway/ChaincodeEvents"
_WAITS = 0.2
"""Seconds after which a call that is answered later, if ever, is taken to wait."""
_ANSWERS = 5.0
_LONG = 64
# What differs between two nodes or two moments: ids, addresses, times of day.
_OWN = re.compile(
    r"[0-9a-f]{16,}|127\.0\.0\.1:\d+|peer time \S+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
# gRPC's own words for a message above its limit: each library begins them in its way.
_LIMIT = re.compile("(grpc: r|SERVER: R)(?=eceived message larger than max )")

Said = tuple[Any, ...]
"""What a node answered: WAITS, or a kind and its parts."""
WAITS: Said = ("waits",)


@dataclass(frozen=True)
class Pair:
    """Connections to a node of each engine."""

    real: Any  # grpc.aio.Channel, whose stubs are wrong
    embedded: Any

    async def both(self, method: str, raw: bytes) -> tuple[Said, Said]:
        """(what the real node says, what the embedded one says).

        When one waits and the other doesn't, both are given more time: it may just be slow. Of
        endorsers they ask the same ones, who refuse a transaction id that they are at work on.
        """
        if method == ENDORSE:
            return (
                await poke(self.real, method, raw, _ANSWERS),
                await poke(self.embedded, method, raw, _ANSWERS),
            )
        for patience in (_WAITS, _ANSWERS):
            real, embedded = await asyncio.gather(
                poke(self.real, method, raw, patience), poke(self.embedded, method, raw, patience)
            )
            if (real == WAITS) == (embedded == WAITS):
                break
        return real, embedded


def user_tls(net: Net, organization: str, user: str = "gateway") -> wire.TlsIdentity:
    folder = net.home.user(organization, user) / "tls"
    return wire.TlsIdentity((folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes())


def tls_roots(net: Net, organization: str) -> bytes:
    return (net.home.organization(organization) / "tlsca" / "cert.pem").read_bytes()


def boundless(endpoint: str, roots: bytes, tls: wire.TlsIdentity, name: str) -> grpc.aio.Channel:
    """A client's connection that sends messages of any size."""
    credentials = grpc.ssl_channel_credentials(roots, tls.private_key, tls.certificate)
    options = [("grpc.max_send_message_length", -1), ("grpc.ssl_target_name_override", name)]
    return grpc.aio.secure_channel(endpoint, credentials, options)


@asynccontextmanager
async def peers(follower: Follower) -> AsyncIterator[Pair]:
    """The followed peer and its follower, which have one identity and one ledger."""
    net = follower.net
    tls, roots = user_tls(net, FOLLOWED), tls_roots(net, FOLLOWED)
    own = net.topology.organization(FOLLOWED).peers[0]
    ends = [own.endpoint, follower.endpoint]
    if net.engine is Engine.EMBEDDED:
        ends.reverse()
    channels: list[Any] = [wire.channel(endpoint, roots, tls, own.name) for endpoint in ends]
    try:
        yield Pair(*channels)
    finally:
        for channel in channels:
            await channel.close()


def plain(text: str | None) -> str:
    """A text without what differs by node; Go's parser puts a space or a no-break space."""
    return _LIMIT.sub("#", _OWN.sub("#", (text or "").replace("\xa0", " ")))


async def poke(channel: Any, method: str, raw: bytes, patience: float) -> Said:
    """Send bytes; answer what came back. `patience`: seconds for a call that may wait for ever."""
    try:
        if method == EVENTS:
            stream: Any = channel.unary_stream(method)(raw, timeout=patience)
            return await _first(stream)
        if method.startswith(("/gateway.", PROCESS)):
            timeout = patience if method == COMMIT_STATUS else max(patience, _ANSWERS)
            answer: Any = await channel.unary_unary(method)(raw, timeout=timeout)
            return _endorsed(answer) if method == PROCESS else ("OK",)
        both_ways: Any = channel.unary_stream(method)(raw, timeout=patience)
        return await _first(both_ways)
    except grpc.aio.AioRpcError as error:
        # A deadline that passes on both sides at once is told by either.
        if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
            return WAITS
        return (error.code().name, plain(error.details()))


async def _first(call: Any) -> Said:
    try:
        answer = await anext(aiter(call), None)
        if answer is None:
            return ("ends",)
        # Responses of Deliver and Broadcast: field 1 is a status, anything else content.
        if answer[:1] == b"\x08":
            return ("status", bytes(answer))
        return ("content", answer[:1])
    finally:
        call.cancel()


def _endorsed(answer: bytes) -> Said:
    response = proposal_response_pb2.ProposalResponse.FromString(answer)
    inner = response.response
    payload = inner.payload
    try:
        # Fabric names an open query by a random id, we by a number.
        query = chaincode_shim_pb2.QueryResponse.FromString(payload)
        query.ClearField("id")
        payload = query.SerializeToString(deterministic=True)
    except DecodeError:
        pass
    if len(payload) > _LONG:
        # Maps: Go writes their entries in another order each time.
        payload = bytes(sorted(payload))
    return ("OK", inner.status, plain(inner.message), payload, response.HasField("endorsement"))


def differences(found: Sequence[tuple[str, Said, Said]]) -> str:
    """A readable list of what differs, "" when nothing does."""
    return "\n".join(
        f"{name}\n    real     {str(real)[:400]}\n    embedded {str(embedded)[:400]}"
        for name, real, embedded in found
        if real != embedded
    )
