"""The auditor's model of leases: which epoch of an acquirer's connectors is in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit import cards, forms
from audit.draft import Draft, Outcome, Record, Refused
from audit.findings import Check
from clearline.codes import Code


@dataclass(frozen=True)
class Takeover:
    """An item of TakeLease."""

    acquirer_id: str
    epoch: int
    holder: str

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the lease."""
        return ("lease", self.acquirer_id)

    @property
    def place(self) -> str:
        """The lease's ledger key."""
        return f"lease/{self.acquirer_id}"

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The one record it can make or change."""
        return (self.place,)


def parse(item: Any) -> Takeover:
    """Form and cards. Raises Refused."""
    fault = forms.LEASE_ITEM.fault(item)
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)
    for name in ("acquirer_id", "holder"):
        if cards.held(item[name]):
            raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, f"{name} looks like a card")
    return Takeover(**item)


def decide(wanted: Takeover, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    acquirer = draft.get(f"acquirer/{wanted.acquirer_id}")
    if acquirer is None:
        raise Refused(Code.ACQUIRER_UNKNOWN, Check.LEASE, "there is no such acquirer")
    if acquirer["msp_id"] != draft.invocation.submitter.msp_id:
        raise Refused(Code.ROLE_FORBIDDEN, Check.LEASE, f"the acquirer is {acquirer['msp_id']}'s")
    before, tx_id = draft.get(wanted.place), draft.invocation.tx_id
    if before is not None and [before[n] for n in ("epoch", "holder")] == [
        wanted.epoch,
        wanted.holder,
    ]:
        return Outcome(
            Code.DUPLICATE, Check.LEASE, wanted.name, before["holder"], before["txs"][-1],
            "it is held so already", wanted.speaks_of,
        )  # fmt: skip
    due = epoch_of(before) + 1
    if wanted.epoch != due:
        raise Refused(Code.LEASE_TAKEN, Check.LEASE, f"epoch {wanted.epoch} where {due} is due")
    draft.made[wanted.place] = {
        "type": "lease",
        "acquirer_id": wanted.acquirer_id,
        "epoch": wanted.epoch,
        "holder": wanted.holder,
        "msp_id": acquirer["msp_id"],
        "txs": [*(before["txs"] if before else []), tx_id],
    }
    return Outcome(Code.OK, Check.OUTCOME, wanted.name, wanted.holder, tx_id)


def epoch_of(lease: Record | None) -> int:
    """The epoch in force, 0 before the first lease."""
    return 0 if lease is None else int(lease["epoch"])
