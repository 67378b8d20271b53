"""What the outbox makes of a start, of what the ledger shows of others' work, and of a takeover.

Functions over a SQLite connection, called inside `Database.run`. The rule behind all of them: what
this outbox can't prove unsent is inquired or reversed, never sent; what the ledger says has ended
has ended.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Final

from clearline.statuses import Reason, Status
from connector import outbox
from connector.entries import REJECTED, SIGNED, Entry, SeenPayment, Telling
from connector.refunding import refused_here
from connector.states import Phase

EPOCH: Final = "epoch"
STOOD_BY: Final = "stood_by"
UNSIGNED: Final = "unsigned"  # why reports wait for their signature, empty when none does
_AMNESIA: Final = "amnesia"
_FORGOTTEN: Final = "forgotten"  # the epoch in which an earlier self may have acted
_NEW: Final = "new"
_OPEN: Final = frozenset(
    {Phase.PENDING, Phase.SENDING, Phase.DOUBTFUL, Phase.ACCEPTED, Phase.ANSWERED, Phase.STUCK}
)
_LATE: Final = frozenset({Phase.LATE, Phase.UNDONE})


def see(db: sqlite3.Connection, seen: SeenPayment) -> bool:
    """Note what the ledger says of a payment with reports.

    True when no report of this outbox explains it: another connector did it, or an earlier self
    whose outbox was lost. What it ended has ended; what it left open goes on from there.
    """
    cursor = db.execute(
        "UPDATE entry SET ledger_status = ?, ledger_sequence = ?, excepted = ? WHERE key = ?",
        (seen.status, seen.sequence, int(seen.excepted), seen.key),
    )
    if cursor.rowcount and outbox.has_report(db, seen.key, seen.sequence):
        if seen.status.final and not seen.excepted:
            _see_refunded(db, seen)
        return False
    entry = outbox.find(db, seen.key)
    if entry is None:
        outbox.insert(db, seen.forgotten())
    else:
        _follow_others(db, entry, seen)
    return True


def _see_refunded(db: sqlite3.Connection, seen: SeenPayment) -> None:
    """A late success that is open here, and told last, and no exception on the ledger any more: a
    refund has given it back."""
    told = db.execute(
        "SELECT 1 FROM report JOIN entry USING (key) WHERE key = ? AND phase = ?"
        " AND sequence = ? AND telling = ? AND state <> ?",
        (seen.key, Phase.LATE, seen.sequence, Telling.LATE, REJECTED),
    ).fetchone()
    if told is not None:
        outbox.step(db, seen.key, Phase.REPORTED)
        outbox.note(db, seen.key, "given back by a refund")


def _follow_others(db: sqlite3.Connection, entry: Entry, seen: SeenPayment) -> None:
    if seen.excepted and entry.phase in (_OPEN | {Phase.REPORTED}):
        if entry.phase is not Phase.REPORTED:
            outbox.step(db, entry.key, Phase.REPORTED)
        outbox.reported_late(db, entry.key, seen.forgotten().said[Telling.LATE])
        outbox.note(db, entry.key, "another connector reported a late success")
    elif seen.status.final and not seen.excepted and entry.phase in (_OPEN | _LATE):
        outbox.step(db, entry.key, Phase.REPORTED)
        outbox.note(db, entry.key, "ended on the ledger by another's report")
    elif not seen.status.final and entry.phase is Phase.PENDING:
        outbox.doubt(db, entry.key, Reason.CONNECTION_LOST)


def begin(db: sqlite3.Connection) -> None:
    """The outbox is new: whether an earlier self has acted is not known yet."""
    outbox.put_meta(db, _FORGOTTEN, _NEW)


def is_new(db: sqlite3.Connection) -> bool:
    """Whether it has not been level with the ledger yet, since the acquirer is there."""
    return outbox.get_meta(db, _FORGOTTEN) == _NEW


def look_back(db: sqlite3.Connection, epoch: int) -> None:
    """A new outbox is level with the ledger, where `epoch` is in force: until then an earlier self
    may have acted."""
    outbox.put_meta(db, _FORGOTTEN, str(epoch))


def forgotten_epoch(db: sqlite3.Connection) -> int | None:
    """The last epoch in which an earlier self may have acted that this outbox does not know of;
    None for an outbox that was never new (one of an earlier version), or still is."""
    stored = outbox.get_meta(db, _FORGOTTEN)
    return int(stored) if stored and stored != _NEW else None


def recover(db: sqlite3.Connection) -> int:
    """After a start: what was being sent can't be proved unsent; what was stuck is tried again.

    Answers how many payments became doubtful.
    """
    keys = [row[0] for row in db.execute("SELECT key FROM entry WHERE phase = 'sending'")]
    for key in keys:
        outbox.doubt(db, key, Reason.CONNECTION_LOST)
    resume_stuck(db)
    return len(keys)


def resume_stuck(db: sqlite3.Connection) -> list[Entry]:
    """What the ledger refused for good is tried again; answers those payments. The reason may have
    passed: a clock that was wrong, peers that were."""
    stuck = outbox.in_phases(db, Phase.STUCK)
    for entry in stuck:
        outbox.step(db, entry.key, outbox.resumed(entry))
    return [replace(entry, phase=outbox.resumed(entry)) for entry in stuck]


def remember_amnesia(db: sqlite3.Connection) -> None:
    """The ledger shows reports that this outbox does not know."""
    outbox.put_meta(db, _AMNESIA, "1")


def leave_amnesia(db: sqlite3.Connection) -> int:
    """This outbox has forgotten things: nothing pending is proved unsent any more, nor what it has
    ended by itself. What is expired by now was not when an earlier self may have sent it."""
    if outbox.get_meta(db, _AMNESIA) != "1":
        return 0
    outbox.put_meta(db, _AMNESIA, "0")
    keys = [row[0] for row in db.execute("SELECT key FROM entry WHERE phase = 'pending'")]
    keys += [key for key in _ended_unasked(db) if not _refused_here(db, key)]
    for key in keys:
        _forget_end(db, key)
        outbox.doubt(db, key, Reason.CONNECTION_LOST)
    return len(keys)


def _ended_unasked(db: sqlite3.Connection) -> list[str]:
    """Payments with an end that no acquirer said and nobody signed."""
    rows = db.execute(
        "SELECT key FROM entry JOIN said USING (key) WHERE phase = 'answered' AND telling = ?"
        " AND forwarded_at IS NULL AND native IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM report WHERE report.key = entry.key)",
        (Telling.RESULT,),
    )
    return [row[0] for row in rows]


def _refused_here(db: sqlite3.Connection, key: str) -> bool:
    entry = outbox.find(db, key)
    return entry is not None and refused_here(entry)


def _forget_end(db: sqlite3.Connection, key: str) -> None:
    db.execute("DELETE FROM said WHERE key = ? AND telling = ?", (key, Telling.RESULT))


def take_over(db: sqlite3.Connection, epoch: int) -> int:
    """The lease came to this connector: whatever is open may have been sent by its predecessor.

    Reports that are signed and not on the ledger are dropped: the predecessor may have used their
    numbers. Answers how many payments became doubtful. Harmless when done before.
    """
    if outbox.get_meta(db, EPOCH) == str(epoch):
        return 0
    outbox.put_meta(db, EPOCH, str(epoch))
    outbox.put_meta(db, STOOD_BY, "")
    outbox.put_meta(db, _AMNESIA, "0")
    db.execute("UPDATE report SET state = ?, code = 'lease' WHERE state = ?", (REJECTED, SIGNED))
    doubtful = 0
    for entry in outbox.in_phases(db, Phase.PENDING, Phase.SENDING, Phase.ANSWERED, Phase.STUCK):
        if entry.phase is Phase.STUCK and outbox.resumed(entry) is not Phase.ANSWERED:
            outbox.step(db, entry.key, outbox.resumed(entry))
        elif refused_here(entry) and not Status(entry.ledger_status).final:
            if entry.phase is Phase.STUCK:
                outbox.step(db, entry.key, Phase.ANSWERED)
        elif entry.ledger_status and Status(entry.ledger_status).final:
            outbox.step(db, entry.key, Phase.REPORTED)
        else:
            _forget_end(db, entry.key)
            outbox.doubt(db, entry.key, Reason.CONNECTION_LOST)
            doubtful += 1
    return doubtful
