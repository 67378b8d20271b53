"""Waiting for what only a block can bring: a payment's final status, a block itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from gateway.messages import Named
from gateway.projected import PaymentChange
from gateway.projection import Projection


class Watches:
    """Those who wait. Use it from one event loop, and tell it of each block applied."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._finals: dict[Named, list[asyncio.Future[None]]] = {}
        self._applied = asyncio.Condition()

    async def applied(self, changes: Iterable[PaymentChange]) -> None:
        """A block is in the projection: wake whoever waited for it."""
        if self._finals:
            for change in changes:
                if change.status.final:
                    for waiter in self._finals.pop(change.key, ()):
                        if not waiter.done():
                            waiter.set_result(None)
        async with self._applied:
            self._applied.notify_all()

    async def final(self, key: Named, wait: float) -> bool:
        """Whether the payment or refund has ended, at the latest `wait` seconds from now."""
        if self._projection.is_final(key):
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finals.setdefault(key, []).append(waiter)
        try:
            async with asyncio.timeout(wait):
                await waiter
        except TimeoutError:
            return False
        finally:
            left = self._finals.get(key)
            if left is not None and waiter in left:
                left.remove(waiter)
                if not left:
                    del self._finals[key]
        return True

    async def block(self, number: int, wait: float) -> int:
        """The last block applied: as soon as `number` is, or `wait` seconds from now."""
        try:
            async with asyncio.timeout(wait), self._applied:
                await self._applied.wait_for(lambda: self._projection.last_block >= number)
        except TimeoutError:
            pass  # the answer says how far it got
        return self._projection.last_block
