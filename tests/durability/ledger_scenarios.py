"""A block at an orderer and at a peer, and a package at a peer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orderer_world
import peer_world
from block_factory import Chain, define
from fabric_protos.common import common_pb2
from forged_transactions import Forgery, rwset
from recorder import Recorder

from network.embedded.peer.block_processor import genesis_commit
from network.embedded.peer.channel import Channel
from network.embedded.peer.ledger import Ledger
from network.embedded.peer.packages import PackageStore

CONNECTION = {"address": "127.0.0.1:9", "tls_required": False}


async def play(recorder: Recorder, folder: Path) -> None:
    """All of them, over one set of certificates."""
    world = peer_world.make_world(folder / "home")
    async with asyncio.timeout(30):
        await _deliver(recorder, world, folder / "orderer")
        await _commit(recorder, world, folder / "peer" / "ledger")
    _install(recorder, folder / "packages")


async def _deliver(recorder: Recorder, peer: peer_world.World, folder: Path) -> None:
    """An envelope by Broadcast; the block that it is in goes to a reader on another stream."""
    world = orderer_world.World(peer.home, peer.home.genesis_block.read_bytes())
    async with world.orderer(folder) as (node, client):
        read = node.chain.block

        def block(number: int) -> bytes:
            found = read(number)
            if number == 1:  # it is on its way to the reader's socket
                recorder.told("block delivered")
            return found

        node.chain.block = block  # type: ignore[method-assign]
        reading = asyncio.create_task(client.fetch(world.seek(world.signer(), 1, 1)))
        recorder.begin("block delivered")
        await client.broadcast([orderer_world.normal(world.signer()).SerializeToString()])
        blocks, _ = await reading
        assert len(blocks) == 1
        await asyncio.to_thread(recorder.settle)


async def _commit(recorder: Recorder, world: peer_world.World, folder: Path) -> None:
    """A client that waits for its transaction's status."""
    ledger = Ledger(folder)
    genesis = common_pb2.Block.FromString(world.home.genesis_block.read_bytes())
    ledger.commit(genesis_commit(genesis))
    define(ledger)
    channel = Channel(peer_world.CHANNEL, ledger)
    nobody: Any = None
    chain = Chain(world, ledger, nobody)
    made = Forgery(chain.client(), chain.peers(), rwset([("k", "1")]))
    waiting = asyncio.create_task(channel.tx_status(made.id))
    block = chain.block([made.envelope()]).SerializeToString()
    recorder.begin("told VALID")
    applying = asyncio.create_task(channel.apply(block))
    assert (await waiting).code == 0
    recorder.told("told VALID")
    await applying
    await asyncio.to_thread(recorder.settle)
    await channel.close()


def _install(recorder: Recorder, folder: Path) -> None:
    store = PackageStore(folder, {})
    recorder.begin("package installed")
    store.install(peer_world.make_package(CONNECTION).content)
    recorder.told("package installed")
