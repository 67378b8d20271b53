"""What becomes of a report that the contract refuses, and of an acquirer that can be asked."""

import asyncio
from pathlib import Path

import pytest
from fake_ledger import FakeLedger
from helpers_connector import World, connected
from scripted import APPROVED, NO_ANSWER, REVERSED, UNSURE, ScriptedAdapter, run

from clearline.codes import Code, Outcome
from clearline.fabric.queue_items import ItemRefused, QueueFull
from clearline.intents import PaymentKey
from clearline.statuses import Status
from connector import outbox
from connector.adapter import (
    Answer,
    Capability,
)
from connector.database import Database
from connector.states import Phase


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two tries of a report."""
    monkeypatch.setattr("connector.reporter._PAUSE_S", 0.001)


def phase(world: World) -> Phase | None:
    """Where the only payment stands in the outbox."""

    async def read() -> Phase | None:
        database = Database(world.folder / "connector" / "outbox.db", outbox.SCHEMA)
        database.open()
        entries = await database.run(lambda db: outbox.in_phases(db, *Phase))
        await database.close()
        return entries[0].phase if entries else None

    return asyncio.run(read())


def final(_: World, ledger: FakeLedger, key: PaymentKey) -> bool:
    return ledger.payment(key).final


def plain() -> ScriptedAdapter:
    return ScriptedAdapter(frozenset({Capability.REVERSAL}))


@pytest.mark.parametrize(
    "script",
    [
        [Outcome(Code.SEQUENCE_GAP)],
        [Outcome(Code.EQUIVOCATION), Outcome(Code.EQUIVOCATION)],
        [Outcome(Code.KEY_UNKNOWN), Outcome(Code.KEY_UNKNOWN)],
        [QueueFull("full"), QueueFull("full")],
        [ItemRefused("id", "endorsers differ", "tx")],
    ],
    ids=["gap", "equivocation", "key not there yet", "queue full", "refused once"],
)
def test_a_refusal_that_passes(tmp_path: Path, script: list[Outcome | Exception]) -> None:
    world, ledger, key = run(tmp_path, plain(), script, final)
    assert (ledger.payment(key).status, ledger.payment(key).sequence) == ("succeeded", 1)
    assert phase(world) is Phase.REPORTED


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (Outcome(Code.ALREADY_FINAL, status="succeeded"), Phase.REPORTED),
        (Outcome(Code.ALREADY_FINAL, status="declined"), Phase.STUCK),
        (Outcome(Code.TRANSITION_FORBIDDEN, status="requested"), Phase.STUCK),
    ],
)
def test_a_refusal_for_good_ends_the_asking(tmp_path: Path, answer: Outcome, end: Phase) -> None:
    script: list[Outcome | Exception] = [answer]
    world, ledger, key = run(tmp_path, plain(), script, lambda *_: not script)
    assert ledger.payment(key).status == "requested"
    assert phase(world) is end


@pytest.mark.parametrize("code", [Code.SEQUENCE_GAP, Code.EQUIVOCATION])
def test_numbers_are_not_tried_for_ever(tmp_path: Path, code: Code) -> None:
    script: list[Outcome | Exception] = [Outcome(code)] * 50
    world, _, _ = run(tmp_path, plain(), script, lambda *_: len(script) <= 46)
    assert len(script) == 46
    assert phase(world) is Phase.STUCK


def test_what_stays_refused_is_stuck_and_tried_again_after_a_start(tmp_path: Path) -> None:
    script: list[Outcome | Exception] = [Outcome(Code.KEY_REVOKED)] * 6
    world, ledger, key = run(tmp_path, plain(), script, lambda *_: not script)
    assert phase(world) is Phase.STUCK

    async def again() -> None:
        async with connected(world.parts(ledger, plain())):
            await ledger.until_final([key])

    asyncio.run(again())
    assert ledger.payment(key).status == "succeeded"
    assert phase(world) is Phase.REPORTED


def test_an_unknown_that_is_refused_is_left_out(tmp_path: Path) -> None:
    adapter = plain()
    adapter.payments, adapter.reversals = [NO_ANSWER], [REVERSED]
    script: list[Outcome | Exception] = [Outcome(Code.TRANSITION_FORBIDDEN)]
    _, ledger, key = run(tmp_path, adapter, script, final)
    assert [entry[2] for entry in ledger.payment(key).reports] == ["closed"]


BOTH = frozenset({Capability.INQUIRY, Capability.REVERSAL})


@pytest.mark.parametrize(
    ("capabilities", "inquiries", "reversals", "asked", "status"),
    [
        ({Capability.REVERSAL}, [], [REVERSED], ["reverse 0"], Status.CLOSED),
        ({Capability.REVERSAL}, [], [NO_ANSWER, UNSURE, REVERSED],
         ["reverse 0", "reverse 1", "reverse 2"], Status.CLOSED),
        (BOTH, [APPROVED], [REVERSED], ["inquire"], Status.SUCCEEDED),
        (BOTH, [NO_ANSWER, APPROVED], [REVERSED], ["inquire", "inquire"], Status.SUCCEEDED),
        (BOTH, [UNSURE], [REVERSED], ["inquire", "reverse 0"], Status.CLOSED),
        ({Capability.INQUIRY}, [UNSURE, APPROVED], [], ["inquire", "inquire"], Status.SUCCEEDED),
    ],
)  # fmt: skip
def test_only_what_the_acquirer_can_do_is_asked_of_it(
    tmp_path: Path,
    capabilities: set[Capability],
    inquiries: list[Answer | Exception],
    reversals: list[Answer | Exception],
    asked: list[str],
    status: Status,
) -> None:
    adapter = ScriptedAdapter(frozenset(capabilities), [NO_ANSWER], list(inquiries),
                              list(reversals))  # fmt: skip
    _, ledger, key = run(tmp_path, adapter, [], final)
    assert adapter.asked == ["start", "pay", *asked, "stop"]
    assert ledger.payment(key).status == status
    assert next(entry[2] for entry in ledger.payment(key).reports) == "unknown"


def test_what_was_stuck_goes_on_by_itself_when_the_reason_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that was wrong, say: nobody starts it again."""
    monkeypatch.setattr("connector.reporter._PAUSE_S", 0.001)
    monkeypatch.setattr("connector.duty.STUCK_S", 0.2)
    refused = ItemRefused("report-1", "chaincode response 400, timestamp_out_of_window", "tx")
    script: list[Outcome | Exception] = [refused] * 6
    world, ledger, key = run(
        tmp_path, plain(), script, lambda world, ledger, key: ledger.payment(key).final
    )
    assert not script
    assert ledger.payment(key).status == "succeeded"
    assert phase(world) is Phase.REPORTED
