"""Change the running channel's configuration: read it from a peer, send the signed difference to
an orderer, and wait until the peers have it.

Works on both engines. cscc: core/scc/cscc/configure.go; answers of Broadcast:
orderer/common/broadcast/broadcast.go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import grpc
import grpc.aio
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.orderer import ab_pb2

from clearline.fabric.identity import X509Signer
from clearline.fabric.profile import Profile, channel_options
from network import lifecycle
from network.administration import AdministrationError, PeerAdministration
from network.channelupdate import compute_update, signed_update
from network.home import Home
from network.topology import Topology

# Another update may come between reading and ordering: this one is made anew then.
_ATTEMPTS: Final = 5
_STALE: Final = ("but it is currently at version", "but key is at version")
_ORDERER_SECONDS: Final = 10.0
_APPLIED_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05

Edit = Callable[[Any], None]


class Failure(StrEnum):
    """What became of an update that wasn't seen to take effect."""

    REFUSED = "refused"
    UNKNOWN = "unknown"


class ChannelChangeError(Exception):
    """A configuration update that an orderer refused, or whose fate isn't known."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True)
class Administrator:
    """Who signs: a user of an organisation whose certificate says admin."""

    organization: str
    user: str


@dataclass(frozen=True)
class Change:
    """The configuration's sequence now, and whether this call changed it.

    waiting: peers that had not shown the change when the wait ended; they get it with the block.
    """

    sequence: int
    changed: bool
    waiting: tuple[str, ...]


async def change(
    home: Home, topology: Topology, edit: Edit, signers: Sequence[Administrator]
) -> Change:
    """Apply `edit` to the channel's common.Config; nothing is sent when it alters nothing.

    edit: called with a copy to alter, more than once when updates collide. signers: enough to
    satisfy the mod_policy of all that is altered; the first one's peer is asked. Raises
    ChannelChangeError, AdministrationError, ProfileError, IdentityError.
    """
    profiles = [Profile.load(home.profile(item.organization, item.user)) for item in signers]
    signing = [X509Signer.from_profile(profile) for profile in profiles]
    channel = topology.channel.id
    own = topology.organization(signers[0].organization).peers[0].name
    sent = False
    async with PeerAdministration(own, profiles[0]) as peer:
        for _ in range(_ATTEMPTS):
            config = await channel_config(peer, channel)
            update = compute_update(channel, config, _edited(config, edit))
            if update is None:
                break
            envelope = signed_update(channel, update, signing)
            try:
                await _send(home, topology, profiles[0], envelope)
                sent = True
            except ChannelChangeError as error:
                if not any(text in str(error) for text in _STALE):
                    raise
            # Taken is not applied: Raft drops an update that another one was ordered before.
            await _next(peer, channel, int(config.sequence))
        else:
            raise ChannelChangeError(
                Failure.UNKNOWN,
                f"{_ATTEMPTS} times another update came first: run the command again",
            )
    sequence = int(config.sequence)
    return Change(sequence, sent, await _waiting(home, topology, sequence) if sent else ())


async def channel_config(peer: PeerAdministration, channel: str) -> Any:
    """The common.Config that this peer has now. Raises AdministrationError."""
    answer = await peer.call("", "cscc", [b"GetChannelConfig", channel.encode()])
    return configtx_pb2.Config.FromString(answer)


def _edited(config: Any, edit: Edit) -> Any:
    changed = configtx_pb2.Config()
    changed.CopyFrom(config)
    edit(changed)
    return changed


async def _next(peer: PeerAdministration, channel: str, sequence: int) -> None:
    """Wait for a configuration after `sequence`. Raises ChannelChangeError when time is up."""
    if not await _level(peer, channel, sequence + 1):
        raise ChannelChangeError(
            Failure.UNKNOWN,
            f"an orderer took the update but {peer.node} has not shown it within "
            f"{_APPLIED_SECONDS:.0f} s: run the command again, it does nothing when it is applied",
        )


async def _level(peer: PeerAdministration, channel: str, sequence: int) -> bool:
    """Whether the peer comes to a configuration of at least this sequence in time."""
    deadline = time.monotonic() + _APPLIED_SECONDS
    while time.monotonic() < deadline:
        if (await channel_config(peer, channel)).sequence >= sequence:
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


async def _waiting(home: Home, topology: Topology, sequence: int) -> tuple[str, ...]:
    """Peers whose configuration is older, after a while of waiting for all of them."""

    async def level(peer: PeerAdministration) -> bool:
        try:
            async with asyncio.timeout(_APPLIED_SECONDS), peer:
                return await _level(peer, topology.channel.id, sequence)
        except (AdministrationError, TimeoutError):
            return False

    peers = lifecycle.connect(home, topology)
    done = await asyncio.gather(*(level(peer) for peer in peers))
    return tuple(peer.node for peer, is_level in zip(peers, done, strict=True) if not is_level)


async def _send(home: Home, topology: Topology, sender: Profile, envelope: Any) -> None:
    """To the first orderer that takes it. Raises ChannelChangeError."""
    failures = []
    for organization, orderer in topology.orderers():
        authority = home.organization(organization.name) / "tlsca" / "cert.pem"
        credentials = grpc.ssl_channel_credentials(
            authority.read_bytes(),
            sender.tls_private_key.read_bytes(),
            sender.tls_certificate.read_bytes(),
        )
        options = channel_options(orderer.name)
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(
                grpc.aio.secure_channel(orderer.endpoint, credentials, options=options)
            )
            try:
                answer = await _broadcast(connection, envelope)
            except grpc.aio.AioRpcError as error:
                failures.append(f"{orderer.name}: {error.code().name}: {error.details()}")
                continue
            except OrdererSilentError as error:
                failures.append(f"{orderer.name}: {error}")
                continue
        if answer.status == common_pb2.Status.SUCCESS:
            return
        text = f"{orderer.name}: {common_pb2.Status.Name(answer.status)}: {answer.info}"
        if answer.status != common_pb2.Status.SERVICE_UNAVAILABLE:
            raise ChannelChangeError(Failure.REFUSED, text)
        failures.append(text)
    raise ChannelChangeError(Failure.UNKNOWN, "no orderer took the update: " + "; ".join(failures))


class OrdererSilentError(Exception):
    """A Broadcast stream that ended without an answer; the text is its status."""


async def _broadcast(connection: grpc.aio.Channel, envelope: Any) -> Any:
    method: Any = connection.unary_stream(
        "/orderer.AtomicBroadcast/Broadcast",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=ab_pb2.BroadcastResponse.FromString,
    )
    call = method(envelope, timeout=_ORDERER_SECONDS)
    answer = await call.read()
    if not isinstance(answer, ab_pb2.BroadcastResponse):
        raise OrdererSilentError(f"{(await call.code()).name}: {await call.details()}")
    call.cancel()
    return answer
