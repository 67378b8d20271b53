"""The notifier process: the peer's blocks into the outbox, the outbox to receivers."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final

import uvloop

from clearline import garbage
from clearline.fabric.blockstream import BlockFollower, Position
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile
from clearline.logs import get_logger
from gateway.settings import Settings, SettingsError
from gateway.webhooks.keys import WebhookKeys
from gateway.webhooks.notifier import Notifier
from gateway.webhooks.outbox import Outbox
from gateway.webhooks.sender import Resolve, Sender, resolve
from gateway.webhooks.store import StoreError

READY: Final = "notifier.ready"
_LOCK: Final = "notifier.lock"
_NICE: Final = 5  # payments come before news of them
_log = get_logger("clearline.gateway.webhooks")


class _InOutbox:
    """The follower's checkpoint: it moves with each block's effect, in Outbox.apply."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def load(self) -> Position | None:
        """The last block applied."""
        return self._outbox.position

    def save(self, position: Position) -> None:
        """Nothing to do: see the class."""


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises SettingsError, ProfileError, IdentityError, WebhookKeyError, StoreError, BlockError or
    OSError when it can't be the notifier of these settings.
    """
    os.nice(_NICE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    garbage.settle()
    await serve(settings, stop)


async def serve(settings: Settings, stop: asyncio.Event, resolver: Resolve = resolve) -> None:
    """Be the notifier of these settings until `stop` is set. Raises what `run` does."""
    profile = Profile.load(settings.profile)
    if profile.network != settings.network:
        raise SettingsError(
            f"the settings are of network {settings.network}, the profile of {profile.network}"
        )
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    chosen = settings.webhooks
    async with AsyncExitStack() as open_:
        open_.enter_context(_alone(settings))
        keys = WebhookKeys.load(settings.webhook_secret, settings.network, settings.name)
        sender = Sender(chosen.rules, keys, chosen.timeout_s, chosen.ca, resolver)
        gateway = await open_.enter_async_context(Gateway.connect(profile))
        outbox = Outbox(settings.webhook_store, settings.network, profile.chaincode)
        open_.callback(outbox.close)
        notifier = Notifier(outbox, sender, chosen)
        open_.push_async_callback(notifier.close)
        follower = BlockFollower(gateway.network(profile.channel), _InOutbox(outbox))
        ready = settings.data_dir / READY
        ready.touch()
        open_.callback(ready.unlink, missing_ok=True)
        _log.info("notifying", extra={"gateway": settings.name, "position": outbox.position})
        await _until(stop, _follow(follower, notifier), notifier.run())


async def _follow(follower: BlockFollower, notifier: Notifier) -> None:
    async for block in follower:
        await notifier.apply(block)


async def _until(stop: asyncio.Event, *work: Awaitable[None]) -> None:
    """Run all of `work` until `stop` is set; what one raises is raised."""
    tasks = [asyncio.ensure_future(item) for item in (*work, _set(stop))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _set(stop: asyncio.Event) -> None:
    await stop.wait()


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the folder's lock: of two notifiers the second would send everything twice."""
    with (settings.data_dir / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another notifier runs in {settings.data_dir}") from None
        yield
