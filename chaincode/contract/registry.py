"""ProposeRecords and DecideRecords: administration by a bank's maker and checker.

A maker proposes {"proposal_id", "kind", "body"}; the id is the client's own, so a retry is safe.
The checks, in their order:

     1  form and closed schema of item and body                   malformed
     2  no card number in a name or number: else the whole call   card_data_refused
     3  the keys are public keys this network takes               key_refused
     4  no such proposal yet / the same one                       conflict / duplicate
     5  what only the merchant may ask for: it signed it          chaincode/contract/changes.py

A checker of the same organisation decides {"proposal_id", "decision"}:

     1  form                                 malformed, or card_data_refused for the whole call
     2  the proposal is on the ledger                             proposal_unknown
     3  it is the submitter's organisation's                      role_forbidden
     4  the checker is another person than the maker              same_person
     5  not decided yet / decided so before                       proposal_decided / duplicate
     6  approved: what chaincode/contract/register.py holds       its codes
        (the merchant's signature again: its key may have been revoked since)
        of a relation: chaincode/contract/relations.py; it is attested, and waits for the supervisor

What a proposal refers to is checked when it is approved, on what is on the ledger then, in the
order of the list: one list may register an entity, its account and its merchant. A proposal whose
approval is refused stays open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from chaincode.contract import payees, register, relations
from chaincode.contract.context import Transaction
from chaincode.contract.decision import Refused, Taken, refused
from chaincode.contract.overlay import Overlay
from chaincode.contract.register import Body
from clearline.cards import holds_card_number
from clearline.codes import Code, Outcome, Refusal
from clearline.proposals import ATTESTED, DECISION, PROPOSAL_KINDS, PROPOSALS
from clearline.records import (
    Kind,
    Proposal,
    record_key,
    registration_key,
    touched,
)
from clearline.schema import IDENTIFIER, Members, SchemaError, Shape

PROPOSED, APPROVED, REJECTED = "proposed", "approved", "rejected"
_DECIDED = {"approve": APPROVED, "reject": REJECTED}
# What a proposal can be after a checker has decided so; a relation, the supervisor as well.
_AFTER = {
    "approve": (APPROVED, ATTESTED, relations.REFUSED),
    "reject": (REJECTED,),
}


class _Anything:
    """Takes any value: the body is held against its own schema once its kind is known."""

    def check(self, value: object, pointer: str) -> None:
        """Nothing is refused here."""

    def json_schema(self) -> dict[str, object]:
        """An object of the kind's own schema."""
        return {"type": "object"}


_BODY: Shape = _Anything()
_ITEM = Members({"proposal_id": IDENTIFIER, "kind": PROPOSAL_KINDS, "body": _BODY})
# Digests and public keys are not scanned for card numbers; a signed text is scanned by its fields.
_NOT_SCANNED = ("account_id", "keys", "jwk", "key_id", "change", "document_digest")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A parsed item of ProposeRecords."""

    proposal_id: str
    kind: str
    body: Body


@dataclass(frozen=True, slots=True)
class Verdict:
    """A parsed item of DecideRecords."""

    proposal_id: str
    decision: str


def parse_suggestion(item: object) -> Suggestion:
    """Checks 1 to 3 of a proposal; raises Refusal."""
    members = _checked(_ITEM, item, "")
    kind, body = members["kind"], members["body"]
    _checked(PROPOSALS[kind], body, "/body")
    _scan_id(members)
    for name, value in body.items():
        if name not in _NOT_SCANNED and _holds_card_number(value):
            raise Refusal(Code.CARD_DATA_REFUSED, f"/body/{name}: looks like a card number")
    # Its index key is the number without dots and dashes.
    if kind == "entity" and holds_card_number(
        registration_key(body["country"], body["registration_no"])
    ):
        raise Refusal(Code.CARD_DATA_REFUSED, "/body/registration_no: looks like a card number")
    register.check_form(kind, body)
    relations.check_form(kind, body)
    return Suggestion(members["proposal_id"], kind, body)


def parse_verdict(item: object) -> Verdict:
    """Check 1 of a decision; raises Refusal."""
    members = _checked(DECISION, item, "")
    _scan_id(members)
    return Verdict(members["proposal_id"], members["decision"])


def plan_suggestions(items: tuple[Suggestion | Refused, ...]) -> list[str]:
    """The keys that proposing reads."""
    keys: dict[str, None] = {}
    for item in items:
        if not isinstance(item, Refused):
            keys |= dict.fromkeys((_key(item.proposal_id), *register.touches_signed(item.body)))
    return list(keys)


def plan_verdicts(
    items: tuple[Verdict | Refused, ...], committed: Mapping[str, bytes | None]
) -> list[str]:
    """The keys that deciding reads: the proposals, and once they are read, what they touch."""
    keys: dict[str, None] = {}
    overlay = Overlay(committed)
    for item in items:
        if isinstance(item, Refused):
            continue
        key = _key(item.proposal_id)
        keys[key] = None
        proposal = overlay.get(Proposal, key) if key in committed else None
        if proposal is not None:
            keys |= dict.fromkeys(_touches(proposal.kind, proposal.body, committed))
    return list(keys)


def _touches(kind: str, body: Body, committed: Mapping[str, bytes | None]) -> list[str]:
    if kind in relations.KINDS:
        return relations.touches(body)
    keys = register.touches(kind, body)
    if kind == "merchant_account":
        keys += payees.touches(body["merchant_id"], body["account_id"], committed)
    return keys


def propose(item: Suggestion, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 4 and 5 of a proposal, and the proposal."""
    key = _key(item.proposal_id)
    who = transaction.submitter
    before = overlay.get(Proposal, key)
    if before is not None:
        same = (before.kind, before.body, before.msp_id, before.maker)
        code = (
            Code.DUPLICATE
            if same == (item.kind, item.body, who.msp_id, who.person)
            else Code.CONFLICT
        )
        detail = "" if code is Code.DUPLICATE else "another proposal has this id"
        return Taken(_outcome(code, before, detail, before.txs[0]))
    try:
        change = register.Change(item.kind, item.body, who.msp_id, transaction)
        register.check_signed(change, overlay)
    except Refusal as refusal:
        return Taken(refused(refusal, (Kind.PROPOSAL.value, item.proposal_id)))
    proposal = Proposal(
        proposal_id=item.proposal_id,
        kind=item.kind,
        body=item.body,
        status=PROPOSED,
        msp_id=who.msp_id,
        maker=who.person,
        checker="",
        txs=[transaction.tx_id],
    )
    overlay.put(key, proposal)
    return Taken(_outcome(Code.OK, proposal, "", transaction.tx_id))


def decide(item: Verdict, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 2 to 6 of a decision, and the records when it approves."""
    key = _key(item.proposal_id)
    proposal = overlay.get(Proposal, key)
    approves = item.decision == "approve"
    who = transaction.submitter
    try:
        if proposal is None:
            raise Refusal(Code.PROPOSAL_UNKNOWN, "no such proposal")
        if proposal.msp_id != who.msp_id:
            raise Refusal(Code.ROLE_FORBIDDEN, f"the proposal is {proposal.msp_id}'s")
        if proposal.maker == who.person:
            raise Refusal(Code.SAME_PERSON, "the maker can't decide")
        if proposal.status in _AFTER[item.decision] and proposal.checker == who.person:
            return Taken(_outcome(Code.DUPLICATE, proposal, "", proposal.txs[-1]))
        if proposal.status != PROPOSED:
            raise Refusal(Code.PROPOSAL_DECIDED, f"it was {proposal.status}")
        if approves:
            change = register.Change(proposal.kind, proposal.body, proposal.msp_id, transaction)
            (relations if proposal.kind in relations.KINDS else register).apply(change, overlay)
    except Refusal as refusal:
        state = "" if proposal is None else proposal.status
        return Taken(refused(refusal, (Kind.PROPOSAL.value, item.proposal_id), state))
    attests = approves and proposal.kind == "relation"
    status = ATTESTED if attests else _DECIDED[item.decision]
    decided = replace(proposal, status=status, checker=who.person)
    overlay.put(key, touched(decided, transaction.tx_id))
    return Taken(_outcome(Code.OK, decided, "", transaction.tx_id))


def _key(proposal_id: str) -> str:
    return record_key(Kind.PROPOSAL, proposal_id)


def _outcome(code: Code, proposal: Proposal, detail: str, tx_id: str) -> Outcome:
    key = (Kind.PROPOSAL.value, proposal.proposal_id)
    return Outcome(code, key, proposal.status, detail, tx_id)


def _checked(shape: Shape, value: object, pointer: str) -> Body:
    try:
        shape.check(value, pointer)
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    assert isinstance(value, dict)  # noqa: S101 - the schema has just said so
    return value


def _scan_id(members: Body) -> None:
    if holds_card_number(members["proposal_id"]):
        raise Refusal(Code.CARD_DATA_REFUSED, "/proposal_id: looks like a card number")


def _holds_card_number(value: object) -> bool:
    if isinstance(value, str):
        return holds_card_number(value)
    if isinstance(value, list):
        return any(_holds_card_number(item) for item in value)
    if isinstance(value, dict):
        return any(holds_card_number(name) or _holds_card_number(v) for name, v in value.items())
    return False
