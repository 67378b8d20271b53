"""Where a payment or a refund stands in the outbox, and which step may follow which. Pure.

pending -> sending -> answered -> reported             the ordinary way
sending -> accepted -> answered                        where the payer acts later
sending -> doubtful -> answered | accepted             what can't be proved unsent: inquired,
                                                       reversed; a refund is asked for again
pending -> answered                                    refused, expired or closed, never sent
sending -> pending                                     proved unsent
reported -> late -> undone -> reported                 a success after a reported end, given back
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Final


class Phase(StrEnum):
    """A payment in the outbox."""

    PENDING = "pending"  # stored, nothing sent
    SENDING = "sending"  # about to be written to the socket, or written
    ACCEPTED = "accepted"  # at the acquirer, waiting for the payer
    DOUBTFUL = "doubtful"  # may have been charged: being inquired or reversed
    ANSWERED = "answered"  # the end is stored, not yet on the ledger
    REPORTED = "reported"  # the result is committed
    LATE = "late"  # paid after a reported end without success: to be given back
    UNDONE = "undone"  # given back, the reversal not yet on the ledger
    STUCK = "stuck"  # the ledger refuses a report: people must look


# DOUBTFUL from almost everywhere: after a takeover, or by what the ledger shows of an earlier self
# whose outbox was lost. REPORTED from almost everywhere: the ledger shows the end.
FOLLOWERS: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.PENDING: frozenset({Phase.SENDING, Phase.ANSWERED, Phase.DOUBTFUL, Phase.REPORTED}),
    Phase.SENDING: frozenset(
        {Phase.PENDING, Phase.ACCEPTED, Phase.DOUBTFUL, Phase.ANSWERED, Phase.REPORTED}
    ),
    Phase.ACCEPTED: frozenset({Phase.ANSWERED, Phase.REPORTED}),
    Phase.DOUBTFUL: frozenset({Phase.ANSWERED, Phase.ACCEPTED, Phase.REPORTED}),
    Phase.ANSWERED: frozenset({Phase.REPORTED, Phase.STUCK, Phase.DOUBTFUL}),
    Phase.STUCK: frozenset(
        {Phase.ANSWERED, Phase.REPORTED, Phase.DOUBTFUL, Phase.LATE, Phase.UNDONE}
    ),
    Phase.REPORTED: frozenset({Phase.LATE}),
    Phase.LATE: frozenset({Phase.UNDONE, Phase.REPORTED, Phase.STUCK}),
    Phase.UNDONE: frozenset({Phase.REPORTED, Phase.STUCK}),
}


class IllegalStepError(Exception):
    """A step that the table does not have; nothing was stored."""


@cache
def sources(after: Phase) -> tuple[Phase, ...]:
    """The phases from which `after` can be reached."""
    return tuple(phase for phase, followers in FOLLOWERS.items() if after in followers)
