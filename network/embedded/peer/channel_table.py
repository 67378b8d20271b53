"""The channels this peer has joined, remembered as one ledger folder each."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clearline.fabric.identity import Signer
from clearline.logs import get_logger
from network.embedded.channelconfig import ChannelConfigError
from network.embedded.peer.block_puller import BlockPuller
from network.embedded.peer.channel import Channel
from network.embedded.peer.ledger import Ledger, LedgerError
from network.embedded.peer.registry import Dial
from network.embedded.peer.system_chaincodes import JoinError

_log = get_logger(__name__)


class ChannelTable:
    """Joins channels and keeps them level with their orderers."""

    def __init__(
        self, folder: Path, map_bytes: int, signer: Signer, dial: Dial, tls_hash: bytes
    ) -> None:
        self._folder = folder
        self._map_bytes = map_bytes
        self._signer = signer
        self._dial = dial
        self._tls_hash = tls_hash
        self._joined: dict[str, Channel] = {}
        self._pullers: dict[str, asyncio.Task[None]] = {}
        self._joining = asyncio.Lock()

    @property
    def joined(self) -> Mapping[str, Channel]:
        """The channels by id."""
        return self._joined

    def find(self, channel_id: str) -> Channel | None:
        """A channel, None when this peer hasn't joined it."""
        return self._joined.get(channel_id)

    def start(self) -> None:
        """Take up every channel that was joined before. Raises LedgerError, ChannelConfigError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in sorted(self._folder.iterdir()):
            ledger = Ledger(folder, self._map_bytes)
            if ledger.height == 0:
                # A join that didn't get as far as its genesis block.
                ledger.close()
                shutil.rmtree(folder)
                continue
            self._follow(Channel(folder.name, ledger))

    async def join(self, channel_id: str, genesis: Any) -> None:
        """Store a checked genesis block and follow the channel. Raises JoinError."""
        async with self._joining:
            if channel_id in self._joined:
                raise JoinError(
                    "cannot create ledger from genesis block: ledger "
                    f"[{channel_id}] already exists with state [ACTIVE]"
                )
            folder = self._folder / channel_id
            try:
                channel = Channel.create(channel_id, folder, genesis, self._map_bytes)
            except (LedgerError, ChannelConfigError, OSError) as error:
                raise JoinError(f"cannot create ledger from genesis block: {error}") from error
            self._follow(channel)
            _log.info("channel joined", extra={"channel": channel_id})

    def _follow(self, channel: Channel) -> None:
        self._joined[channel.channel_id] = channel
        puller = BlockPuller(channel, self._signer, self._dial, self._tls_hash)
        task = asyncio.create_task(puller.run(), name=f"pull-{channel.channel_id}")
        self._pullers[channel.channel_id] = task

    async def stop_pulling(self) -> None:
        """Take no more blocks; one in work is finished."""
        for task in self._pullers.values():
            task.cancel()
        await asyncio.gather(*self._pullers.values(), return_exceptions=True)
        self._pullers.clear()

    async def close(self) -> None:
        """End streams that wait for blocks and give the ledgers free."""
        await self.stop_pulling()
        for channel in self._joined.values():
            await channel.close()
        self._joined.clear()
