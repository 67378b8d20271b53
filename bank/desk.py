"""What a clerk does at the ledger: propose, decide, look. One typed wrapper around the contract.

Every call takes a list and answers an outcome an item. Proposals carry ids of our own, so that a
call whose end is unknown can simply be made again. What the contract says is not there is asked
for again for a moment: the peers that said so may be behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bank.documents import Draft
from bank.patience import NOT_THERE_YET, PATIENT, Ledger, Patience
from clearline import canonical
from clearline.canonical import CanonicalError, Json
from clearline.codes import Code, Outcome
from clearline.proposals import ATTESTED
from clearline.records import Proposal, from_json

PAGE: Final = 200
AT_ONCE: Final = Patience(missing=0.0)


class DeskError(RuntimeError):
    """The ledger answered what no contract of this network answers."""


class Decision(StrEnum):
    """What a checker says."""

    APPROVE = "approve"
    REJECT = "reject"

    @property
    def status(self) -> str:
        """The proposal's status after it."""
        return "approved" if self is Decision.APPROVE else "rejected"


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one draft that was proposed and approved: the outcome that counts. `done`
    says that the desk has done its part: an attested relation then waits for the supervisor."""

    draft: Draft
    outcome: Outcome
    done: bool


async def propose(maker: Ledger, drafts: Sequence[Draft]) -> list[Outcome]:
    """ProposeRecords. Raises FabricError, DeskError."""
    argument = canonical.dumps([draft.to_json() for draft in drafts])
    return outcomes(await maker.submit("ProposeRecords", argument), len(drafts))


async def decide(
    checker: Ledger,
    proposal_ids: Sequence[str],
    decision: Decision,
    patience: Patience = PATIENT,
) -> list[Outcome]:
    """DecideRecords, the same decision on each, in their order; what is not there yet is asked
    for again. Raises FabricError, DeskError."""
    answered: dict[str, Outcome] = {}

    async def ask() -> list[Outcome]:
        # Only what is missing again: what was taken would now be called a duplicate.
        left = [name for name in proposal_ids if _missing(answered.get(name))]
        items = [{"proposal_id": name, "decision": decision.value} for name in left]
        answer = await checker.submit("DecideRecords", canonical.dumps(items))
        answered.update(zip(left, outcomes(answer, len(left)), strict=True))
        return [answered[name] for name in proposal_ids]

    return await patience.until(lambda answer: not any(map(_missing, answer)), ask)


def _missing(outcome: Outcome | None) -> bool:
    return outcome is None or outcome.code in NOT_THERE_YET


async def apply(
    maker: Ledger, checker: Ledger, drafts: Sequence[Draft], patience: Patience = PATIENT
) -> list[Applied]:
    """Propose and approve records in their order: two transactions, two identities.

    Harmless to repeat: what is approved already counts as done. Raises FabricError, DeskError.
    """
    proposed = await propose(maker, drafts)
    approved = Decision.APPROVE.status
    waiting = [
        draft.proposal_id
        for draft, outcome in zip(drafts, proposed, strict=True)
        if outcome.code.taken and outcome.status != approved
    ]
    answers = await decide(checker, waiting, Decision.APPROVE, patience) if waiting else []
    decided = dict(zip(waiting, answers, strict=True))
    return [
        _applied(draft, decided.get(draft.proposal_id, outcome))
        for draft, outcome in zip(drafts, proposed, strict=True)
    ]


def _applied(draft: Draft, outcome: Outcome) -> Applied:
    # Somebody else may have approved it between our two calls: then it is done as well.
    settled = outcome.code.taken or outcome.code is Code.PROPOSAL_DECIDED
    through = outcome.status in (Decision.APPROVE.status, ATTESTED)
    return Applied(draft, outcome, settled and through)


async def proposals(desk: Ledger, status: str | None) -> list[Proposal]:
    """All proposals, or those of a status (clearline.proposals.STATUSES), by id."""
    found: list[Proposal] = []
    while True:
        after = found[-1].proposal_id if found else None
        query = {"status": status, "start_after": after, "limit": PAGE}
        page = listed(await desk.evaluate("ListProposals", canonical.dumps(query)))
        try:
            found += [from_json(Proposal, item) for item in page]
        except ValueError as error:
            raise DeskError(f"ListProposals answered {error}") from None
        if len(page) < PAGE:
            return found


async def record(desk: Ledger, kind: str, record_id: str, patience: Patience = PATIENT) -> Json:
    """A record as the ledger holds it, None when there is none (also not a moment later)."""
    argument = canonical.dumps([[kind, record_id]])

    async def ask() -> Json:
        answer = listed(await desk.evaluate("GetRecords", argument))
        if len(answer) != 1:
            raise DeskError(f"GetRecords answered {len(answer)} records for one")
        return answer[0]

    return await patience.until(lambda found: found is not None, ask)


def outcomes(answer: bytes, count: int) -> list[Outcome]:
    """The contract's answer about so many items. Raises DeskError."""
    items = listed(answer)
    if len(items) != count:
        raise DeskError(f"the contract answered {len(items)} outcomes for {count} items")
    try:
        return [Outcome.from_json(item) for item in items]
    except (KeyError, ValueError, TypeError) as error:
        raise DeskError(f"the contract answered an outcome of another form: {error}") from None


def listed(answer: bytes) -> list[Json]:
    """The contract's answer as the list it must be. Raises DeskError."""
    try:
        items = canonical.loads(answer)
    except CanonicalError as error:
        raise DeskError(f"the contract answered no JSON: {error}") from None
    if not isinstance(items, list):
        raise DeskError("the contract answered no list")
    return items
