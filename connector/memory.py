"""What the outbox makes of a start, of what the ledger shows of others' work, and of a takeover.

Functions over a SQLite connection, called inside `Database.run`. The rule behind all of them: what
this outbox can't prove unsent is inquired or reversed, never sent; what the ledger says has ended
has ended.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from clearline.statuses import Reason, Status
from connector import outbox
from connector.entries import REJECTED, SIGNED, Entry, SeenPayment, Telling
from connector.states import Phase

EPOCH: Final = "epoch"
STOOD_BY: Final = "stood_by"
_AMNESIA: Final = "amnesia"
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
        return False
    entry = outbox.find(db, seen.key)
    if entry is None:
        outbox.insert(db, seen.forgotten())
    else:
        _follow_others(db, entry, seen)
    return True


def _follow_others(db: sqlite3.Connection, entry: Entry, seen: SeenPayment) -> None:
    if seen.excepted and entry.phase in (_OPEN | {Phase.REPORTED}):
        if entry.phase is not Phase.REPORTED:
            outbox.step(db, entry.key, Phase.REPORTED)
        outbox.step(db, entry.key, Phase.LATE)
        outbox.note(db, entry.key, "another connector reported a late success")
    elif seen.status.final and not seen.excepted and entry.phase in (_OPEN | _LATE):
        outbox.step(db, entry.key, Phase.REPORTED)
        outbox.note(db, entry.key, "ended on the ledger by another's report")
    elif not seen.status.final and entry.phase is Phase.PENDING:
        outbox.doubt(db, entry.key, Reason.CONNECTION_LOST)


def recover(db: sqlite3.Connection) -> int:
    """After a start: what was being sent can't be proved unsent; what was stuck is tried again.

    Answers how many payments became doubtful.
    """
    keys = [row[0] for row in db.execute("SELECT key FROM entry WHERE phase = 'sending'")]
    for key in keys:
        outbox.doubt(db, key, Reason.CONNECTION_LOST)
    for entry in outbox.in_phases(db, Phase.STUCK):
        outbox.step(db, entry.key, outbox.resumed(entry))
    return len(keys)


def remember_amnesia(db: sqlite3.Connection) -> None:
    """The ledger shows reports that this outbox does not know."""
    outbox.put_meta(db, _AMNESIA, "1")


def leave_amnesia(db: sqlite3.Connection) -> int:
    """This outbox has forgotten things: nothing pending is proved unsent any more."""
    if outbox.get_meta(db, _AMNESIA) != "1":
        return 0
    outbox.put_meta(db, _AMNESIA, "0")
    keys = [row[0] for row in db.execute("SELECT key FROM entry WHERE phase = 'pending'")]
    for key in keys:
        outbox.doubt(db, key, Reason.CONNECTION_LOST)
    return len(keys)


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
        elif entry.ledger_status and Status(entry.ledger_status).final:
            outbox.step(db, entry.key, Phase.REPORTED)
        else:
            db.execute(
                "DELETE FROM said WHERE key = ? AND telling = ?", (entry.key, Telling.RESULT)
            )
            outbox.doubt(db, entry.key, Reason.CONNECTION_LOST)
            doubtful += 1
    return doubtful
