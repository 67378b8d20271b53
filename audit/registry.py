"""The auditor's model of who is registered: proposals of makers, decisions of checkers.

A record is right when it is exactly what an approved proposal says; nothing else may make one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from audit import cards, forms, relations
from audit.changes import read_change
from audit.decisions import Decision, OnProposal
from audit.draft import Draft, Outcome, Record, Refused
from audit.findings import Check
from audit.keys import key_record, key_records
from audit.register import carry_out, check_signed, registration
from clearline.codes import Code

KINDS: Final = (
    *("entity", "account", "merchant", "merchant_code", "acquirer", "proposal", "registration"),
    "relation",
)
_DECIDED: Final = {"approve": "approved", "reject": "rejected"}
# What a proposal that a checker approved can be: a relation waits for the supervisor.
_APPROVED: Final = ("approved", "attested", "refused")


class Registry:
    """A view of the ledger: entities, accounts, merchants, codes, acquirers, proposals."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._records = records

    def get(self, kind: str, record_id: str) -> Record | None:
        """A record by its kind and id."""
        return self._records.get(f"{kind}/{record_id}")

    def counts(self) -> dict[str, int]:
        """Records by kind."""
        found: dict[str, int] = {}
        for key in self._records:
            kind = key.split("/", 1)[0]
            if kind in KINDS:
                found[kind] = found.get(kind, 0) + 1
        return found


@dataclass(frozen=True)
class Suggestion(OnProposal):
    """An item of ProposeRecords."""

    kind: str
    body: Record

    @property
    def speaks_of(self) -> tuple[str, ...] | None:
        """The one record it can make."""
        return (self.place,)


def parse_suggestion(item: Any) -> Suggestion:
    """Form, cards and keys of a proposal. Raises Refused."""
    _check(forms.PROPOSAL_ITEM.fault(item))
    kind, body = item["kind"], item["body"]
    _check(forms.BODIES[kind].fault(body))
    _scan("proposal_id", item["proposal_id"])
    for name, value in body.items():
        if name not in forms.BODY_NOT_SCANNED:
            _scan(name, value)
    if kind == "entity":
        _scan("registration_no", registration(body))
    _check_keys(kind, body)
    if kind == "relation" and (odd := relations.odd(body)) is not None:
        _check(odd)
    for codes in body.get("codes", {}).values():
        if len(set(codes)) < len(codes):
            _check("a code is named twice")
    return Suggestion(item["proposal_id"], kind, body)


def _check_keys(kind: str, body: Record) -> None:
    if "keys" in body:
        key_records(body["keys"])
    if "action" in body:
        # What a merchant signed holds its new key; an acquirer's stands bare.
        name = "change" if kind == "merchant_key" else "jwk"
        if (name in body) is not (body["action"] == "add"):
            _check(f"a {name} goes with the key's addition, and only with it")
        if "jwk" in body and key_record(body["jwk"])[0] != body["key_id"]:
            raise Refused(Code.KEY_REFUSED, Check.KEY, "the key's id is not its thumbprint")
    if "change" in body:
        read_change(kind, body)


def parse_verdict(item: Any) -> Decision:
    """Form of a decision. Raises Refused."""
    _check(forms.DECISION_ITEM.fault(item))
    _scan("proposal_id", item["proposal_id"])
    return Decision(item["proposal_id"], item["decision"])


def propose(item: Suggestion, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    before, who = draft.get(item.place), draft.invocation.submitter
    if before is not None:
        same = [before[name] for name in ("kind", "body", "msp_id", "maker")] == [
            *(item.kind, item.body, who.msp_id, who.person)
        ]
        code = Code.DUPLICATE if same else Code.CONFLICT
        why, first = "a proposal has this id already", before["txs"][0]
        status = before["status"]
        return Outcome(code, Check.RECORD, item.name, status, first, why, item.speaks_of)
    check_signed(item.kind, item.body, who.msp_id, draft)
    tx_id = draft.invocation.tx_id
    draft.made[item.place] = {
        "type": "proposal",
        "proposal_id": item.proposal_id,
        "kind": item.kind,
        "body": item.body,
        "status": "proposed",
        "msp_id": who.msp_id,
        "maker": who.person,
        "checker": "",
        "txs": [tx_id],
    }
    return Outcome(Code.OK, Check.OUTCOME, item.name, "proposed", tx_id)


def decide(item: Decision, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    proposal, who = draft.get(item.place), draft.invocation.submitter
    status = _DECIDED[item.decision]
    if proposal is None:
        raise Refused(Code.PROPOSAL_UNKNOWN, Check.MAKER_CHECKER, "decided without being proposed")
    if proposal["msp_id"] != who.msp_id:
        raise Refused(Code.ROLE_FORBIDDEN, Check.MAKER_CHECKER, "decided by another organisation")
    if proposal["maker"] == who.person:
        raise Refused(Code.SAME_PERSON, Check.MAKER_CHECKER, "decided by its maker")
    so = _APPROVED if item.decision == "approve" else ("rejected",)
    if proposal["status"] in so and proposal["checker"] == who.person:
        again, last = "it was decided so before", proposal["txs"][-1]
        return Outcome(
            Code.DUPLICATE, Check.MAKER_CHECKER, item.name, proposal["status"], last, again
        )
    if proposal["status"] != "proposed":
        raise Refused(
            Code.PROPOSAL_DECIDED, Check.MAKER_CHECKER, f"it was {proposal['status']} before"
        )
    if status == "approved":
        carry_out(proposal, draft)
        status = "attested" if proposal["kind"] == "relation" else status
    draft.made[item.place] = draft.touched(proposal, status=status, checker=who.person)
    return Outcome(Code.OK, Check.OUTCOME, item.name, status, draft.invocation.tx_id)


def _check(fault: str | None) -> None:
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)


def _scan(name: str, value: Any) -> None:
    """Texts of a value of a body; member names of an object are texts too."""
    inside = [value]
    if isinstance(value, list):
        inside = value
    elif isinstance(value, dict):
        inside = [*value, *value.values()]
    for one in inside:
        if isinstance(one, list):
            _scan(name, one)
        elif isinstance(one, str) and cards.held(one):
            raise Refused(
                Code.CARD_DATA_REFUSED, Check.CARD_DATA, f"{name} looks like a card number"
            )
