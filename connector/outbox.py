"""The outbox: every payment and refund of this acquirer from the ledger to the acquirer and back.

Functions over a SQLite connection, each one step, called inside `Database.run`. A step that the
table of `states` does not have raises IllegalStepError and stores nothing. Who takes a step has the
entry in hand: it is read again only when something else has happened to it meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

import orjson

from clearline.intents import PaymentKey
from clearline.statuses import Reason, Status
from connector.adapter import Answer, Order
from connector.entries import (
    COMMITTED,
    REJECTED,
    SIGNED,
    Ending,
    Entry,
    Said,
    StoredReport,
    Telling,
)
from connector.states import IllegalStepError, Phase, sources

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (
    key TEXT PRIMARY KEY, merchant_id TEXT NOT NULL, order_no TEXT NOT NULL,
    attempt INTEGER NOT NULL, phase TEXT NOT NULL, reference TEXT NOT NULL UNIQUE,
    intent_digest TEXT NOT NULL, expires_at TEXT NOT NULL, request TEXT NOT NULL,
    trace TEXT NOT NULL DEFAULT '', forwarded_at TEXT, doubt TEXT NOT NULL DEFAULT '',
    closing TEXT NOT NULL DEFAULT '', tries INTEGER NOT NULL DEFAULT 0,
    ledger_status TEXT NOT NULL DEFAULT '', ledger_sequence INTEGER NOT NULL DEFAULT 0,
    excepted INTEGER NOT NULL DEFAULT 0,
    late TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_open ON entry (phase) WHERE phase <> 'reported';
CREATE TABLE IF NOT EXISTS said (
    key TEXT NOT NULL, telling TEXT NOT NULL, ending TEXT NOT NULL, native BLOB, salt BLOB,
    PRIMARY KEY (key, telling)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS report (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, sequence INTEGER NOT NULL,
    telling TEXT NOT NULL, status TEXT NOT NULL, compact TEXT NOT NULL, state TEXT NOT NULL,
    code TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS report_key ON report (key);
"""
_ENDS: Final = {Phase.ANSWERED: Telling.RESULT, Phase.UNDONE: Telling.REVERSAL}
_COLUMNS: Final = (
    "key, merchant_id, order_no, attempt, phase, intent_digest, expires_at, request,"
    " trace, forwarded_at, doubt, closing, tries, ledger_status, ledger_sequence, excepted"
)


def get_meta(db: sqlite3.Connection, name: str) -> str | None:
    """A stored value by name."""
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else None


def put_meta(db: sqlite3.Connection, name: str, value: str) -> None:
    """Store a value by name."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def put_records(db: sqlite3.Connection, items: Iterable[tuple[str, bytes]]) -> None:
    """Store ledger records of the projection; an empty value is a record that was deleted."""
    for key, value in items:
        if value:
            db.execute("INSERT OR REPLACE INTO record VALUES (?, ?)", (key, value))
        else:
            db.execute("DELETE FROM record WHERE key = ?", (key,))


def records(db: sqlite3.Connection) -> list[tuple[str, bytes]]:
    """The projection: ledger keys and records."""
    return db.execute("SELECT key, value FROM record").fetchall()


def insert(db: sqlite3.Connection, entry: Entry) -> bool:
    """Store a payment as new; False (and nothing) when it is there already."""
    cursor = db.execute(
        "INSERT OR IGNORE INTO entry (key, merchant_id, order_no, attempt, phase, reference,"
        " intent_digest, expires_at, request, doubt, ledger_status, ledger_sequence, excepted)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.key, *entry.payment, entry.phase, entry.order.reference, entry.intent_digest,
            entry.expires_at, orjson.dumps(entry.order).decode(), entry.doubt,
            entry.ledger_status, entry.ledger_sequence, entry.excepted,
        ),
    )  # fmt: skip
    if cursor.rowcount != 1:
        return False
    for telling, said in entry.said.items():
        _say(db, entry.key, telling, said)
    return True


def find(db: sqlite3.Connection, key: str) -> Entry | None:
    """The payment with this ledger key, its reports included."""
    return next(iter(_read(db, "key = ?", (key,))), None)


def find_reference(db: sqlite3.Connection, reference: str) -> Entry | None:
    """The payment with this reference at the acquirer."""
    return next(iter(_read(db, "reference = ?", (reference,))), None)


def in_phases(db: sqlite3.Connection, *phases: Phase) -> list[Entry]:
    """All payments in these phases."""
    marks = ", ".join("?" for _ in phases)
    return _read(db, f"phase IN ({marks})", phases)


def advance(
    db: sqlite3.Connection,
    taken: Callable[[sqlite3.Connection], None],
    before: Entry,
    after: Entry,
    report: StoredReport | None,
) -> Entry:
    """A step that makes `after` of `before`, and with it the report that was signed on `after`.

    When something else has happened to the entry since it was `before`, the step alone is taken:
    the report's number may be another's by now. Answers the entry as it is then.
    """
    still = _is_still(db, before)
    taken(db)
    if not still:
        return _must(db, before.key)
    return after if report is None else _with_report(db, after, report)


def begin_sending(db: sqlite3.Connection, entry: Entry, trace: str, now: str) -> Entry:
    """pending -> sending: durable before a byte leaves. One that is to be closed stays pending."""
    cursor = db.execute(
        "UPDATE entry SET phase = 'sending', trace = ?, forwarded_at = ?"
        " WHERE key = ? AND phase = 'pending' AND closing = ''",
        (trace, now, entry.key),
    )
    if cursor.rowcount == 1:
        return replace(entry, phase=Phase.SENDING, trace=trace, forwarded_at=now)
    found = _must(db, entry.key)
    if found.phase is not Phase.PENDING:
        raise IllegalStepError(f"{entry.key}: {found.phase} -> {Phase.SENDING}")
    return found


def unsent(db: sqlite3.Connection, key: str) -> None:
    """sending -> pending: proved that no byte left."""
    step(db, key, Phase.PENDING)
    db.execute("UPDATE entry SET trace = '', forwarded_at = NULL WHERE key = ?", (key,))


def doubt(db: sqlite3.Connection, key: str, reason: Reason) -> None:
    """pending or sending -> doubtful: it may have been charged."""
    step(db, key, Phase.DOUBTFUL)
    db.execute("UPDATE entry SET doubt = ? WHERE key = ?", (reason, key))


def begin_try(db: sqlite3.Connection, key: str, phase: Phase) -> Entry:
    """Another reversal of a payment in this phase is about to be sent."""
    cursor = db.execute(
        "UPDATE entry SET tries = tries + 1 WHERE key = ? AND phase = ?", (key, phase)
    )
    if cursor.rowcount != 1:
        raise IllegalStepError(f"{key} is not {phase} any more")
    return _must(db, key)


def accepted(db: sqlite3.Connection, key: str, said: Said) -> None:
    """sending or doubtful -> accepted: it waits for the payer. The first response stands."""
    step(db, key, Phase.ACCEPTED)
    if Telling.RESPONSE not in _said(db, key):
        _say(db, key, Telling.RESPONSE, said)


def answered(db: sqlite3.Connection, key: str, said: Said) -> None:
    """-> answered: what came back, stored before anything else is done with it."""
    step(db, key, Phase.ANSWERED)
    _say(db, key, Telling.RESULT, said)


def ended_unsent(db: sqlite3.Connection, key: str, said: Said) -> None:
    """pending -> answered: an end without the acquirer, for what is proved unsent only."""
    before = _must(db, key)
    if before.phase is not Phase.PENDING:
        raise IllegalStepError(f"{key} is {before.phase}: it may have been sent")
    answered(db, key, said)


def late_success(db: sqlite3.Connection, key: str, said: Said) -> None:
    """reported -> late: paid after an end without success."""
    if Telling.LATE in _said(db, key):
        raise IllegalStepError(f"{key} had a late success before")
    step(db, key, Phase.LATE)
    _say(db, key, Telling.LATE, said)


def reported_late(db: sqlite3.Connection, key: str, said: Said) -> None:
    """reported -> late: the ledger shows a success after its end that another has reported."""
    step(db, key, Phase.LATE)
    _say(db, key, Telling.LATE, said)


def late_other(db: sqlite3.Connection, key: str, text: str) -> Entry:
    """reported -> late: paid after an end without success, but not what was asked."""
    step(db, key, Phase.LATE)
    note(db, key, text)
    return _must(db, key)


def other_undone(db: sqlite3.Connection, key: str) -> None:
    """late -> reported: what nobody could tell was given back."""
    step(db, key, Phase.REPORTED)
    note(db, key, f"{get_note(db, key)}; given back")


def undone(db: sqlite3.Connection, key: str, said: Said) -> None:
    """late -> undone: given back."""
    step(db, key, Phase.UNDONE)
    _say(db, key, Telling.REVERSAL, said)


def ask_close(db: sqlite3.Connection, key: str, reason: Reason) -> Entry | None:
    """It is to be closed, for the first reason given; None when it has ended or is not there."""
    db.execute("UPDATE entry SET closing = ? WHERE key = ? AND closing = ''", (reason, key))
    entry = find(db, key)
    ended = (Phase.ANSWERED, Phase.REPORTED, Phase.LATE, Phase.UNDONE, Phase.STUCK)
    return entry if entry is not None and entry.phase not in ended else None


def late_answer(db: sqlite3.Connection, reference: str, answer: Answer) -> Entry | None:
    """Keep an answer that came too late, as evidence; the reversal has decided or will."""
    entry = find_reference(db, reference)
    if entry is not None:
        text = f"{answer.verdict} {answer.reason} {answer.native.hex()}"
        db.execute("UPDATE entry SET late = ? WHERE key = ?", (text, entry.key))
    return entry


def add_report(db: sqlite3.Connection, entry: Entry, report: StoredReport) -> Entry:
    """Store a report that was signed on this entry; `report.report_id` is given by the table.
    Nothing is stored, and the entry read again, when something has happened to it since."""
    return _with_report(db, entry, report) if _is_still(db, entry) else _must(db, entry.key)


def committed(db: sqlite3.Connection, entry: Entry, report: StoredReport) -> Entry:
    """A report is on the ledger; with a result, or the reversal of a late one, that is done."""
    db.execute("UPDATE report SET state = ? WHERE id = ?", (COMMITTED, report.report_id))
    if _ENDS.get(entry.phase) is not report.telling:
        entry = _must(db, entry.key)
    if _ENDS.get(entry.phase) is not report.telling:
        return entry
    cursor = db.execute(
        "UPDATE entry SET phase = ? WHERE key = ? AND phase = ?",
        (Phase.REPORTED, entry.key, entry.phase),
    )
    if cursor.rowcount != 1:
        return _must(db, entry.key)
    marked = (
        replace(item, state=COMMITTED) if item.report_id == report.report_id else item
        for item in entry.reports
    )
    return replace(entry, phase=Phase.REPORTED, reports=tuple(marked))


def rejected(db: sqlite3.Connection, key: str, report: StoredReport, code: str) -> Entry:
    """The contract refuses a report; it will not be sent again."""
    db.execute(
        "UPDATE report SET state = ?, code = ? WHERE id = ?", (REJECTED, code, report.report_id)
    )
    return _must(db, key)


def settle(db: sqlite3.Connection, key: str, phase: Phase, text: str) -> Entry:
    """answered -> reported without a report of ours, or -> stuck, with the reason."""
    step(db, key, phase)
    note(db, key, text)
    return _must(db, key)


def note(db: sqlite3.Connection, key: str, text: str) -> None:
    """A remark for people."""
    db.execute("UPDATE entry SET note = ? WHERE key = ?", (text, key))


def get_note(db: sqlite3.Connection, key: str) -> str:
    """The remark on a payment."""
    row = db.execute("SELECT note FROM entry WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else ""


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Payments by phase."""
    found = dict(db.execute("SELECT phase, count(*) FROM entry GROUP BY phase").fetchall())
    return {phase.value: int(found.get(phase.value, 0)) for phase in Phase}


def open_counts(db: sqlite3.Connection) -> dict[Phase, int]:
    """The same for payments that are not over; reads no more than those."""
    found = dict(
        db.execute(
            "SELECT phase, count(*) FROM entry WHERE phase <> 'reported' GROUP BY phase"
        ).fetchall()
    )
    return {phase: int(found.get(phase.value, 0)) for phase in Phase}


def under_way(db: sqlite3.Connection) -> int:
    """Payments that the ledger shows as requested and that wait for no turn here: they are at the
    acquirer, in doubt or stuck. Refunds are not counted: gateways pace payments."""
    row = db.execute(
        "SELECT count(*) FROM entry WHERE phase IN ('sending', 'doubtful', 'stuck')"
        " AND phase <> 'reported' AND ledger_status = 'requested' AND key LIKE 'payment/%'"
    ).fetchone()
    return int(row[0])


def resumed(entry: Entry) -> Phase:
    """Where a payment that is stuck goes on."""
    if Telling.REVERSAL in entry.said:
        return Phase.UNDONE
    return Phase.LATE if Telling.LATE in entry.said else Phase.ANSWERED


def step(db: sqlite3.Connection, key: str, after: Phase) -> None:
    """To another phase. Raises IllegalStepError."""
    before = sources(after)
    marks = ", ".join("?" for _ in before)
    cursor = db.execute(
        f"UPDATE entry SET phase = ? WHERE key = ? AND phase IN ({marks})",  # noqa: S608
        (after, key, *before),
    )
    if cursor.rowcount != 1:
        row = db.execute("SELECT phase FROM entry WHERE key = ?", (key,)).fetchone()
        raise IllegalStepError(f"{key}: {row[0] if row else 'not there'} -> {after}")


def has_report(db: sqlite3.Connection, key: str, sequence: int) -> bool:
    """Whether a report of ours with this number was signed, and not rejected."""
    row = db.execute(
        "SELECT 1 FROM report WHERE key = ? AND sequence = ? AND state <> ?",
        (key, sequence, REJECTED),
    ).fetchone()
    return row is not None


def _with_report(db: sqlite3.Connection, entry: Entry, report: StoredReport) -> Entry:
    cursor = db.execute(
        "INSERT INTO report (key, sequence, telling, status, compact, state)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (entry.key, report.sequence, report.telling, report.status, report.compact, SIGNED),
    )
    stored = replace(report, report_id=cursor.lastrowid or 0, state=SIGNED)
    return replace(entry, reports=(*entry.reports, stored))


def _is_still(db: sqlite3.Connection, entry: Entry) -> bool:
    """Whether nothing has happened to it since it was this: no step, no report, nothing on the
    ledger, no wish to close it."""
    found = db.execute(
        "SELECT phase, ledger_status, ledger_sequence, excepted, closing, tries, id, state"
        " FROM entry LEFT JOIN report ON report.key = entry.key WHERE entry.key = ? ORDER BY id",
        (entry.key,),
    )
    known = (
        entry.phase, entry.ledger_status, entry.ledger_sequence, entry.excepted, entry.closing,
        entry.tries,
    )  # fmt: skip
    rows: list[tuple[object, ...]] = [
        (*known, item.report_id, item.state) for item in entry.reports
    ]
    return found.fetchall() == (rows or [(*known, None, None)])


def _must(db: sqlite3.Connection, key: str) -> Entry:
    entry = find(db, key)
    if entry is None:
        raise IllegalStepError(f"{key} is not in the outbox")
    return entry


def _read(db: sqlite3.Connection, where: str, values: Sequence[str]) -> list[Entry]:
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM entry WHERE {where} ORDER BY key",  # noqa: S608
        values,
    ).fetchall()
    return [
        Entry(
            key=row[0],
            payment=PaymentKey(*row[1:4]),
            phase=Phase(row[4]),
            intent_digest=row[5],
            expires_at=row[6],
            order=Order(**orjson.loads(row[7])),
            trace=row[8],
            forwarded_at=row[9],
            doubt=row[10],
            closing=row[11],
            tries=row[12],
            ledger_status=row[13],
            ledger_sequence=row[14],
            excepted=row[15],
            said=_said(db, row[0]),
            reports=_reports(db, row[0]),
        )
        for row in rows
    ]


def _reports(db: sqlite3.Connection, key: str) -> tuple[StoredReport, ...]:
    rows = db.execute(
        "SELECT id, sequence, telling, status, compact, state FROM report"
        " WHERE key = ? ORDER BY id",
        (key,),
    )
    return tuple(
        StoredReport(row[0], row[1], Telling(row[2]), Status(row[3]), row[4], row[5])
        for row in rows
    )


def _say(db: sqlite3.Connection, key: str, telling: Telling, said: Said) -> None:
    db.execute(
        "INSERT OR REPLACE INTO said VALUES (?, ?, ?, ?, ?)",
        (key, telling, orjson.dumps(said.ending).decode(), said.native, said.salt),
    )


def _said(db: sqlite3.Connection, key: str) -> dict[Telling, Said]:
    rows = db.execute("SELECT telling, ending, native, salt FROM said WHERE key = ?", (key,))
    return {Telling(row[0]): Said(_ending(row[1]), row[2], row[3]) for row in rows}


def _ending(text: str) -> Ending:
    fields = orjson.loads(text)
    return Ending(Status(fields.pop("status")), Reason(fields.pop("reason")), **fields)
