"""A peer's channel that commits one block and says so: `python sync_recorder.py HOME FOLDER sync`.

Run under strace by test_peer_durability. What it writes to standard output stands for the answer
to a client that waits for its transaction. `nosync` opens the ledger without syncs: the planted
bug that the test must see.
"""

import asyncio
import os
import sys
from pathlib import Path

import lmdb
from block_factory import Chain, define
from fabric_protos.common import common_pb2
from forged_transactions import Forgery, rwset
from peer_world import CHANNEL, World

from network import topology_file
from network.embedded.peer.block_processor import genesis_commit
from network.embedded.peer.channel import Channel
from network.embedded.peer.ledger import Ledger
from network.home import Home
from network.topology import DEFAULT_TOPOLOGY

BEGIN, TOLD = b"block comes\n", b"told VALID\n"


async def main(home: Path, folder: Path) -> None:
    layout = topology_file.load(DEFAULT_TOPOLOGY)
    world = World(Home(home), layout)
    ledger = Ledger(folder)
    ledger.commit(
        genesis_commit(common_pb2.Block.FromString(world.home.genesis_block.read_bytes()))
    )
    define(ledger)
    channel = Channel(CHANNEL, ledger)
    chain = Chain(world, ledger, None)  # type: ignore[arg-type]
    made = Forgery(chain.client(), chain.peers(), rwset([("k", "1")]))
    waiting = asyncio.create_task(channel.tx_status(made.id))
    block = chain.block([made.envelope()]).SerializeToString()
    os.write(1, BEGIN)
    applying = asyncio.create_task(channel.apply(block))
    status = await waiting
    assert status.code == 0, status
    os.write(1, TOLD)
    await applying
    await channel.close()


if __name__ == "__main__":
    if sys.argv[3] == "nosync":
        honest = lmdb.open
        lmdb.open = lambda *args, **options: honest(*args, **options | {"sync": False})
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
