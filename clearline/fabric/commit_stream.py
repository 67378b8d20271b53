"""Commit statuses read off one stream of filtered blocks, for who has many transactions under way.

    async with network.commit_stream():
        await asyncio.gather(*(contract.submit("Pay", item) for item in items))

Asked for one by one, each status is a signed call that the peer verifies and holds open: about a
fifth of what a transaction costs its client, and more at the peer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from clearline.fabric.commit import CommitStatus
from clearline.fabric.errors import DUPLICATE_TXID, EventsError
from clearline.fabric.events import BlockEventsRequest, FilteredBlock
from clearline.logs import get_logger

_PAUSE_S = 0.5

_log = get_logger("clearline.fabric.commit_stream")


class CommitStream:
    """Tells what became of transactions that were first sent after the stream had begun.

    About all others a peer must be asked: while there is no stream, when it breaks, and about an id
    that stood in a block before, whose first code only the peer's index has.
    """

    def __init__(self, new_request: Callable[[], BlockEventsRequest]) -> None:
        """new_request: of filtered blocks, the newest first."""
        self._new_request = new_request
        # Who doesn't wait any more is forgotten.
        self._waiting: WeakValueDictionary[str, asyncio.Future[CommitStatus | None]] = (
            WeakValueDictionary()
        )
        self._open = asyncio.Event()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def opened(self) -> None:
        """Return when the stream has begun."""
        await self._open.wait()

    def expect(self, transaction_id: str) -> asyncio.Future[CommitStatus | None] | None:
        """Called before an envelope is sent: its status to come, None in it when the peer must be
        asked after all; no future when it must be asked from the first."""
        if not self._open.is_set():
            return None
        future = self._waiting.get(transaction_id)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._waiting[transaction_id] = future
        return future

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the blocks meanwhile."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _follow(self) -> None:
        while True:
            blocks = self._new_request().filtered_blocks()
            try:
                async for block in blocks:
                    self._tell(block)
                    # The newest block was cut before whatever is sent from now on.
                    self._open.set()
            except EventsError as error:
                _log.info("no commit stream: statuses are asked for", extra={"reason": str(error)})
            finally:
                self._close()
                await blocks.aclose()
            await asyncio.sleep(_PAUSE_S)

    def _tell(self, block: FilteredBlock) -> None:
        for found in block.transactions:
            future = self._waiting.pop(found.tx_id, None)
            if future is None or future.done():
                continue
            again = found.code == DUPLICATE_TXID
            status = CommitStatus(found.tx_id, found.code, block.number)
            future.set_result(None if again else status)

    def _close(self) -> None:
        self._open.clear()
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_result(None)
        self._waiting.clear()
