"""The outbox as tables: each step from each phase, and what survives."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers_connector import PLACE

from clearline.intents import PaymentKey
from clearline.statuses import Reason, Status
from connector import memory, outbox, reporting
from connector.adapter import Answer, Order, Verdict
from connector.database import Database, DatabaseError
from connector.entries import (
    COMMITTED,
    REJECTED,
    SIGNED,
    Ending,
    Entry,
    Said,
    SeenPayment,
    StoredReport,
    Telling,
    ending_of,
)
from connector.states import FOLLOWERS, IllegalStepError, Phase

KEY = "payment/M/O/0001"
ORDER = Order("0a" * 20, 2933, "CNY", "898310148990001", "tok_approve", "5411", "T1", "card")
ENTRY = Entry(
    KEY, PaymentKey("M", "O", 1), Phase.PENDING, "d" * 64, "2099-01-01T00:00:00.000Z", ORDER
)
PAID = Said(Ending(Status.SUCCEEDED, Reason.APPROVED), b"native", b"salt")
WAITS = Said(Ending(Status.ACCEPTED, Reason.ACCEPTED), b"native", b"salt")
UNDONE = Said(Ending(Status.EXPIRED, Reason.REVERSED))
RESULT = StoredReport(1, 1, Telling.RESULT, Status.SUCCEEDED, "a.b.c", SIGNED)
UNKNOWN = StoredReport(1, 1, Telling.UNKNOWN, Status.UNKNOWN, "a.b.c", SIGNED)
STEPS: dict[Phase, Callable[[sqlite3.Connection], Any]] = {
    Phase.PENDING: lambda db: outbox.unsent(db, KEY),
    Phase.SENDING: lambda db: outbox.begin_sending(db, ENTRY, "1:2", "now"),
    Phase.DOUBTFUL: lambda db: outbox.doubt(db, KEY, Reason.TIMED_OUT),
    Phase.ACCEPTED: lambda db: outbox.accepted(db, KEY, WAITS),
    Phase.ANSWERED: lambda db: outbox.answered(db, KEY, PAID),
    Phase.REPORTED: lambda db: outbox.settle(db, KEY, Phase.REPORTED, "why"),
    Phase.LATE: lambda db: outbox.late_success(db, KEY, PAID),
    Phase.UNDONE: lambda db: outbox.undone(db, KEY, UNDONE),
    Phase.STUCK: lambda db: outbox.settle(db, KEY, Phase.STUCK, "why"),
}


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(outbox.SCHEMA)
        yield connection


@pytest.mark.parametrize("before", Phase)
@pytest.mark.parametrize("after", Phase)
def test_a_step_is_in_the_table_or_refused(
    db: sqlite3.Connection, before: Phase, after: Phase
) -> None:
    outbox.insert(db, replace(ENTRY, phase=before))
    if after in FOLLOWERS[before]:
        STEPS[after](db)
    else:
        with pytest.raises(IllegalStepError):
            STEPS[after](db)
    entry = outbox.find(db, KEY)
    assert entry is not None
    assert entry.phase is (after if after in FOLLOWERS[before] else before)


def test_what_is_under_way_waits_for_no_turn(db: sqlite3.Connection) -> None:
    """At the acquirer, in doubt or stuck, and still `requested` on the ledger."""
    for number, (phase, status) in enumerate(
        (phase, status) for phase in Phase for status in (Status.REQUESTED, Status.UNKNOWN)
    ):
        order = replace(ORDER, reference=f"{number:040x}")
        entry = replace(ENTRY, key=f"{KEY}{number}", phase=phase, ledger_status=status, order=order)
        assert outbox.insert(db, entry)
    assert outbox.under_way(db) == 3


def test_what_is_to_be_closed_is_not_sent(db: sqlite3.Connection) -> None:
    outbox.insert(db, ENTRY)
    asked = outbox.ask_close(db, KEY, Reason.CLOSED_BY_MERCHANT)
    assert asked is not None
    assert outbox.begin_sending(db, ENTRY, "1:2", "now").phase is Phase.PENDING
    assert outbox.ask_close(db, KEY, Reason.EXPIRED) == asked  # the first reason stands
    outbox.answered(db, KEY, PAID)
    assert outbox.ask_close(db, KEY, Reason.EXPIRED) is None
    assert outbox.ask_close(db, "payment/M/O/0002", Reason.EXPIRED) is None


def test_what_is_not_there_can_not_step(db: sqlite3.Connection) -> None:
    for step in STEPS.values():
        with pytest.raises(IllegalStepError):
            step(db)


def test_an_entry_comes_back_as_it_was(db: sqlite3.Connection) -> None:
    full = replace(ENTRY, phase=Phase.ANSWERED, said={Telling.RESULT: PAID},
                   ledger_status="requested")  # fmt: skip
    assert outbox.insert(db, full)
    assert not outbox.insert(db, replace(full, phase=Phase.PENDING))
    assert outbox.find(db, KEY) == full == outbox.find_reference(db, ORDER.reference)


def test_recovery_doubts_what_was_being_sent_and_retries_what_was_stuck(
    db: sqlite3.Connection,
) -> None:
    for number, phase in enumerate(Phase):
        order = replace(ORDER, reference=f"{number:040d}")
        outbox.insert(db, replace(ENTRY, key=f"payment/{phase}", phase=phase, order=order))
    assert memory.recover(db) == 1
    assert outbox.counts(db) == {
        "pending": 1, "sending": 0, "accepted": 1, "doubtful": 2, "answered": 2, "reported": 1,
        "late": 1, "undone": 1, "stuck": 0,
    }  # fmt: skip
    assert memory.leave_amnesia(db) == 0
    memory.remember_amnesia(db)
    assert memory.leave_amnesia(db) == 1
    assert outbox.counts(db)["doubtful"] == 3


@pytest.mark.parametrize(
    ("phase", "status", "reports", "amnesia", "after"),
    [
        (None, Status.SUCCEEDED, (), True, Phase.REPORTED),
        (None, Status.UNKNOWN, (), True, Phase.DOUBTFUL),
        (Phase.PENDING, Status.SUCCEEDED, (), True, Phase.REPORTED),
        (Phase.PENDING, Status.UNKNOWN, (), True, Phase.DOUBTFUL),
        (Phase.ANSWERED, Status.SUCCEEDED, (RESULT,), False, Phase.ANSWERED),
        (Phase.ANSWERED, Status.SUCCEEDED, (), True, Phase.REPORTED),
        (Phase.DOUBTFUL, Status.SUCCEEDED, (), True, Phase.REPORTED),
        (Phase.ACCEPTED, Status.CLOSED, (), True, Phase.REPORTED),
        (Phase.ACCEPTED, Status.UNKNOWN, (), True, Phase.ACCEPTED),
        (Phase.SENDING, Status.CLOSED, (), True, Phase.REPORTED),
        (Phase.LATE, Status.CLOSED, (), True, Phase.REPORTED),
        (Phase.DOUBTFUL, Status.UNKNOWN, (UNKNOWN,), False, Phase.DOUBTFUL),
    ],
)
def test_what_the_ledger_shows_of_reports(
    db: sqlite3.Connection,
    phase: Phase | None,
    status: Status,
    reports: tuple[StoredReport, ...],
    amnesia: bool,
    after: Phase,
) -> None:
    if phase is not None:
        outbox.insert(db, replace(ENTRY, phase=phase))
        for report in reports:
            outbox.add_report(db, replace(ENTRY, phase=phase), report)
    forgotten = Phase.REPORTED if status.final else Phase.DOUBTFUL
    seen = SeenPayment(KEY, status, 1, False, lambda: replace(ENTRY, phase=forgotten))
    assert memory.see(db, seen) is amnesia
    entry = outbox.find(db, KEY)
    assert entry is not None
    assert entry.phase is after


def test_a_report_s_number_follows_what_is_on_the_ledger(db: sqlite3.Connection) -> None:
    outbox.insert(db, replace(ENTRY, phase=Phase.DOUBTFUL, doubt=Reason.TIMED_OUT))
    entry = outbox.find(db, KEY)
    assert entry is not None
    assert reporting.due(entry) is Telling.UNKNOWN
    assert reporting.build(entry, Telling.UNKNOWN, PLACE).sequence == 1
    entry = outbox.add_report(db, entry, UNKNOWN)
    assert entry.unsent_report is not None
    entry = outbox.committed(db, entry, entry.unsent_report)
    assert (entry.phase, entry.next_sequence, reporting.due(entry)) == (Phase.DOUBTFUL, 2, None)
    paid = replace(entry, phase=Phase.ANSWERED, said={Telling.RESULT: PAID})
    entry = outbox.advance(db, STEPS[Phase.ANSWERED], entry, paid, None)
    assert entry == paid == outbox.find(db, KEY)
    assert reporting.due(entry) is Telling.RESULT
    report = reporting.build(entry, Telling.RESULT, PLACE)
    assert (report.sequence, report.status) == (2, Status.SUCCEEDED)
    assert report.native_digest == reporting.native_digest(b"salt", b"native")
    entry = outbox.add_report(db, entry, replace(RESULT, sequence=2))
    assert reporting.due(entry) is None
    entry = outbox.rejected(db, KEY, entry.reports[-1], "sequence_gap")
    assert [item.state for item in entry.reports] == [COMMITTED, REJECTED]
    assert reporting.due(entry) is Telling.RESULT
    assert reporting.build(replace(entry, ledger_sequence=4), Telling.RESULT, PLACE) == replace(
        report, sequence=5
    )


def test_a_result_follows_its_response_and_a_late_success_its_reversal() -> None:
    both: dict[Telling, Said] = {Telling.RESPONSE: WAITS, Telling.RESULT: PAID}
    waits = replace(ENTRY, phase=Phase.ACCEPTED, said={Telling.RESPONSE: WAITS})
    assert reporting.due(waits) is Telling.RESPONSE
    assert reporting.due(replace(waits, ledger_status="accepted")) is None
    paid = replace(ENTRY, phase=Phase.ANSWERED, said=both)
    assert reporting.due(paid) is Telling.RESPONSE
    response = StoredReport(1, 1, Telling.RESPONSE, Status.ACCEPTED, "a.b.c", COMMITTED)
    assert reporting.due(replace(paid, reports=(response,))) is Telling.RESULT
    assert reporting.due(replace(paid, ledger_status="accepted")) is Telling.RESULT
    refused = replace(response, state=REJECTED)
    assert reporting.due(replace(paid, reports=(refused,))) is Telling.RESULT
    late = replace(ENTRY, phase=Phase.LATE, said=both | {Telling.LATE: PAID})
    assert reporting.due(late) is Telling.LATE
    assert reporting.due(replace(late, excepted=1)) is None
    undone = replace(late, phase=Phase.UNDONE, said={**late.said, Telling.REVERSAL: UNDONE})
    assert reporting.due(undone) is Telling.LATE
    told = StoredReport(2, 2, Telling.LATE, Status.SUCCEEDED, "a.b.c", COMMITTED)
    assert reporting.due(replace(undone, reports=(told,))) is Telling.REVERSAL
    assert reporting.due(replace(undone, excepted=1)) is Telling.REVERSAL


def test_doubt_is_said_once_and_not_when_the_end_is_known(db: sqlite3.Connection) -> None:
    doubtful = replace(ENTRY, phase=Phase.DOUBTFUL)
    assert reporting.due(doubtful) is Telling.UNKNOWN
    assert reporting.due(replace(doubtful, ledger_status="unknown")) is None
    refused = replace(UNKNOWN, state=REJECTED)
    assert reporting.due(replace(doubtful, reports=(refused,))) is None
    for phase in (Phase.PENDING, Phase.SENDING, Phase.REPORTED, Phase.STUCK):
        assert reporting.due(replace(ENTRY, phase=phase)) is None
    with pytest.raises(ValueError, match="no result"):
        reporting.build(ENTRY, Telling.RESULT, PLACE)


@pytest.mark.parametrize(
    ("verdict", "status"),
    [(Verdict.APPROVED, Status.SUCCEEDED), (Verdict.DECLINED, Status.DECLINED),
     (Verdict.REVERSED, Status.CLOSED), (Verdict.UNSURE, None)],
)  # fmt: skip
def test_what_an_answer_ends(verdict: Verdict, status: Status | None) -> None:
    ending = ending_of(Answer(verdict, Reason.OTHER, b""), "now")
    assert (ending.status if ending else None) == status


SENT = replace(ENTRY, phase=Phase.SENDING)
ANSWERED = replace(SENT, phase=Phase.ANSWERED, said={Telling.RESULT: PAID})
Happening = Callable[[sqlite3.Connection], object]
HAPPENINGS: dict[str, Happening] = {
    "a wish to close it": lambda db: outbox.ask_close(db, KEY, Reason.CLOSED_BY_MERCHANT),
    "another report": lambda db: outbox.add_report(db, SENT, UNKNOWN),
    "another's report on the ledger": lambda db: memory.see(
        db, SeenPayment(KEY, Status.UNKNOWN, 1, False, lambda: SENT)
    ),
    "another step": lambda db: outbox.doubt(db, KEY, Reason.CONNECTION_LOST),
}


def test_a_step_and_the_report_it_makes_due_are_stored_together(db: sqlite3.Connection) -> None:
    outbox.insert(db, SENT)
    entry = outbox.advance(db, STEPS[Phase.ANSWERED], SENT, ANSWERED, RESULT)
    assert entry == replace(ANSWERED, reports=(RESULT,)) == outbox.find(db, KEY)
    entry = outbox.committed(db, entry, RESULT)
    done = replace(ANSWERED, phase=Phase.REPORTED, reports=(replace(RESULT, state=COMMITTED),))
    assert entry == done == outbox.find(db, KEY)


@pytest.mark.parametrize("happening", HAPPENINGS)
def test_what_was_signed_on_an_entry_that_has_changed_is_not_stored(
    db: sqlite3.Connection, happening: str
) -> None:
    outbox.insert(db, SENT)
    HAPPENINGS[happening](db)
    before = outbox.find(db, KEY)
    assert before is not None
    assert outbox.add_report(db, SENT, RESULT) == before == outbox.find(db, KEY)
    entry = outbox.advance(db, STEPS[Phase.ANSWERED], SENT, ANSWERED, RESULT)
    assert entry == outbox.find(db, KEY)
    assert (entry.phase, entry.said) == (Phase.ANSWERED, ANSWERED.said)  # the step itself is
    assert entry.reports == before.reports


def test_a_commit_is_noted_on_the_entry_as_it_is_now(db: sqlite3.Connection) -> None:
    """While its doubt is on its way to the ledger, a payment ends."""
    doubtful = replace(ENTRY, phase=Phase.DOUBTFUL)
    outbox.insert(db, doubtful)
    doubtful = outbox.add_report(db, doubtful, UNKNOWN)
    outbox.answered(db, KEY, PAID)
    entry = outbox.committed(db, doubtful, doubtful.reports[0])
    assert (entry.phase, entry.reports[0].state) == (Phase.ANSWERED, COMMITTED)
    assert reporting.due(entry) is Telling.RESULT
    stale = replace(entry, phase=Phase.UNDONE)
    assert outbox.committed(db, stale, replace(entry.reports[0], telling=Telling.REVERSAL)) == entry


def test_what_can_not_be_told_is_given_back_and_nothing_is_due(db: sqlite3.Connection) -> None:
    outbox.insert(db, replace(ENTRY, phase=Phase.REPORTED, ledger_status="closed"))
    late = outbox.late_other(db, KEY, "paid 1 too much")
    assert (late.phase, reporting.due(late)) == (Phase.LATE, None)
    outbox.other_undone(db, KEY)
    entry = outbox.find(db, KEY)
    assert entry is not None
    assert (entry.phase, reporting.due(entry)) == (Phase.REPORTED, None)
    assert outbox.get_note(db, KEY) == "paid 1 too much; given back"


def test_one_failing_work_does_not_undo_its_neighbours(tmp_path: Path) -> None:
    def fail(db: sqlite3.Connection) -> None:
        outbox.put_meta(db, "half", "done")
        raise IllegalStepError("no")

    async def run() -> None:
        database = Database(tmp_path / "outbox.db", outbox.SCHEMA)
        database.open()
        results = await asyncio.gather(
            database.run(lambda db: outbox.put_meta(db, "a", "1")),
            database.run(fail),
            database.run(lambda db: outbox.put_meta(db, "b", "2")),
            return_exceptions=True,
        )
        assert [type(item).__name__ for item in results] == [
            "NoneType", "IllegalStepError", "NoneType",
        ]  # fmt: skip
        found = [await database.run(lambda db, n=n: outbox.get_meta(db, n))  # type: ignore[misc]
                 for n in ("a", "half", "b")]  # fmt: skip
        assert found == ["1", None, "2"]
        await database.close()
        with pytest.raises(DatabaseError, match="closed"):
            await database.run(lambda db: None)

    asyncio.run(run())


def test_what_can_not_be_written_is_said(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database(tmp_path / "outbox.db", outbox.SCHEMA)
        database.open()
        await database.run(lambda db: db.execute("PRAGMA query_only = ON").close())
        with pytest.raises(DatabaseError, match=r"outbox\.db: the outbox can't be written"):
            await database.run(lambda db: outbox.put_meta(db, "a", "1"))
        await database.close()

    asyncio.run(run())
    (tmp_path / "text.db").write_text("this is no database at all, only text" * 100)
    with pytest.raises(DatabaseError):
        Database(tmp_path / "text.db", outbox.SCHEMA).open()
    with closing(sqlite3.connect(tmp_path / "later.db")) as later:
        later.execute("PRAGMA user_version = 99")
    with pytest.raises(DatabaseError, match="format 99"):
        Database(tmp_path / "later.db", outbox.SCHEMA).open()
