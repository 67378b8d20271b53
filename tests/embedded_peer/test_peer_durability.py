"""A client hears VALID only after the block is on stable storage (its sync: tests/durability)."""

import asyncio
import threading
from pathlib import Path

from block_factory import Chain, define
from fabric_protos.common import common_pb2
from forged_transactions import Forgery, rwset
from peer_world import CHANNEL, World

from network.embedded.deliver import Height
from network.embedded.peer.block_processor import BlockProcessor, genesis_commit
from network.embedded.peer.channel import Channel
from network.embedded.peer.ledger import BlockCommit, Ledger


class SlowLedger(Ledger):
    """Holds a commit up after the sync and before it returns."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.stored = threading.Event()
        self.release = threading.Event()
        self.armed = False

    def commit(self, batch: BlockCommit) -> None:
        super().commit(batch)
        if self.armed:
            self.stored.set()
            assert self.release.wait(10)


def test_nobody_hears_of_a_block_before_its_commit_returns(
    certificates: World, tmp_path: Path
) -> None:
    """Commit status, block readers and the height itself wait for the write transaction."""

    async def scenario() -> None:
        ledger = SlowLedger(tmp_path)
        flags = ledger.environment.flags()
        assert flags["sync"]
        assert flags["metasync"]
        assert not flags["writemap"]
        genesis = common_pb2.Block.FromString(certificates.home.genesis_block.read_bytes())
        ledger.commit(genesis_commit(genesis))
        define(ledger)
        channel = Channel(CHANNEL, ledger)
        chain = Chain(certificates, ledger, BlockProcessor(ledger, channel.bundle))
        made = Forgery(chain.client(), chain.peers(), rwset([("k", "1")]))
        ledger.armed = True
        status = asyncio.create_task(channel.tx_status(made.id))
        reader = asyncio.create_task(channel.wait_above(2))
        block = chain.block([made.envelope()]).SerializeToString()
        applying = asyncio.create_task(channel.apply(block))
        assert await asyncio.to_thread(ledger.stored.wait, 10)
        # On disk, but the commit hasn't come back: nobody may know.
        assert isinstance(channel._height, Height)
        assert (ledger.height, channel.height) == (3, 2)
        assert not status.done()
        assert not reader.done()
        ledger.release.set()
        await asyncio.wait_for(asyncio.gather(applying, reader), 10)
        assert (await status).code == 0
        await channel.close()

    asyncio.run(scenario())
