"""Whether an acquirer answers what it is asked: one that takes requests and answers none is as
good as away, however well its connections stand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from clearline.statuses import Reason
from connector.adapter import Adapter, Answer, Capability, Heard, NoAnswerError, Order

PATIENCE_S: Final = 3.0  # seconds from which a request that waits counts
ENOUGH: Final = 5  # a few without an answer may be about those few payments


class Attentive:
    """An adapter that counts the requests without an answer; any answer ends the count."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._asked: dict[int, float] = {}  # since the last answer, by number: when
        self._asked_ever = 0
        self._failed = 0

    @property
    def unanswered(self) -> int:
        """Requests since the last answer that had none in time, or have waited for long."""
        since = asyncio.get_running_loop().time() - PATIENCE_S
        return self._failed + sum(at <= since for at in self._asked.values())

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See Adapter."""
        return self._adapter.capabilities

    async def start(self, heard: Heard) -> None:
        """See Adapter."""
        await self._adapter.start(heard)

    async def stop(self) -> None:
        """See Adapter."""
        await self._adapter.stop()

    async def ready(self) -> None:
        """See Adapter."""
        await self._adapter.ready()

    def new_trace(self) -> str:
        """See Adapter."""
        return self._adapter.new_trace()

    async def pay(self, order: Order, trace: str) -> Answer:
        """See Adapter."""
        return await self._ask(self._adapter.pay(order, trace))

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        """See Adapter."""
        return await self._ask(self._adapter.reverse(order, trace, tries))

    async def inquire(self, order: Order, trace: str) -> Answer:
        """See Adapter."""
        return await self._ask(self._adapter.inquire(order, trace))

    async def close(self, order: Order, trace: str) -> Answer:
        """See Adapter."""
        return await self._ask(self._adapter.close(order, trace))

    async def refund(self, order: Order, trace: str, tries: int) -> Answer:
        """See Adapter."""
        return await self._ask(self._adapter.refund(order, trace, tries))

    async def inquire_refund(self, order: Order, trace: str) -> Answer:
        """See Adapter."""
        return await self._ask(self._adapter.inquire_refund(order, trace))

    async def _ask(self, request: Awaitable[Answer]) -> Answer:
        self._asked_ever = number = self._asked_ever + 1
        self._asked[number] = asyncio.get_running_loop().time()
        try:
            answer = await request
        except NoAnswerError as error:
            # Of a connection that was cut the adapter knows more.
            if error.reason is Reason.TIMED_OUT and number in self._asked:
                self._failed += 1
            raise
        else:
            self._asked.clear()
            self._failed = 0
            return answer
        finally:
            self._asked.pop(number, None)
