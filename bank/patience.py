"""Waiting for peers that are a block behind: bounded, and only for what is known to be undone.

The checker's call may be endorsed by a peer that has not yet seen the maker's block. Then the
endorsers disagree, or agree that the proposal is not there; both pass within moments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from clearline.codes import Code
from clearline.fabric.errors import CommitError, EndorseError, FabricError
from clearline.fabric.queue_batch import classify_endorse

# What another person's call made, maybe at another bank's peer: one that is behind lacks it. An
# entity or account is its own bank's, whose peer has seen it committed.
NOT_THERE_YET: Final = frozenset({Code.PROPOSAL_UNKNOWN, Code.MERCHANT_UNKNOWN})
_CONFLICTS: Final = frozenset({"MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT"})
_Answer = TypeVar("_Answer")


class Ledger(Protocol):
    """The contract, through one identity: clearline.fabric.contract.Contract is one."""

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        """Endorse, order, wait for the commit; the contract's answer."""

    async def evaluate(self, function: str, *args: str | bytes) -> bytes:
        """Ask one peer; the contract's answer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to ask again, in seconds: `disagreeing` while endorsers disagree, `missing` while
    the contract says that something isn't there; `pause` between two tries."""

    disagreeing: float = 20.0
    missing: float = 3.0
    pause: float = 0.1

    async def until(
        self, good: Callable[[_Answer], bool], ask: Callable[[], Awaitable[_Answer]]
    ) -> _Answer:
        """Ask until the answer is good, or for `missing` seconds: then the last answer."""
        clock = asyncio.get_running_loop().time
        end = clock() + self.missing
        while True:
            answer = await ask()
            if good(answer) or clock() >= end:
                return answer
            await asyncio.sleep(self.pause)


PATIENT: Final = Patience()


class PatientLedger:
    """A ledger whose submissions are endorsed anew while its peers are not level."""

    def __init__(self, ledger: Ledger, patience: Patience = PATIENT) -> None:
        self._ledger = ledger
        self._patience = patience

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        """As the ledger's. Raises FabricError: the last one when the time is over."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._patience.disagreeing
        while True:
            try:
                return await self._ledger.submit(function, *args)
            except (EndorseError, CommitError) as error:
                if not _passes(error) or clock() >= end:
                    raise
            await asyncio.sleep(self._patience.pause)

    async def evaluate(self, function: str, *args: str | bytes) -> bytes:
        """As the ledger's."""
        return await self._ledger.evaluate(function, *args)


def _passes(error: FabricError) -> bool:
    """Whether nothing was applied and only because peers, or two transactions, met at odds."""
    if error.outcome != "not_applied":
        return False
    if isinstance(error, EndorseError):
        return classify_endorse(error) == "mismatch"
    return isinstance(error, CommitError) and error.code_name in _CONFLICTS
