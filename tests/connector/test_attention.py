"""Requests without an answer are counted until there is one: connector/attention.py."""

import asyncio

import pytest
from scripted import APPROVED, NO_ANSWER, REVERSED, ScriptedAdapter

from clearline.statuses import Reason
from connector import attention
from connector.adapter import Answer, Capability, NoAnswerError, Order
from connector.attention import Attentive

ORDER = Order("0a" * 20, 2933, "CNY", "898310148990001", "tok", "5411", "T1", "card")
CUT = NoAnswerError(Reason.CONNECTION_LOST)


def test_what_is_not_answered_counts_until_something_is() -> None:
    acquirer = ScriptedAdapter(frozenset(Capability), [NO_ANSWER, NO_ANSWER, CUT, NO_ANSWER])
    acquirer.reversals = [NO_ANSWER, REVERSED]
    adapter = Attentive(acquirer)

    async def run() -> list[int]:
        counts = []
        for _ in range(4):
            with pytest.raises(NoAnswerError):
                await adapter.pay(ORDER, "")
            counts.append(adapter.unanswered)
        with pytest.raises(NoAnswerError):
            await adapter.reverse(ORDER, "", 0)
        counts.append(adapter.unanswered)
        await adapter.reverse(ORDER, "", 1)
        return [*counts, adapter.unanswered]

    # A connection that was cut says nothing about who is at its other end.
    assert asyncio.run(run()) == [1, 2, 2, 3, 4, 0]


def test_what_waits_for_long_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer to a later request says that the acquirer is there; the earlier ones wait on."""
    monkeypatch.setattr(attention, "PATIENCE_S", 0.0)
    answers: list[asyncio.Future[Answer]] = []

    class Slow(ScriptedAdapter):
        async def pay(self, order: Order, trace: str) -> Answer:
            answers.append(asyncio.get_running_loop().create_future())
            return await answers[-1]

    adapter = Attentive(Slow(frozenset(Capability)))

    async def run() -> list[int]:
        asked = [asyncio.create_task(adapter.pay(ORDER, "")) for _ in range(7)]
        await asyncio.sleep(0)
        counts = [adapter.unanswered]
        answers[6].set_result(APPROVED)
        await asked[6]
        counts.append(adapter.unanswered)
        for answer in answers[:3]:
            answer.set_exception(NoAnswerError(Reason.TIMED_OUT))
        await asyncio.wait(asked[:3])
        counts.append(adapter.unanswered)
        for answer in answers[3:6]:
            answer.set_result(APPROVED)
        assert await asyncio.gather(*asked[3:6]) == [APPROVED] * 3
        for failed in asked[:3]:
            assert isinstance(failed.exception(), NoAnswerError)
        return counts

    assert asyncio.run(run()) == [7, 0, 0]
