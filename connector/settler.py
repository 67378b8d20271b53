"""What the acquirer said becomes what the outbox holds: ends, acceptances, reversals.

Every answer is stored before anything else is done with it, and with it the report that says so,
signed; then the reporter is woken.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from clearline import times
from clearline.logs import get_logger
from clearline.statuses import Reason, Status
from connector import outbox
from connector.adapter import Adapter, Answer, Capability, Verdict
from connector.database import Database
from connector.entries import Ending, Entry, Said, Telling, ending_of, other_ending, response_of
from connector.reporter import Reporter
from connector.states import Phase

_log = get_logger("connector.settler")
_SALT_BYTES: Final = 16


class Settler:
    """Shared by all who talk to the acquirer; uses only what its adapter declares."""

    def __init__(self, database: Database, adapter: Adapter, reporter: Reporter) -> None:
        self._database = database
        self._adapter = adapter
        self._reporter = reporter

    def can(self, capability: Capability) -> bool:
        """Whether the acquirer can do this."""
        return capability in self._adapter.capabilities

    def wake(self, entry: Entry) -> None:
        """Something about it is to be reported."""
        self._reporter.wake(entry)

    async def find(self, key: str) -> Entry | None:
        """The entry as it is now."""
        return await self._database.run(partial(outbox.find, key=key))

    async def end(self, entry: Entry, ending: Ending, answer: Answer) -> None:
        """Store an end. Raises IllegalStepError when it has another already."""
        said = _said(ending, answer)
        after = _saying(entry, Phase.ANSWERED, Telling.RESULT, said)
        await self._advance(entry, after, partial(outbox.answered, key=entry.key, said=said))

    async def end_unsent(self, entry: Entry, ending: Ending) -> None:
        """Store an end of what was never sent. Raises IllegalStepError when that is not certain."""
        said = Said(ending)
        after = _saying(entry, Phase.ANSWERED, Telling.RESULT, said)
        await self._advance(entry, after, partial(outbox.ended_unsent, key=entry.key, said=said))

    async def accept(self, entry: Entry, answer: Answer) -> Entry:
        """Store that it waits for its payer."""
        said = entry.said.get(Telling.RESPONSE, _said(response_of(answer, times.now()), answer))
        after = _saying(entry, Phase.ACCEPTED, Telling.RESPONSE, said)
        step = partial(outbox.accepted, key=entry.key, said=said)
        return await self._advance(entry, after, step)

    async def doubt(self, entry: Entry, reason: Reason) -> Entry:
        """Store that it may have been charged."""
        _log.warning("in doubt", extra={"payment": str(entry.payment), "reason": reason})
        after = replace(entry, phase=Phase.DOUBTFUL, doubt=reason)
        step = partial(outbox.doubt, key=entry.key, reason=reason)
        return await self._advance(entry, after, step)

    async def late_success(self, entry: Entry, answer: Answer) -> Entry:
        """Store a success after the end: what was asked, or something else (UNSURE)."""
        now = times.now()
        other = answer.verdict is Verdict.UNSURE
        ending = other_ending(answer, now) if other else ending_of(answer, now)
        if ending is None:
            return await self._late_untold(entry, answer)
        said = _said(ending, answer)
        after = _saying(entry, Phase.LATE, Telling.LATE, said)
        step = partial(outbox.late_success, key=entry.key, said=said)
        return await self._advance(entry, after, step)

    async def _late_untold(self, entry: Entry, answer: Answer) -> Entry:
        """Store that something was paid after the end, nobody says how much: nothing can be signed
        of it, it is only to be given back."""
        text = f"paid after its end, not as asked: {answer.amount} {answer.currency}"
        return await self._database.run(partial(outbox.late_other, key=entry.key, text=text))

    async def undone(self, entry: Entry, answer: Answer) -> None:
        """Store that a late success was given back; the status that was reported stands."""
        if Telling.LATE not in entry.said and not entry.excepted:
            await self._database.run(partial(outbox.other_undone, key=entry.key))
            return
        status = Status(entry.ended_as)
        now = times.now()
        ending = Ending(status, Reason.REVERSED, answered_at=now, ended_at=now)
        late = entry.said.get(Telling.LATE)
        if late is not None:
            ending = replace(ending, amount=late.ending.amount, currency=late.ending.currency)
        said = _said(ending, answer)
        after = _saying(entry, Phase.UNDONE, Telling.REVERSAL, said)
        await self._advance(entry, after, partial(outbox.undone, key=entry.key, said=said))

    async def inquire(self, entry: Entry) -> Answer:
        """What became of it. Raises NotSentError, NoAnswerError."""
        if entry.order.refund_no:
            return await self._adapter.inquire_refund(entry.order, entry.trace)
        return await self._adapter.inquire(entry.order, entry.trace)

    def inquires(self, entry: Entry) -> bool:
        """Whether the acquirer can be asked what became of it."""
        refund = entry.order.refund_no
        return self.can(Capability.REFUND_INQUIRY if refund else Capability.INQUIRY)

    async def repeat_refund(self, entry: Entry) -> Answer:
        """Ask again for a refund in doubt: under its reference it is carried out once, and the
        answer is that of the first request. Raises as `undo`."""
        begin = partial(outbox.begin_try, key=entry.key, phase=Phase.DOUBTFUL)
        entry = await self._database.run(begin)
        return await self._adapter.refund(entry.order, entry.trace, entry.tries)

    async def undo(self, entry: Entry, phase: Phase) -> Answer:
        """Give back what was paid and let nothing more be paid: a reversal, or a close where there
        is no reversal. Raises NotSentError, NoAnswerError, IllegalStepError when the entry is not
        in `phase` any more."""
        entry = await self._database.run(partial(outbox.begin_try, key=entry.key, phase=phase))
        if self.can(Capability.REVERSAL):
            return await self._adapter.reverse(entry.order, entry.trace, entry.tries - 1)
        if self.can(Capability.CLOSE):
            return await self._adapter.close(entry.order, entry.trace)
        return Answer(Verdict.UNSURE, Reason.OTHER, b"")

    async def close(self, entry: Entry) -> Answer:
        """Let nobody pay it any more; where the acquirer can't close, undo it, unless it can be
        asked and says that it was paid. Raises as `undo`."""
        if self.can(Capability.CLOSE):
            answer = await self._adapter.close(entry.order, entry.trace)
            if answer.verdict is not Verdict.UNSURE:
                return answer
        elif self.can(Capability.INQUIRY):
            answer = await self.inquire(entry)
            if answer.verdict not in (Verdict.UNSURE, Verdict.ACCEPTED):
                return answer
        return await self.undo(entry, entry.phase)

    async def _advance(
        self, before: Entry, after: Entry, step: Callable[[sqlite3.Connection], None]
    ) -> Entry:
        """Store a step and the report it makes due, in one write; then have it reported."""
        report = self._reporter.sign(after)
        entry = await self._database.run(
            partial(outbox.advance, taken=step, before=before, after=after, report=report)
        )
        self._reporter.wake(entry)
        return entry


def _saying(entry: Entry, phase: Phase, telling: Telling, said: Said) -> Entry:
    return replace(entry, phase=phase, said={**entry.said, telling: said})


def _said(ending: Ending, answer: Answer) -> Said:
    if not answer.native:
        return Said(ending)
    return Said(ending, answer.native, secrets.token_bytes(_SALT_BYTES))
