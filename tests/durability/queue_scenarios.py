"""An envelope through the commit queue to a peer, and the two files that hold a position."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fabric_fake_peer import CHAINCODE, FakePeer
from helpers_fabric import connect
from helpers_queue import item
from recorder import Recorder

from clearline.fabric.checkpointers import FileCheckpointer
from clearline.fabric.commit import Commit
from clearline.fabric.commit_queue import CommitQueue
from clearline.fabric.store import QueueStore
from clearline.fabric.transaction import Transaction
from connector.lease import Claims


async def play(recorder: Recorder, folder: Path) -> None:
    """All of them."""
    submit = Transaction.submit

    async def watched_submit(self: Transaction, deadline: float | None = None) -> Commit:
        recorder.told("envelope submitted")
        return await submit(self, deadline)

    Transaction.submit = watched_submit  # type: ignore[method-assign]
    async with asyncio.timeout(30), FakePeer() as peer, connect(peer.endpoint) as gateway:
        contract = gateway.network("payments").contract(CHAINCODE)
        queue = CommitQueue(contract, QueueStore(folder / "queue" / "store"))
        await queue.start()
        recorder.begin("envelope submitted")
        assert (await queue.submit(item("one"))).outcome["code"] == "ok"
        await asyncio.to_thread(recorder.settle)
        await queue.close()
    checkpointer = FileCheckpointer(folder / "checkpoint")
    recorder.begin("checkpoint moved")
    checkpointer.checkpoint_block(7)
    recorder.told("checkpoint moved")
    recorder.begin("epoch claimed")
    Claims(folder / "claim").write(3)
    recorder.told("epoch claimed")
