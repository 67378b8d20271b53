"""The auditor's model of checkpoints, and whether what they state is so.

That a checkpoint is right no rule of the contract can say, since it sees no blocks: a wrong one is
taken, stays, and is named here beside whatever else was verified (docs/audit.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit.draft import Draft, Outcome, Record, Refused
from audit.findings import Check, Finding
from audit.history import History
from audit.rules import check_supervisor
from audit.supervision_forms import CHECKPOINT
from clearline.codes import Code


@dataclass(frozen=True)
class Stated:
    """An item of SubmitCheckpoints."""

    said: Record

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the checkpoint."""
        return ("checkpoint", self.said["block"])

    @property
    def place(self) -> str:
        """Its ledger key."""
        return f"checkpoint/{self.said['block']:010d}"

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The one record it can make."""
        return (self.place,)


def parse(item: Any) -> Stated:
    """Form. Raises Refused."""
    fault = CHECKPOINT.fault(item)
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)
    return Stated(item)


def decide(item: Stated, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    check_supervisor(draft)
    before = draft.get(item.place)
    if before is not None:
        names = ("header_hash", "state_digest")
        if any(before[name] != item.said[name] for name in names):
            raise Refused(Code.CONFLICT, Check.RECORD, "another checkpoint of the block was taken")
        return Outcome(
            Code.DUPLICATE, Check.RECORD, item.name, "", before["txs"][0],
            "it is on the ledger already", item.speaks_of,
        )  # fmt: skip
    tx_id = draft.invocation.tx_id
    draft.made[item.place] = {
        **item.said,
        "type": "checkpoint",
        "msp_id": draft.invocation.submitter.msp_id,
        "txs": [tx_id],
    }
    return Outcome(Code.OK, Check.OUTCOME, item.name, "", tx_id)


class Checkpoints:
    """The checkpoints that were met, held against the auditor's own derivation. `checked` are the
    blocks of those that are right, `earlier` of those from before verification began."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.checked: list[int] = []
        self.earlier: list[int] = []
        self.wrong: list[Finding] = []

    def meet(self, record: Record, block: int, index: int) -> None:
        """A checkpoint was taken by this transaction of this block."""
        of, first = record["block"], self._history.first
        if of < first:
            self.earlier.append(of)
            return
        fault = self._fault(record, block)
        if fault is None:
            self.checked.append(of)
        else:
            self.wrong.append(Finding(block, index, record["txs"][0], Check.CHECKPOINT, fault))

    def _fault(self, record: Record, block: int) -> str | None:
        of = record["block"]
        if of >= block:
            return f"it is of block {of}, which is not before it"
        if record["header_hash"] != self._history.header_hash(of):
            return f"the header of block {of} has another hash"
        digest = self._history.digest(of)
        if record["state_digest"] != digest:
            return f"the state after block {of} has the digest {digest}"
        return None
