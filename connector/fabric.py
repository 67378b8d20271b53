"""The ledger as a connector process reaches it: its own peer's gateway service and block stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from clearline.fabric.blockstream import BlockFollower, Position
from clearline.fabric.commit_queue import CommitQueue
from clearline.fabric.gateway import Gateway
from clearline.fabric.network import Network
from clearline.fabric.profile import Profile
from clearline.fabric.queue_items import QueueLimits
from clearline.fabric.store import QueueStore
from clearline.logs import get_logger
from connector.follower import StoredPosition
from connector.ledger import Ledger, find_tip
from connector.service import OpenLedger

_log = get_logger("connector.fabric")
# One transaction of results at a time: what comes meanwhile makes the next one fuller, and a report
# among a hundred costs the peers a third of one among twenty-five (docs/performance.md). A report
# that comes alone finds nothing on its way and goes at once.
LIMITS: Final = QueueLimits(in_flight=1, max_items=400)


def opener(profile: Profile, queue_file: Path) -> OpenLedger:
    """A function that opens the ledger with this profile; the queue keeps its store in a file."""
    return partial(_open, profile, queue_file)


@asynccontextmanager
async def _open(
    profile: Profile, queue_file: Path, position: Position | None
) -> AsyncIterator[Ledger]:
    async with Gateway.connect(profile) as gateway:
        network = gateway.network(profile.channel)
        store = QueueStore(queue_file)
        async with ledger_over(network, profile.chaincode, store, queue_file, position) as ledger:
            yield ledger


@asynccontextmanager
async def ledger_over(
    network: Network, chaincode: str, store: QueueStore, queue_file: Path, position: Position | None
) -> AsyncIterator[Ledger]:
    """The ledger on this network; `store` keeps the queue in `queue_file`.

    With a new outbox (no position) the queue starts anew too: a report that the outbox does not
    know must not reach the ledger while its payment is being reversed. Raises StoreError when the
    queue's store can't be opened.
    """
    if position is None:
        _forget(queue_file)
    tip = await find_tip(network)
    contract = network.contract(chaincode)
    queue = CommitQueue(contract, store, LIMITS)
    await queue.start()
    try:
        yield Ledger(BlockFollower(network, StoredPosition(position)), queue, tip, contract)
    finally:
        await queue.close()


def _forget(queue_file: Path) -> None:
    for path in (queue_file, *(Path(f"{queue_file}{end}") for end in ("-wal", "-shm"))):
        if path.exists():
            _log.warning(
                "the outbox is new: the queue's store is dropped", extra={"file": path.name}
            )
            path.unlink()
