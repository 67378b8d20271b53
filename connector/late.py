"""A success after a reported end: it is told, given back, and that is told too.

The status that was reported stays; the ledger keeps an open exception until the reversal is there.
A success for anything but what was asked is told as the acquirer says it was, with the reason
`invalid_amount`. Only one of which nobody says how much it was is given back without being told,
for the bank signs nothing that it does not know: the outbox keeps a note of it for people.
"""

from __future__ import annotations

import asyncio
from typing import Final

from clearline.logs import get_logger
from clearline.statuses import Reason
from connector.adapter import Adapter, Answer, Capability, NoAnswerError, NotSentError, Verdict
from connector.entries import Entry
from connector.settler import Settler
from connector.states import IllegalStepError, Phase
from connector.tasks import Tasks

_log = get_logger("connector.late")
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0


class LateSuccesses:
    """`consider` what the acquirer says of a payment that has ended without success."""

    def __init__(self, settler: Settler, adapter: Adapter, tasks: Tasks) -> None:
        self._settler = settler
        self._adapter = adapter
        self._tasks = tasks

    async def consider(self, entry: Entry, answer: Answer) -> bool:
        """Whether it is dealt with and on stable storage. The acquirer is asked where it can be: a
        notice may be older than the end."""
        try:
            if self._settler.can(Capability.INQUIRY):
                answer = await self._settler.inquire(entry)
            other = answer.verdict is Verdict.UNSURE and answer.reason is Reason.INVALID_AMOUNT
            if answer.verdict is not Verdict.APPROVED and not other:
                return True
            entry = await self._settler.late_success(entry, answer)
        except (NotSentError, NoAnswerError):
            return False
        except IllegalStepError as error:
            _log.info("known already", extra={"reason": str(error)})
            return True
        _log.error("paid after its end: to be given back", extra={"payment": str(entry.payment)})
        self.resume(entry)
        return True

    def resume(self, entry: Entry) -> None:
        """Give a late success back, until the acquirer says it has."""
        self._settler.wake(entry)
        self._tasks.spawn(self._give_back(entry))

    async def _give_back(self, entry: Entry) -> None:
        if not self._settler.can(Capability.REVERSAL):
            _log.error("this acquirer has no reversal", extra={"payment": str(entry.payment)})
            return
        pause = _SHORTEST_PAUSE
        while True:
            await self._adapter.ready()
            try:
                answer = await self._settler.undo(entry, Phase.LATE)
                if answer.verdict is Verdict.REVERSED:
                    await self._settler.undone(entry, answer)
                    return
                _log.error("not given back", extra={"payment": str(entry.payment)})
            except (NotSentError, NoAnswerError) as error:
                _log.info("not given back yet", extra={"payment": str(entry.payment),
                                                       "reason": str(error)})  # fmt: skip
            except IllegalStepError as error:
                _log.info("given back already", extra={"reason": str(error)})
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
