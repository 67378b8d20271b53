"""What names a proposal, for those who make one and those who decide on it: a checker, and the
supervisor who countersigns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OnProposal:
    """An item about a proposal."""

    proposal_id: str

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the proposal."""
        return ("proposal", self.proposal_id)

    @property
    def place(self) -> str:
        """The proposal's ledger key."""
        return f"proposal/{self.proposal_id}"


@dataclass(frozen=True)
class Decision(OnProposal):
    """An item of DecideRecords or of CountersignRelations."""

    decision: str

    @property
    def speaks_of(self) -> tuple[str, ...] | None:
        """Whatever the proposal says: a decision alone does not tell."""
        return None
