"""Payments that wait for their payer, at acquirers that can do more or less."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_connector import World, connected, soon, until
from scripted import APPROVED, NO_ANSWER, REVERSED, UNSURE, ScriptedAdapter, run

from clearline.reports import acquirer_reference
from clearline.statuses import Reason, Status
from connector.adapter import Answer, Capability, NotSentError, Verdict

ACCEPTED = Answer(Verdict.ACCEPTED, Reason.ACCEPTED, b"native")
CLOSED = Answer(Verdict.CLOSED, Reason.OTHER, b"native")
DECLINED = Answer(Verdict.DECLINED, Reason.DO_NOT_HONOR, b"native")
AWAY = NotSentError("away")
ASK, CLOSE, UNDO = Capability.INQUIRY, Capability.CLOSE, Capability.REVERSAL
Says = list[Answer | Exception]


@pytest.mark.parametrize(
    ("can", "inquiries", "closes", "reversals", "asked", "status", "reason"),
    [
        ({ASK, CLOSE, UNDO}, [ACCEPTED], [CLOSED], [], {"close"}, "expired", "expired"),
        ({ASK, CLOSE, UNDO}, [ACCEPTED], [APPROVED], [], {"close"}, "succeeded", "approved"),
        ({ASK, CLOSE, UNDO}, [ACCEPTED], [DECLINED], [], {"close"}, "declined", "do_not_honor"),
        ({ASK, CLOSE, UNDO}, [ACCEPTED], [NO_ANSWER, AWAY, CLOSED], [], {"close"},
         "expired", "expired"),
        ({ASK, CLOSE, UNDO}, [ACCEPTED], [UNSURE], [REVERSED], {"close", "reverse 0"},
         "closed", "reversed"),
        ({CLOSE}, [], [CLOSED], [], {"close"}, "expired", "expired"),
        ({CLOSE}, [], [UNSURE, UNSURE, CLOSED], [], {"close"}, "expired", "expired"),
        ({UNDO}, [], [], [REVERSED], {"reverse 0"}, "closed", "reversed"),
        ({UNDO}, [], [], [NO_ANSWER, REVERSED], {"reverse 0", "reverse 1"}, "closed", "reversed"),
        ({ASK, UNDO}, [ACCEPTED], [], [REVERSED], {"inquire", "reverse 0"}, "closed", "reversed"),
        ({ASK}, [ACCEPTED] * 4 + [APPROVED], [], [], {"inquire"}, "succeeded", "approved"),
    ],
)  # fmt: skip
def test_what_is_asked_at_expiry(
    tmp_path: Path,
    can: set[Capability],
    inquiries: Says,
    closes: Says,
    reversals: Says,
    asked: set[str],
    status: str,
    reason: str,
) -> None:
    adapter = ScriptedAdapter(
        frozenset(can), [ACCEPTED], list(inquiries), list(reversals), list(closes)
    )
    end = soon()
    _, ledger, key = run(
        tmp_path,
        adapter,
        [],
        lambda world, ledger, key: ledger.payment(key).final,
        lambda intent: replace(intent, expires_at=end),
    )
    payment = ledger.payment(key)
    assert (payment.status, payment.reason) == (status, reason)
    assert [entry[2] for entry in payment.reports] == ["accepted", status]
    assert adapter.asked[:2] == ["start", "pay"]
    assert set(adapter.asked[2:-1]) - {"inquire"} == asked - {"inquire"}
    assert adapter.asked.count("pay") == 1


@pytest.mark.parametrize(
    ("inquiries", "reversals", "status"),
    [
        ([APPROVED], [], "succeeded"),
        ([ACCEPTED, NO_ANSWER, AWAY, APPROVED], [], "succeeded"),
        ([DECLINED], [], "declined"),
        ([CLOSED], [], "closed"),
        ([UNSURE], [REVERSED], "closed"),
        ([UNSURE], [UNSURE, NO_ANSWER, REVERSED], "closed"),
    ],
)
def test_what_is_heard_when_no_notice_comes(
    tmp_path: Path, inquiries: Says, reversals: Says, status: str
) -> None:
    adapter = ScriptedAdapter(
        frozenset({ASK, CLOSE, UNDO}), [ACCEPTED], list(inquiries), list(reversals)
    )
    _, ledger, key = run(
        tmp_path, adapter, [], lambda world, ledger, key: ledger.payment(key).final
    )
    assert [entry[2] for entry in ledger.payment(key).reports] == ["accepted", status]


def paid(key_order: Answer) -> Answer:
    """An approval of exactly what the test's intent asks."""
    return replace(
        key_order, amount=2933, currency="CNY", merchant_code="898310148990001",
        payer_token="tok_approve",
    )  # fmt: skip


def undone(adapter: ScriptedAdapter) -> int:
    """How often it was asked to give back."""
    return sum(one.startswith("reverse") for one in adapter.asked)


@pytest.mark.parametrize(
    ("can", "late", "reversals", "reports"),
    [
        # Nothing to ask: the notice itself counts, when it is about what was asked.
        ({CLOSE, UNDO}, paid(APPROVED), [REVERSED], ["accepted", "closed", "succeeded", "closed"]),
        ({CLOSE, UNDO}, paid(APPROVED), [NO_ANSWER, UNSURE, REVERSED],
         ["accepted", "closed", "succeeded", "closed"]),
        # Anything but what was asked can't be told: it is given back all the same.
        ({CLOSE, UNDO}, APPROVED, [NO_ANSWER, UNSURE, REVERSED], ["accepted", "closed"]),
        ({CLOSE, UNDO}, CLOSED, [], ["accepted", "closed"]),
        # Asked, the acquirer says otherwise.
        ({ASK, CLOSE, UNDO}, paid(APPROVED), [], ["accepted", "closed"]),
        # No reversal: told, and left open for people.
        ({CLOSE}, paid(APPROVED), [], ["accepted", "closed", "succeeded"]),
    ],
)  # fmt: skip
def test_a_notice_after_the_end(
    tmp_path: Path, can: set[Capability], late: Answer, reversals: Says, reports: list[str]
) -> None:
    world = World.make(tmp_path)
    ledger = world.ledger()
    ledger.append(world.registered())
    adapter = ScriptedAdapter(frozenset(can), [ACCEPTED], [CLOSED], list(reversals), [CLOSED])

    async def go() -> None:
        async with connected(world.parts(ledger, adapter)):
            (key,) = world.request(ledger, world.intent(1))
            await ledger.until_status(key, Status.ACCEPTED)
            world.close(ledger, key)
            await ledger.until_final([key])
            reference = acquirer_reference(key, world.place.network)
            heard = adapter.heard
            assert heard is not None
            async with asyncio.timeout(5):
                # Until its end is stored as reported, the notice is to be said again.
                while not await heard.notice(reference, late):  # noqa: ASYNC110 - as the acquirer does
                    await asyncio.sleep(0.01)
            assert await heard.notice("ff" * 20, late) is False
            told = len(reports)
            await until(lambda: len(ledger.payment(key).reports) == told)
            await until(lambda: undone(adapter) == len(reversals))
            assert await heard.notice(reference, late)  # said again, it changes nothing
            assert [entry[2] for entry in ledger.payment(key).reports] == reports
            assert ledger.payment(key).excepted is (reports[-1] == "succeeded")

    asyncio.run(go())
    ledger.close()


@pytest.mark.parametrize("verdict", [Verdict.APPROVED, Verdict.DECLINED, Verdict.CLOSED])
def test_a_notice_ends_what_waits(tmp_path: Path, verdict: Verdict) -> None:
    """An acquirer that can't be asked: its notice is all there is."""
    world = World.make(tmp_path)
    ledger = world.ledger()
    ledger.append(world.registered())
    adapter = ScriptedAdapter(frozenset({CLOSE}), [ACCEPTED], [], [], [CLOSED])
    said = paid(Answer(verdict, Reason.OTHER, b"notice"))

    async def go() -> None:
        async with connected(world.parts(ledger, adapter)):
            (key,) = world.request(ledger, world.intent(1))
            await ledger.until_status(key, Status.ACCEPTED)
            reference = acquirer_reference(key, world.place.network)
            assert adapter.heard is not None
            other = replace(said, amount=2934)
            if verdict is Verdict.APPROVED:
                assert not await adapter.heard.notice(reference, other)
                assert ledger.payment(key).status == "accepted"
            assert await adapter.heard.notice(reference, ACCEPTED) is False  # not what was asked
            assert await adapter.heard.notice(reference, said)
            await ledger.until_final([key])

    asyncio.run(go())
    ends = {"approved": "succeeded", "declined": "declined", "closed": "closed"}
    assert ledger.payments()[0].status == ends[verdict]
    ledger.close()
