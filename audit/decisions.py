"""A decision on a proposal, as a checker and a countersigning supervisor make it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """An item of DecideRecords or of CountersignRelations."""

    proposal_id: str
    decision: str

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the proposal."""
        return ("proposal", self.proposal_id)

    @property
    def place(self) -> str:
        """The proposal's ledger key."""
        return f"proposal/{self.proposal_id}"

    @property
    def speaks_of(self) -> tuple[str, ...] | None:
        """Whatever the proposal says: a decision alone does not tell."""
        return None
