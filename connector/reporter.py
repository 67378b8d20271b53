"""Brings reports to the ledger: signs what is due, submits in order, marks what is committed.

A report is stored before it is submitted, and submitted as stored until the ledger has answered. A
key in this process signs with the step that makes a report due; one that is elsewhere is asked when
that step is stored, and what happens meanwhile makes another report of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from typing import Final

import orjson

from clearline import reports
from clearline.codes import Code, Outcome
from clearline.fabric.queue_items import RESULTS, ItemRefused, QueueClosed, QueueFull, QueueItem
from clearline.jws import Signer, Typ
from clearline.logs import get_logger
from clearline.records import payment_key
from clearline.reports import Report
from clearline.signers.distant import DistantSigner
from connector import outbox, reporting
from connector.database import Database
from connector.entries import REJECTED, SIGNED, Entry, StoredReport, Telling
from connector.lease import LeaseLostError
from connector.ledger import ReportQueue
from connector.states import Phase
from connector.tasks import Tasks
from connector.verification import Place

ReportSigner = Signer | DistantSigner
_log = get_logger("connector.reporter")
_AT_ONCE: Final = 1000
_TRIES: Final = 6  # of one report, when the contract's answer may change
_RENUMBERED: Final = 4  # results signed with another number before people must look
_PAUSE_S: Final = 0.25
_NUMBER_WRONG: Final = frozenset({Code.SEQUENCE_GAP, Code.EQUIVOCATION})
_FINAL_WORD: Final = frozenset({Code.ALREADY_FINAL, Code.TRANSITION_FORBIDDEN})
_ON_THE_WAY: Final = frozenset({Telling.UNKNOWN, Telling.RESPONSE})


class Reporter:
    """`wake` it about a payment whenever something about it was stored. It reports under one
    epoch; when the ledger refuses that, its task fails with LeaseLostError."""

    def __init__(
        self,
        database: Database,
        queue: ReportQueue,
        signer: ReportSigner,
        place: Place,
        epoch: int,
        tasks: Tasks,
    ) -> None:
        self._database = database
        self._queue = queue
        self._signer = signer
        self._place = place
        self._epoch = epoch
        self._tasks = tasks
        self._active: set[str] = set()
        self._again: set[str] = set()
        self._signing: dict[str, asyncio.Task[str]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @property
    def active(self) -> int:
        """Payments whose reports are on their way."""
        return len(self._active)

    def wake(self, entry: Entry) -> None:
        """Something changed about this payment, which now is so; harmless when nothing is due."""
        if entry.key in self._active:
            self._again.add(entry.key)
            if entry.key in self._signing:
                self._signing[entry.key].cancel()  # it may be about something that is past
            return
        self._active.add(entry.key)
        self._tasks.spawn(self._settle(entry))

    def sign(self, entry: Entry) -> StoredReport | None:
        """What is due about this entry, signed to be stored with the step that makes it due; None
        when nothing is, when another report is on its way, or when the key is elsewhere: what came
        back must not wait for that."""
        if isinstance(self._signer, DistantSigner):
            return None
        due = self._due(entry)
        return due and _stored(*due, reports.sign(due[1], self._signer))

    def _due(self, entry: Entry) -> tuple[Telling, Report] | None:
        telling = None if entry.unsent_report is not None else reporting.due(entry)
        if telling is None:
            return None
        return telling, reporting.build(entry, telling, self._place)

    async def _settle(self, entry: Entry) -> None:
        key = entry.key
        left: Entry | None = entry
        try:
            async with self._slots:
                while True:
                    while left is not None:
                        left = await self._advance(left)
                    if key not in self._again:
                        return
                    self._again.discard(key)
                    left = await self._database.run(partial(outbox.find, key=key))
        except QueueClosed:
            return  # the service stops; the report is stored and goes on at the next start
        finally:
            self._active.discard(key)
            self._again.discard(key)

    async def _advance(self, entry: Entry) -> Entry | None:
        """One step: the entry after it, None when nothing is due."""
        unsent = entry.unsent_report
        if unsent is not None:
            return await self._submit(entry, unsent)
        due = self._due(entry)
        if due is None:
            return None
        compact = await self._compact(entry.key, due[1])
        if compact is None:
            return await self._database.run(partial(outbox.find, key=entry.key))
        signed = _stored(*due, compact)
        return await self._database.run(partial(outbox.add_report, entry=entry, report=signed))

    async def _compact(self, key: str, report: Report) -> str | None:
        """Signed: at once, or when whoever holds the key has done it. None when something has
        happened meanwhile: two reports with one number should not even be signed."""
        if not isinstance(self._signer, DistantSigner):
            return reports.sign(report, self._signer)
        signing = asyncio.create_task(self._signer.sign_object(report.payload(), Typ.REPORT))
        self._signing[key] = signing
        try:
            await asyncio.wait({signing})
            return None if signing.cancelled() else signing.result()
        finally:
            del self._signing[key]
            signing.cancel()

    async def _submit(self, entry: Entry, report: StoredReport) -> Entry:
        """Until the ledger has it, refuses it for good, or people must look."""
        payload = orjson.dumps({"report": report.compact, "epoch": self._epoch}).decode()
        item = QueueItem(
            item_id="report-" + hashlib.sha256(payload.encode()).hexdigest()[:40],
            function="SubmitReports",
            payload=payload,
            keys=_keys(entry),
            priority=RESULTS,
        )
        refused = ""
        for tries in range(_TRIES):
            if tries:
                await asyncio.sleep(_PAUSE_S * 2**tries)
            outcome = await self._ask(item)
            if isinstance(outcome, str):
                refused = outcome
            elif outcome.code.taken:
                return await self._database.run(
                    partial(outbox.committed, entry=entry, report=report)
                )
            elif outcome.code is Code.LEASE_LOST:
                raise LeaseLostError(outcome.detail)
            elif outcome.code in _NUMBER_WRONG or outcome.code in _FINAL_WORD:
                return await self._refused(entry, report, outcome)
            else:
                refused = f"{outcome.code}: {outcome.detail}"
            _log.warning("a report was refused", extra=_fields(entry, report, refused))
        entry = await self._reject(entry, report, refused)
        if report.telling in _ON_THE_WAY:
            return entry
        return await self._stick(entry, report, refused)

    async def _ask(self, item: QueueItem) -> Outcome | str:
        while True:
            try:
                result = await self._queue.submit(item)
                return Outcome.from_json(result.outcome)
            except QueueFull:
                await asyncio.sleep(_PAUSE_S)
            except ItemRefused as error:
                return error.reason
            except (KeyError, ValueError, TypeError) as error:
                return f"the contract's answer can't be read: {error!r}"

    async def _refused(self, entry: Entry, report: StoredReport, outcome: Outcome) -> Entry:
        """The contract said why, and saying it again would not help."""
        refused = f"{outcome.code}: {outcome.detail}"
        _log.warning("a report was refused", extra=_fields(entry, report, refused))
        entry = await self._reject(entry, report, outcome.code)
        if report.telling in _ON_THE_WAY:
            return entry  # a result follows; nobody needs this any more
        own_end = report.telling is Telling.RESULT and outcome.status == report.status
        resolved = report.telling is Telling.REVERSAL
        if outcome.code is Code.ALREADY_FINAL and (own_end or resolved):
            text = f"the ledger says {outcome.status} by another report"
            return await self._database.run(
                partial(outbox.settle, key=entry.key, phase=Phase.REPORTED, text=text)
            )
        renumbered = sum(
            item.telling is report.telling and item.state == REJECTED for item in entry.reports
        )
        if outcome.code in _NUMBER_WRONG and renumbered < _RENUMBERED:
            # Blocks will tell the right number, if they have not yet.
            await asyncio.sleep(_PAUSE_S * 2**renumbered)
            found = await self._database.run(partial(outbox.find, key=entry.key))
            return found or entry
        return await self._stick(entry, report, refused)

    async def _reject(self, entry: Entry, report: StoredReport, code: str) -> Entry:
        return await self._database.run(
            partial(outbox.rejected, key=entry.key, report=report, code=code)
        )

    async def _stick(self, entry: Entry, report: StoredReport, reason: str) -> Entry:
        _log.error("the ledger does not take a result", extra=_fields(entry, report, reason))
        return await self._database.run(
            partial(outbox.settle, key=entry.key, phase=Phase.STUCK, text=reason)
        )


def _stored(telling: Telling, report: Report, compact: str) -> StoredReport:
    return StoredReport(0, report.sequence, telling, report.status, compact, SIGNED)


def _keys(entry: Entry) -> tuple[str, ...]:
    """The records a report on this entry writes: a refund's moves its payment too."""
    if entry.order.refund_no:
        return (entry.key, payment_key(entry.payment))
    return (entry.key,)


def _fields(entry: Entry, report: StoredReport, reason: str) -> dict[str, object]:
    return {
        "payment": str(entry.payment), "sequence": report.sequence, "telling": report.telling,
        "status": report.status, "reason": reason,
    }  # fmt: skip
