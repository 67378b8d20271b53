"""Bugs to plant: each a small wrong change of the product, as somebody might make it.

`caught_by`: the rules of which at least one must break. A bug is planted by replacing attributes
for as long as it is wanted; nothing of the product knows of it.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import sim_adapter

from chaincode.contract import leases, refund_reports
from chaincode.contract import refunds as contract_refunds
from clearline import times
from clearline.fabric.commit import CommitStatus
from clearline.fabric.queue_batch import Applied, BatchRunner
from clearline.fabric.ready_queue import ReadyQueue
from clearline.fabric.store import QueueStore, StoredBatch, StoredItem
from clearline.records import Lease
from clearline.reports import Report
from clearline.statuses import Reason, Status
from connector import duty, memory, outbox, refunding, reporting
from connector.adapter import Answer, NoAnswerError, Verdict
from connector.entries import COMMITTED, Ending, Entry, Telling
from connector.follower import Follower
from connector.forwarder import Forwarder
from connector.late import LateSuccesses
from connector.lease import Candidate, Standing
from connector.settler import Settler
from connector.states import Phase
from connector.verification import Place

Change = tuple[Any, str, Any]


@dataclass(frozen=True)
class Bug:
    """`changes`: owner, attribute, what stands there instead."""

    name: str
    caught_by: tuple[str, ...]
    changes: tuple[Change, ...]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The product with this bug in it."""
        with ExitStack() as stack:
            for owner, name, instead in self.changes:
                stack.enter_context(mock.patch.object(owner, name, instead))
            yield


# the connector's memory

_take = Follower.take
_insert = outbox.insert
_begin_sending = outbox.begin_sending
_recover = memory.recover
_build = reporting.build


async def _checkpoint_first(self: Follower, block: Any) -> Any:
    def move(db: sqlite3.Connection) -> None:
        outbox.put_meta(db, "block", str(block.number))
        outbox.put_meta(db, "header_hash", block.header_hash.hex())

    await self._database.run(move)
    await asyncio.sleep(0.5)  # the effect comes in its own time
    return await _take(self, block)


def _sending_unstored(db: sqlite3.Connection, **asked: Any) -> Entry:
    db.execute("SAVEPOINT planted")
    entry = _begin_sending(db, **asked)
    db.execute("ROLLBACK TO planted")
    return entry


def _sent_is_pending(db: sqlite3.Connection) -> int:
    db.execute("UPDATE entry SET phase = 'pending' WHERE phase = 'sending'")
    return _recover(db)


def _inserted_again(db: sqlite3.Connection, entry: Entry) -> bool:
    db.execute("DELETE FROM entry WHERE key = ?", (entry.key,))
    return _insert(db, entry)


def _signed_anew(db: sqlite3.Connection) -> int:
    db.execute("DELETE FROM report WHERE state = 'signed'")
    return _recover(db)


def _built_now(entry: Entry, telling: Telling, place: Place) -> Report:
    return replace(_build(entry, telling, place), answered_at=times.now())


def _nothing_doubted(db: sqlite3.Connection, epoch: int) -> int:
    outbox.put_meta(db, memory.EPOCH, str(epoch))
    outbox.put_meta(db, memory.STOOD_BY, "")
    return 0


def _not_renewed(
    self: Candidate, lease: Lease | None, claimed: int, forgotten: int | None
) -> Standing:
    return Standing(self.epoch(lease, claimed))


def _same_number(self: Entry) -> int:
    committed = [item.sequence for item in self.reports if item.state == COMMITTED]
    return max([1, self.ledger_sequence, *committed])


# what is made of an acquirer's answers

_undo = Settler.undo


async def _one_reversal(self: Settler, entry: Entry, phase: Phase) -> Answer:
    try:
        return await _undo(self, entry, phase)
    except NoAnswerError:
        return Answer(Verdict.REVERSED, Reason.REVERSED, b"")


async def _declined(self: Forwarder, entry: Entry, reason: Reason) -> None:
    ending = Ending(Status.DECLINED, reason, ended_at=times.now())
    await self._settler.end(entry, ending, Answer(Verdict.DECLINED, reason, b""))


async def _closed_unasked(self: Settler, entry: Entry) -> Answer:
    return Answer(Verdict.CLOSED, Reason.OTHER, b"")


async def _not_late(self: LateSuccesses, entry: Entry, answer: Answer) -> bool:
    return True


def _as_told(order: object, answer: Answer) -> Answer:
    return answer


# the commit queue

_settle = BatchRunner._settle


async def _impatient(
    self: BatchRunner, transaction: Any, outcomes: Any, bound_s: float, *, fresh: bool
) -> Any:
    return await _settle(self, transaction, outcomes, -1.0, fresh=fresh)


async def _not_awaited(
    self: BatchRunner, transaction: Any, outcomes: Any, bound_s: float, *, fresh: bool
) -> Any:
    await transaction.submit()
    return Applied(transaction.transaction_id, 1, outcomes)


def _items_only(
    self: QueueStore, batch: StoredBatch, items: Sequence[StoredItem]
) -> "asyncio.Future[None]":
    return self.put_items(items)


def _not_stored(self: QueueStore, items: Sequence[StoredItem]) -> "asyncio.Future[None]":
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


# refunds

_doubted = Forwarder._doubt
_clear_once = Forwarder._clear_once


async def _asked_as_new(self: Settler, entry: Entry) -> Answer:
    return await self._adapter.refund(entry.order, entry.trace, 0)


async def _refund_declined(self: Forwarder, entry: Entry, reason: Reason) -> None:
    await (_declined if entry.order.refund_no else _doubted)(self, entry, reason)


async def _unheard_is_declined(self: Forwarder, entry: Entry) -> bool:
    if not entry.order.refund_no or not self._settler.inquires(entry):
        return await _clear_once(self, entry)
    answer = await self._settler.inquire(entry)
    if answer.verdict is not Verdict.UNSURE:
        return await _clear_once(self, entry)
    ending = refunding.ended_unsent(Reason.OTHER, times.now())
    await self._settler.end(entry, ending, answer)
    return True


def _no_limit(intent: object, payment: object) -> None:
    return None


def _no_turn(intent: object, earlier: object, overlay: object) -> None:
    return None


def _nothing_moves(item: object, refund: object, transaction: object, overlay: object) -> None:
    return None


def _bug(name: str, caught_by: tuple[str, ...], *changes: Change) -> Bug:
    return Bug(name, caught_by, changes)


_ENDS, _MONEY, _ONCE = "everything ends", "amounts conserve", "forwarded once"
_Handled = Callable[..., object]
BUGS: tuple[Bug, ...] = (
    _bug("checkpoint before effect", (_ENDS,), (Follower, "take", _checkpoint_first)),
    _bug("forward without a stored intention", (_ONCE,),
         (outbox, "begin_sending", _sending_unstored)),
    _bug("sent again after a restart", (_ONCE,), (memory, "recover", _sent_is_pending)),
    _bug("a replayed block is taken twice", (_ONCE, _MONEY), (outbox, "insert", _inserted_again)),
    _bug("signed anew after a restart", ("no equivocation",),
         (memory, "recover", _signed_anew), (reporting, "build", _built_now)),
    _bug("a takeover doubts nothing", (_ONCE, _MONEY), (memory, "take_over", _nothing_doubted)),
    _bug("a lost outbox goes on under its epoch", (_ONCE, _MONEY, "no equivocation"),
         (Candidate, "standing", _not_renewed)),
    _bug("numbers don't rise", ("no equivocation",),
         (Entry, "next_sequence", property(_same_number))),
    _bug("a reversal is given up after one try", (_MONEY,), (Settler, "undo", _one_reversal)),
    _bug("a time-out is a decline", (_MONEY,), (Forwarder, "_doubt", _declined)),
    _bug("closed without the acquirer", (_MONEY,), (Settler, "close", _closed_unasked)),
    _bug("a late success is ignored", (_MONEY,), (LateSuccesses, "consider", _not_late)),
    _bug("another amount counts as paid", (_MONEY,),
         (duty, "held_against", _as_told), (sim_adapter, "held_against", _as_told)),
    _bug("a refund in doubt is asked for as a new one", ("refunded once",),
         (Settler, "repeat_refund", _asked_as_new)),
    _bug("a time-out is a declined refund", (_MONEY,), (Forwarder, "_doubt", _refund_declined)),
    _bug("a refund nobody knows of yet is declined", (_MONEY,),
         (Forwarder, "_clear_once", _unheard_is_declined)),
    _bug("a refund is not held against what is left", ("never more than was paid",),
         (contract_refunds, "_amount", _no_limit)),
    _bug("two refunds of a payment at once", ("one refund at a time",),
         (contract_refunds, "_in_order", _no_turn)),
    _bug("a refund does not move what was refunded", (_MONEY,),
         (refund_reports, "_give_back", _nothing_moves)),
    _bug("the contract does not look at the epoch", ("the epoch in force",),
         (leases, "require_in_force", lambda epoch, key, overlay: None)),
    _bug("items that share a key fly together", ("one in flight",),
         (ReadyQueue, "hold", lambda self, entry: True),
         (ReadyQueue, "release", lambda self, entry, now: None)),
    _bug("endorsed anew at once", ("one in flight",), (BatchRunner, "_settle", _impatient)),
    _bug("submitted before it is stored", ("envelope stored",),
         (QueueStore, "put_batch", _items_only)),
    _bug("a receipt before it is stored", ("a receipt is kept",),
         (QueueStore, "put_items", _not_stored)),
    _bug("told before it is in a block", ("answers hold",),
         (BatchRunner, "_settle", _not_awaited)),
    _bug("an invalid transaction counts as committed", ("answers hold", _ENDS),
         (CommitStatus, "successful", property(lambda self: True))),
)  # fmt: skip
