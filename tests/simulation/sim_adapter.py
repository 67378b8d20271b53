"""The adapter that speaks to the model of an acquirer (sim_acquirer.py), inside one process."""

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sim_acquirer import SimAcquirer
from sim_process import Process, own_process

from clearline.statuses import Reason
from connector.adapter import (
    Answer,
    Capability,
    Heard,
    NoAnswerError,
    NotSentError,
    Order,
    held_against,
)

ANSWER_S = 5.0


class SimAdapter:
    """connector.adapter.Adapter over the model, inside one process."""

    def __init__(self, acquirer: SimAcquirer) -> None:
        self._acquirer = acquirer
        self._world = acquirer.world
        self._process: Process = own_process()
        self._up = asyncio.Event()
        self._heard: Heard | None = None
        self._waiting: list[asyncio.Future[Answer]] = []
        self._context: contextvars.Context | None = None

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._acquirer.capabilities

    @property
    def listens(self) -> bool:
        """Whether a notice would reach anybody."""
        return self._process.alive and self._heard is not None

    async def start(self, heard: Heard) -> None:
        self._heard = heard
        self._acquirer.lines.append(self)
        self.connect()

    async def stop(self) -> None:
        self._heard = None
        self.cut()
        if self in self._acquirer.lines:
            self._acquirer.lines.remove(self)

    def connect(self) -> None:
        if self._acquirer.up and self._heard is not None:
            self._up.set()

    def cut(self) -> None:
        """The line breaks: who waits for an answer gets none."""
        self._up.clear()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_exception(NoAnswerError(Reason.CONNECTION_LOST))

    async def ready(self) -> None:
        await self._up.wait()

    def new_trace(self) -> str:
        return f"{self._world.chance.getrandbits(32):08x}"

    async def pay(self, order: Order, trace: str) -> Answer:
        payer = self._acquirer.payer(order)
        if self._up.is_set():
            self._acquirer.sent.add(order.reference)
        return await self._ask("pay", self._acquirer.purchase, order, payer.request, payer.answer)

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        return await self._ask("reverse", self._acquirer.reverse, order, *self._way(order))

    async def inquire(self, order: Order, trace: str) -> Answer:
        return await self._ask("inquire", self._acquirer.inquire, order, *self._way(order))

    async def close(self, order: Order, trace: str) -> Answer:
        return await self._ask("close", self._acquirer.close, order, *self._way(order))

    async def refund(self, order: Order, trace: str, tries: int) -> Answer:
        decide = partial(self._acquirer.refund, tries=tries)
        if tries:
            return await self._ask("refund again", decide, order, *self._way(order))
        manner = self._acquirer.manner(order)
        if self._up.is_set():
            self._acquirer.sent.add(order.reference)
        return await self._ask("refund", decide, order, manner.request, manner.answer)

    async def inquire_refund(self, order: Order, trace: str) -> Answer:
        decide = self._acquirer.inquire_refund
        return await self._ask("inquire refund", decide, order, *self._way(order))

    def notice(self, reference: str, answer: Answer, heard: Callable[[bool], None]) -> None:
        """A notice comes in; `heard` is told whether it was taken."""
        assert self._heard is not None
        listening = self._heard.notice

        async def take() -> bool:
            try:
                async with asyncio.timeout(2.5):
                    taken = await listening(reference, answer)
            except TimeoutError:
                return False
            self._process.point("before a notice is acknowledged")
            return taken

        def done(task: "asyncio.Task[bool]") -> None:
            failed = task.cancelled() or task.exception() is not None
            self._world.later(0.005, heard, not failed and task.result())

        self._process.spawn(take()).add_done_callback(done)

    def _way(self, order: Order) -> tuple[float | None, float | None]:
        """Delays of anything but the purchase: there and back, None for what is lost."""
        seconds = self._world.chance.choice((0.005, 0.02, 0.3))
        self._acquirer.asked[order.reference] += 1
        payer = self._acquirer.payer(order)
        losses = payer.refund(order.refund_no).losses if order.refund_no else payer.losses
        if self._acquirer.asked[order.reference] > losses:
            return seconds, seconds
        return (None, None) if self._world.happens(0.5) else (seconds, None)

    async def _ask(
        self, what: str, decide: Callable[[Order], Answer], order: Order,
        there: float | None, back: float | None,
    ) -> Answer:  # fmt: skip
        name = order.reference[:8]
        self._process.point(f"before {what}")
        if not self._up.is_set():
            raise NotSentError("no line")
        self._world.note(self._process.name, what, name)
        waiter: asyncio.Future[Answer] = self._world.loop.create_future()
        self._waiting.append(waiter)
        if there is not None:
            self._world.later(there, self._arrive, what, decide, order, back, waiter)
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await waiter
        except TimeoutError:
            self._world.note(self._process.name, "no answer to", what, name)
            raise NoAnswerError(Reason.TIMED_OUT) from None
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        self._process.point(f"after {what}")
        return answer

    def _arrive(
        self, what: str, decide: Callable[[Order], Answer], order: Order,
        back: float | None, waiter: asyncio.Future[Answer],
    ) -> None:  # fmt: skip
        if not self._acquirer.up:
            return  # lost with the line
        answer = decide(order)
        self._world.note("acquirer", what, order.reference[:8], answer.verdict, answer.reason)
        if back is None:
            return
        payer = self._acquirer.payer(order)
        again = payer.again
        if order.refund_no:
            again = payer.refund(order.refund_no).again
        else:
            answer = replace(answer, amount=(answer.amount or 0) + payer.told_amount)
        answer = held_against(order, answer)
        self._world.later(back, self._come_back, what, order, answer, waiter)
        if again:
            self._world.later(back + 0.05, self._come_back, what, order, answer, waiter)

    def _come_back(
        self, what: str, order: Order, answer: Answer, waiter: asyncio.Future[Answer]
    ) -> None:
        if not waiter.done():
            waiter.set_result(answer)
        elif what in ("pay", "refund") and self.listens and self._heard is not None:
            self._process.context.run(self._heard.late, order.reference, answer)
