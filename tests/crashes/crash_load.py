"""Load through commit queues, and what it was told: items to accounts, each told once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crash_network import Network
from ledger_audit import Told
from queue_witness import Witness, WitnessedStore, witnessed

from clearline.fabric.commit_queue import CommitQueue
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile
from clearline.fabric.queue_items import ItemRefused, QueueItem, QueueLimits

BANKS = ("BankOne", "BankTwo")
LIMITS = QueueLimits()
_WORKERS = 12
_SHARED_ACCOUNTS = 8  # both banks write them: conflicts, endorsed anew
_OWN_ACCOUNTS = 40


@dataclass
class Client:
    """One bank's queue and everything it was told."""

    bank: str
    queue: CommitQueue
    choose: random.Random
    told: list[Told] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    newest: float = 0.0
    """time.monotonic() at which the newest committed item had been submitted."""
    sent: int = 0

    async def work(self, stopping: asyncio.Event) -> None:
        """One item after the other until told to stop; the last one is seen to its end."""
        while not stopping.is_set():
            await self.one()

    async def one(self) -> None:
        """Submit an item and note what is said of it."""
        self.sent += 1
        item_id = f"{self.bank}-{self.sent}"
        if self.choose.random() < 0.1:
            account = f"shared-{self.choose.randrange(_SHARED_ACCOUNTS)}"
        else:
            account = f"{self.bank}-{self.choose.randrange(_OWN_ACCOUNTS)}"
        amount = self.choose.randrange(1, 1000)
        payload = json.dumps({"id": item_id, "account": account, "amount": amount})
        keys = (f"item/{item_id}", f"account/{account}")
        began = time.monotonic()
        try:
            result = await self.queue.submit(QueueItem(item_id, "Add", payload, keys))
        except ItemRefused as refusal:
            self.refused.append(f"{item_id}: {refusal.reason}")
            return
        self.told.append(Told(item_id, account, amount, result.tx_id, result.block_number))
        self.newest = max(self.newest, began)


@asynccontextmanager
async def clients(
    network: Network, folder: Path, seed: int, witness: Witness
) -> AsyncIterator[list[Client]]:
    """A queue for each bank, with the limits the rooms use; `witness` sees what they do."""
    async with AsyncExitStack() as stack:
        stack.enter_context(witnessed(witness))
        found = []
        for bank in BANKS:
            profile = Profile.load(network.home.profile(bank, "gateway"))
            gateway = await stack.enter_async_context(Gateway.connect(profile))
            contract = gateway.network(profile.channel).contract(profile.chaincode)
            store = WitnessedStore(folder / f"{bank}.db", witness)
            queue = CommitQueue(contract, store, LIMITS)
            await queue.start()
            stack.push_async_callback(queue.close)
            found.append(Client(bank, queue, random.Random(f"{seed}/{bank}")))
        yield found


@asynccontextmanager
async def load(found: list[Client]) -> AsyncIterator[None]:
    """Workers on every client; at the end each item is decided."""
    stopping = asyncio.Event()
    tasks = [
        asyncio.create_task(client.work(stopping)) for client in found for _ in range(_WORKERS)
    ]
    try:
        yield
    finally:
        stopping.set()
        await asyncio.gather(*tasks)


async def until_newer(found: list[Client], moment: float, seconds: float) -> None:
    """Wait until every client has an item committed that it submitted after a moment.

    Raises TimeoutError.
    """
    async with asyncio.timeout(seconds):
        while any(client.newest <= moment for client in found):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # numbers that workers change
