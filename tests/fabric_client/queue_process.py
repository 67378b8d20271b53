"""A process with a commit queue, to be killed: queue_process.py ENDPOINT STORE FIRST LAST.

Accepts items k<FIRST>..k<LAST>; writes `accepted NAME` once an item is on stable storage and
`done NAME CODE` once it is committed.
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from helpers_fabric import connect
from helpers_queue import item

from clearline.fabric.commit_queue import CommitQueue
from clearline.fabric.queue_items import QueueLimits
from clearline.fabric.store import QueueStore


async def main(endpoint: str, store: str, first: int, last: int) -> None:
    async with connect(endpoint) as gateway:
        contract = gateway.network("payments").contract("clearline")
        limits = QueueLimits(max_items=10, commit_status_s=0.5)
        queue = CommitQueue(contract, QueueStore(Path(store)), limits)
        await queue.start()

        async def one(number: int) -> None:
            wanted = item(f"k{number}")
            await queue.accept(wanted)
            print("accepted", wanted.item_id, flush=True)
            result = await queue.submit(wanted)
            print("done", wanted.item_id, result.outcome["code"], flush=True)

        await asyncio.gather(*(one(number) for number in range(first, last)))
        await queue.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
