"""The committer process: peer, queue, projection and socket, from start to SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack

import grpc
import uvloop

from clearline import garbage
from clearline.fabric.blocks import BlockError
from clearline.fabric.blockstream import BlockFollower, Position
from clearline.fabric.commit_queue import CommitQueue
from clearline.fabric.errors import EventsError
from clearline.fabric.events import Start
from clearline.fabric.gateway import Gateway
from clearline.fabric.network import Network
from clearline.fabric.profile import Profile
from clearline.fabric.queue_items import QueueLimits
from clearline.fabric.store import QueueStore
from clearline.jws import KeySigner
from clearline.logs import get_logger
from gateway.committer import Committer
from gateway.health_board import HealthBoard
from gateway.link import LinkIdentity, LinkServer
from gateway.pacer import Pacer
from gateway.projection import Projection
from gateway.receipts import Signing
from gateway.settings import SOCKET_NAME, Settings, SettingsError
from gateway.socket_server import SocketServer

_PROBE = 2.0  # seconds the peer may take to say whether it has a block
_log = get_logger("clearline.gateway.service")


class _InProjection:
    """The follower's checkpoint: it moves with each block's effect, in Projection.apply."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection

    def load(self) -> Position | None:
        """The last block applied."""
        return self._projection.position

    def save(self, position: Position) -> None:
        """Nothing to do: see the class."""


class _PeerBlocks:
    """Asks the peer for one block, without waiting for it to be made."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def has_block(self, number: int) -> bool | None:
        """See committer.Peer."""
        events = self._network.block_events(Start(block=number, stop=number))
        try:
            async with asyncio.timeout(_PROBE):
                async for _ in events:
                    return True
        except EventsError as error:
            return False if error.code is grpc.StatusCode.NOT_FOUND else None
        except (TimeoutError, BlockError):
            return None
        finally:
            await events.aclose()
        return False


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises SettingsError, ProfileError, IdentityError, JwsError, StoreError, ProjectionError,
    BlockError, LinkError or OSError when it can't be the committer of these settings.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    garbage.settle()
    await serve(settings, stop)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Be the committer of these settings until `stop` is set. Raises what `run` does."""
    profile = Profile.load(settings.profile)
    if profile.network != settings.network:
        raise SettingsError(
            f"the settings are of network {settings.network}, the profile of {profile.network}"
        )
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    signing = Signing(settings.network, settings.name, KeySigner.load(profile.private_key))
    async with AsyncExitStack() as open_:
        gateway = await open_.enter_async_context(Gateway.connect(profile))
        network = gateway.network(profile.channel)
        limits = QueueLimits(
            in_flight=settings.limits.transactions,
            max_items=settings.limits.transaction_items,
            max_pending=2 * settings.limits.queue_items,
        )
        store = QueueStore(settings.queue_store, retain_s=limits.retain_s)
        queue = CommitQueue(network.contract(profile.chaincode), store, limits)
        await queue.start()
        open_.push_async_callback(queue.close)
        projection = Projection(settings.projection, profile.chaincode)
        open_.callback(projection.close)
        committer = Committer(queue, projection, _PeerBlocks(network), signing, settings.limits)
        open_.push_async_callback(committer.close)
        committer.resume()
        pacer = await _open_link(settings, projection, open_)
        server = SocketServer(settings.socket, committer.handle)
        await server.start()
        open_.push_async_callback(server.close)
        _link(settings)
        _log.info("committing", extra={"gateway": settings.name, "block": projection.last_block})
        follower = BlockFollower(network, _InProjection(projection))
        await _until(stop, _follow(follower, projection, committer, pacer), store.broken())


async def _open_link(settings: Settings, projection: Projection, open_: AsyncExitStack) -> Pacer:
    """Listen for connectors; without a link in the settings the board stays empty, for nobody's
    backlog is counted whose connector was not heard."""
    board = HealthBoard(settings.health_board)
    open_.callback(board.close)
    pacer = Pacer(board, float(settings.limits.acquirer_backlog_s))
    if settings.link is None:
        return pacer
    identity = LinkIdentity(
        settings.network,
        settings.link.host,
        settings.link.port,
        settings.certificate,
        settings.private_key,
        dict(settings.link.authorities),
    )
    link = LinkServer(identity, projection.owner_of, pacer)
    await link.start()
    open_.push_async_callback(link.close)
    return pacer


async def _follow(
    follower: BlockFollower, projection: Projection, committer: Committer, pacer: Pacer
) -> None:
    async for block in follower:
        changes = projection.apply(block)
        pacer.applied(changes, time.monotonic())
        await committer.applied(changes)


async def _until(stop: asyncio.Event, *works: Coroutine[None, None, None]) -> None:
    """Run these until `stop` is set or one of them ends; what it raises is raised."""
    tasks = {asyncio.create_task(work) for work in works}
    waiter = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({*tasks, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if task in done:
            task.result()


def _link(settings: Settings) -> None:
    """Show the socket in data_dir when it had to go elsewhere, for whoever looks there."""
    shown = settings.data_dir / SOCKET_NAME
    if settings.socket.parent != settings.data_dir.resolve():
        shown.unlink(missing_ok=True)
        shown.symlink_to(settings.socket)
