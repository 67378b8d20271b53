"""Services of real nodes that the embedded engine does not have: UNIMPLEMENTED, with the reason.

docs/embedded.md lists these and everything else that is left out; a test calls each entry.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

from network.embedded import wire

_SNAPSHOTS = "ledger snapshots are left out: a peer joins from the genesis block"
_GOSSIP = "gossip is left out: every peer pulls its blocks from an orderer"
_CONSENSUS = "Raft and BFT are left out: an embedded orderer stands alone"

_PEER_UNARY: Mapping[tuple[str, str], str] = {
    ("discovery.Discovery", "Discover"): "service discovery is left out: the gateway service "
    "knows the other peers by the channel's anchor peers",
    ("protos.Snapshot", "Generate"): _SNAPSHOTS,
    ("protos.Snapshot", "Cancel"): _SNAPSHOTS,
    ("protos.Snapshot", "QueryPendings"): _SNAPSHOTS,
    ("gossip.Gossip", "Ping"): _GOSSIP,
}
_PEER_STREAMS: Mapping[tuple[str, str], str] = {
    ("gossip.Gossip", "GossipStream"): _GOSSIP,
    ("protos.ChaincodeSupport", "Register"): "chaincode that dials its peer is left out: "
    "chaincode runs as a service, which the peer dials",
}
_ORDERER_STREAMS: Mapping[tuple[str, str], str] = {
    ("orderer.Cluster", "Step"): _CONSENSUS,
    ("orderer.ClusterNodeService", "Step"): _CONSENSUS,
}


def peer_services() -> tuple[Any, ...]:
    """What a peer answers for."""
    return _services(_PEER_UNARY, _PEER_STREAMS)


def orderer_services() -> tuple[Any, ...]:
    """What an orderer answers for."""
    return _services({}, _ORDERER_STREAMS)


def _services(
    unary: Mapping[tuple[str, str], str], streams: Mapping[tuple[str, str], str]
) -> tuple[Any, ...]:
    services: dict[str, dict[str, Any]] = {}
    for (service, method), reason in unary.items():
        services.setdefault(service, {})[method] = wire.unary(_refuse_call(reason))
    for (service, method), reason in streams.items():
        services.setdefault(service, {})[method] = wire.bidi_stream(_refuse_stream(reason))
    return tuple(wire.service(name, methods) for name, methods in services.items())


async def _refuse(reason: str, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{reason}; use the fabric engine")


def _refuse_call(reason: str) -> wire.UnaryHandler:
    async def refuse(raw: bytes, context: Any) -> bytes:
        await _refuse(reason, context)
        raise AssertionError("abort raises")

    return refuse


def _refuse_stream(reason: str) -> wire.StreamHandler:
    async def refuse(requests: AsyncIterator[bytes], context: Any) -> None:
        await _refuse(reason, context)

    return refuse
