"""Results that come from the peer in parts: ranges and histories.

The peer sends up to 100 results and, while it has more, keeps an iterator under an id
(Fabric core/chaincode/query_response_generator.go).
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from chaincode.shim import wire
from chaincode.shim.wire import Kind, QueryPage

T = TypeVar("T")


class _Requests(Protocol):
    async def ask(self, kind: Kind, payload: bytes) -> bytes: ...


class ResultIterator(Generic[T]):
    """`async for` over the results; `async with`, or `aclose`, when it may stop before the end."""

    def __init__(self, requests: _Requests, first: QueryPage, read: Callable[[bytes], T]) -> None:
        self._requests = requests
        self._page = first
        self._read = read
        self._next = 0

    def __aiter__(self) -> ResultIterator[T]:
        return self

    async def __anext__(self) -> T:
        while self._next == len(self._page.results):
            if not self._page.has_more:
                raise StopAsyncIteration
            request = wire.query_next(self._page.iterator_id)
            payload = await self._requests.ask(Kind.QUERY_STATE_NEXT, request)
            self._page, self._next = wire.query_page(payload), 0
        raw = self._page.results[self._next]
        self._next += 1
        return self._read(raw)

    async def aclose(self) -> None:
        """Let the peer drop its iterator; nothing follows."""
        if self._page.has_more:
            request = wire.query_close(self._page.iterator_id)
            await self._requests.ask(Kind.QUERY_STATE_CLOSE, request)
        self._page, self._next = QueryPage((), False, ""), 0

    async def __aenter__(self) -> ResultIterator[T]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
