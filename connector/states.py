"""Where a payment stands in the outbox, and which step may follow which. Pure.

pending -> sending -> answered -> reported        the ordinary way
sending -> doubtful -> answered                   what can't be proved unsent
pending -> answered                               refused or expired, never sent
sending -> pending                                proved unsent
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """A payment in the outbox."""

    PENDING = "pending"  # stored, nothing sent
    SENDING = "sending"  # about to be written to the socket, or written
    DOUBTFUL = "doubtful"  # may have been charged: being inquired or reversed
    ANSWERED = "answered"  # the end is stored, not yet on the ledger
    REPORTED = "reported"  # the result is committed
    STUCK = "stuck"  # the ledger refuses the result: people must look


FOLLOWERS: Final[dict[Phase, frozenset[Phase]]] = {
    # DOUBTFUL and REPORTED: what the ledger shows of an earlier self whose outbox was lost.
    Phase.PENDING: frozenset({Phase.SENDING, Phase.ANSWERED, Phase.DOUBTFUL, Phase.REPORTED}),
    Phase.SENDING: frozenset({Phase.PENDING, Phase.DOUBTFUL, Phase.ANSWERED}),
    Phase.DOUBTFUL: frozenset({Phase.ANSWERED}),
    Phase.ANSWERED: frozenset({Phase.REPORTED, Phase.STUCK}),
    Phase.STUCK: frozenset({Phase.ANSWERED, Phase.REPORTED}),
    Phase.REPORTED: frozenset(),
}


class IllegalStepError(Exception):
    """A step that the table does not have; nothing was stored."""


def sources(after: Phase) -> tuple[Phase, ...]:
    """The phases from which `after` can be reached."""
    return tuple(phase for phase, followers in FOLLOWERS.items() if after in followers)
