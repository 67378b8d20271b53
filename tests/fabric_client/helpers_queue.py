"""What the commit queue's tests share: items, and a queue on a fake peer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fabric_fake_peer import CHAINCODE, FakePeer
from helpers_fabric import connect

from clearline.fabric.commit_queue import CommitQueue
from clearline.fabric.contract import Contract
from clearline.fabric.queue_items import QueueItem, QueueLimits
from clearline.fabric.store import QueueStore

LIMITS = QueueLimits(commit_status_s=0.2, resubmit_s=1.0)


def item(
    name: str, *, priority: int = 1, value: str = "1", owner: str = "", **extra: object
) -> QueueItem:
    payload = json.dumps({"key": name, "value": value, **extra})
    return QueueItem(name, "Put", payload, (name,), priority, owner)


@asynccontextmanager
async def opened(
    contract: Contract, path: Path, limits: QueueLimits = LIMITS
) -> AsyncIterator[CommitQueue]:
    queue = CommitQueue(contract, QueueStore(path / "queue"), limits)
    await queue.start()
    try:
        yield queue
    finally:
        await queue.close()


@asynccontextmanager
async def world(
    path: Path, limits: QueueLimits = LIMITS
) -> AsyncIterator[tuple[FakePeer, CommitQueue]]:
    async with FakePeer() as peer, connect(peer.endpoint) as gateway:
        contract = gateway.network("payments").contract(CHAINCODE)
        async with opened(contract, path, limits) as queue:
            yield peer, queue
