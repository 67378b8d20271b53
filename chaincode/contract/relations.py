"""Relations: attested by the account's bank, countersigned and ended by the supervisor.

A bank's maker proposes a `relation`, its checker approves it as any record
(chaincode/contract/registry.py); that attests it, and writes nothing yet. Held then, and again when
it is countersigned:

     a  it is no relation of the supervisor's organisation        role_forbidden
     b  both entities are registered                              entity_unknown
     c  the account is registered, and its owner's                account_unknown
     d  ... and attested by the proposing organisation            role_forbidden
     e  its first day is later than the transaction's             change_too_late
     f  ... and than the last day of the term before              record_exists
     g  32 terms at most                                          record_full

CountersignRelations, by the role `supervisor`: {"proposal_id", "decision": approve|reject}

     1  form                                 malformed, or card_data_refused for the whole call
     2  the submitter is of the supervisor's organisation         role_forbidden
     3  the proposal is on the ledger                             proposal_unknown
     4  it proposes a relation                                    role_forbidden
     5  countersigned so before                                   duplicate
     6  a bank's checker attested it / neither side refused it    not_attested / proposal_decided
     7  approved: checks a to g
        otherwise the relation has a further term, or is refused  ok

A `relation_end` is proposed and approved by the bank and holds at its approval. EndRelations is the
supervisor's own: {"account_id", "entity_id", "until"}. `until` is the new last day.

     1  form                                 malformed, or card_data_refused for the whole call
     2  the submitter is of the supervisor's organisation         role_forbidden
     3  the relation is on the ledger                             relation_unknown
     4  a bank's: the relation is its own                         role_forbidden
     5  the supervisor ended it on this day before                duplicate
     6  a bank's: its last day is the transaction's, or later     change_too_late
     7  a term goes beyond that day                               relation_not_in_force
        otherwise its terms go to that day                        ok

So no bank by itself lets one entity be settled to another's account, whatever its maker and checker
agree on; and the supervisor stops it alone, for days gone by as well (docs/adr/0018). What a
relation allows is in chaincode/contract/payees.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chaincode.contract.context import SUPERVISOR_MSP, Submitter, Transaction
from chaincode.contract.decision import Refused, Taken, refused
from chaincode.contract.overlay import Overlay
from chaincode.contract.register import Body, Change
from clearline import relations
from clearline.cards import holds_card_number
from clearline.codes import Code, Outcome, Refusal
from clearline.proposals import ATTESTED, DECISION
from clearline.records import Account, Entity, Kind, Proposal, record_key, touched
from clearline.relations import RELATION_END, Relation, Standing, relation_id, relation_key
from clearline.schema import Members, SchemaError

KINDS = ("relation", "relation_end")
APPROVED, REFUSED = "approved", "refused"
_COUNTERSIGNED = {"approve": APPROVED, "reject": REFUSED}
MAX_TERMS = 32  # so that a record stays small


@dataclass(frozen=True, slots=True)
class Countersign:
    """A parsed item of CountersignRelations."""

    proposal_id: str
    decision: str

    @property
    def key(self) -> str:
        """The proposal's ledger key."""
        return record_key(Kind.PROPOSAL, self.proposal_id)


@dataclass(frozen=True, slots=True)
class End:
    """A parsed item of EndRelations."""

    account_id: str
    entity_id: str
    until: str

    @property
    def key(self) -> str:
        """The relation's ledger key."""
        return relation_key(self.account_id, self.entity_id)


def check_form(kind: str, body: Body) -> None:
    """What can be said of a body without the ledger; raises Refusal."""
    found = relations.fault(body) if kind == "relation" else ""
    if found:
        raise Refusal(Code.MALFORMED, found)


def touches(body: Body) -> list[str]:
    """The keys that approving and countersigning this read; they write no others."""
    entities = [body[name] for name in ("owner_id", "entity_id") if name in body]
    return [
        *(record_key(Kind.ENTITY, one) for one in entities),
        record_key(Kind.ACCOUNT, body["account_id"]),
        relation_key(body["account_id"], body["entity_id"]),
    ]


def apply(change: Change, overlay: Overlay) -> None:
    """What a checker's approval of one of KINDS does; raises Refusal, and then nothing is
    written."""
    if change.kind == "relation":
        _check_term(change, overlay)
    else:
        _end_by_bank(change, overlay)


def parse_countersign(item: object) -> Countersign:
    """Check 1 of CountersignRelations; raises Refusal."""
    members = _checked(DECISION, item)
    _scan("proposal_id", members)
    return Countersign(**members)


def parse_end(item: object) -> End:
    """Check 1 of EndRelations; raises Refusal."""
    members = _checked(RELATION_END, item)
    _scan("entity_id", members)
    return End(**members)


def plan_countersigns(
    items: tuple[Countersign | Refused, ...], committed: Mapping[str, bytes | None]
) -> list[str]:
    """The keys that countersigning reads: the proposals, and once they are read, what they
    touch."""
    keys: dict[str, None] = {}
    overlay = Overlay(committed)
    for item in items:
        if isinstance(item, Refused):
            continue
        keys[item.key] = None
        proposal = overlay.get(Proposal, item.key) if item.key in committed else None
        if proposal is not None and proposal.kind == "relation":
            keys |= dict.fromkeys(touches(proposal.body))
    return list(keys)


def plan_ends(items: tuple[End | Refused, ...]) -> list[str]:
    """The keys that ending reads."""
    return list(dict.fromkeys(item.key for item in items if not isinstance(item, Refused)))


def countersign(item: Countersign, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 2 to 7 of CountersignRelations, and the relation when it is approved."""
    name = (Kind.PROPOSAL.value, item.proposal_id)
    proposal = overlay.get(Proposal, item.key)
    status = _COUNTERSIGNED[item.decision]
    try:
        _require_supervisor(transaction.submitter)
        if proposal is None:
            raise Refusal(Code.PROPOSAL_UNKNOWN, "no such proposal")
        if proposal.kind != "relation":
            raise Refusal(Code.ROLE_FORBIDDEN, "only relations are the supervisor's to countersign")
        if proposal.status == status:
            return Taken(Outcome(Code.DUPLICATE, name, status, tx_id=proposal.txs[-1]))
        if proposal.status == "proposed":
            raise Refusal(Code.NOT_ATTESTED, "the bank's checker has not decided it")
        if proposal.status != ATTESTED:
            raise Refusal(Code.PROPOSAL_DECIDED, f"it was {proposal.status}")
        if status == APPROVED:
            _begin(Change("relation", proposal.body, proposal.msp_id, transaction), overlay)
    except Refusal as refusal:
        return Taken(refused(refusal, name, "" if proposal is None else proposal.status))
    overlay.put(item.key, touched(replace(proposal, status=status), transaction.tx_id))
    return Taken(Outcome(Code.OK, name, status, tx_id=transaction.tx_id))


def end(item: End, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 2 to 7 of EndRelations, and the relation's new end."""
    name = (Kind.RELATION.value, relation_id(item.account_id, item.entity_id))
    relation = overlay.get(Relation, item.key)
    try:
        _require_supervisor(transaction.submitter)
        if relation is None:
            raise Refusal(Code.RELATION_UNKNOWN, "no such relation")
        first = _ended_before(item.until, relation)
        if first:
            return Taken(Outcome(Code.DUPLICATE, name, relation.status, tx_id=first))
        overlay.put(item.key, _ended(relation, item.until, transaction))
    except Refusal as refusal:
        return Taken(refused(refusal, name, "" if relation is None else relation.status))
    return Taken(Outcome(Code.OK, name, Standing.ENDED.value, tx_id=transaction.tx_id))


def _require_supervisor(who: Submitter) -> None:
    if who.msp_id != SUPERVISOR_MSP:
        raise Refusal(Code.ROLE_FORBIDDEN, f"{who.msp_id} is not the supervisor's organisation")


def _check_term(change: Change, overlay: Overlay) -> Relation | None:
    """Checks a to g: the relation as it is before this term; raises Refusal."""
    body = change.body
    # Else it would attest, and countersign what it attested.
    if change.msp_id == SUPERVISOR_MSP:
        raise Refusal(Code.ROLE_FORBIDDEN, "the supervisor's organisation attests no relation")
    for entity_id in (body["owner_id"], body["entity_id"]):
        if overlay.get(Entity, record_key(Kind.ENTITY, entity_id)) is None:
            raise Refusal(Code.ENTITY_UNKNOWN, f"no entity {entity_id}")
    account = overlay.get(Account, record_key(Kind.ACCOUNT, body["account_id"]))
    if account is None or account.entity_id != body["owner_id"]:
        raise Refusal(Code.ACCOUNT_UNKNOWN, f"no such account of entity {body['owner_id']}")
    # Whose the account is, and on whose behalf money may come in there, only its bank knows.
    if account.msp_id != change.msp_id:
        raise Refusal(Code.ROLE_FORBIDDEN, f"the account is attested by {account.msp_id}")
    if body["since"] <= change.at.day:
        raise Refusal(Code.CHANGE_TOO_LATE, f"it was to hold from {body['since']}")
    before = overlay.get(Relation, relation_key(body["account_id"], body["entity_id"]))
    if before is not None and body["since"] <= before.terms[-1]["until"]:
        raise Refusal(Code.RECORD_EXISTS, f"a term goes to {before.terms[-1]['until']}")
    if before is not None and len(before.terms) >= MAX_TERMS:
        raise Refusal(Code.RECORD_FULL, f"a relation has at most {MAX_TERMS} terms")
    return before


def _begin(change: Change, overlay: Overlay) -> None:
    """Write the relation with this term as its last."""
    before = _check_term(change, overlay)
    body = change.body
    term = {name: body[name] for name in ("relationship", "since", "until", "document_digest")} | {
        "licence_no": body.get("licence_no", ""),
        "tx_id": change.at.tx_id,
        "ended_on": "",
        "ended_by": "",
        "ended_tx": "",
    }
    relation = Relation(
        account_id=body["account_id"],
        owner_id=body["owner_id"],
        entity_id=body["entity_id"],
        msp_id=change.msp_id,
        status=Standing.ACTIVE.value,
        terms=[*([] if before is None else before.terms), term],
        txs=[] if before is None else before.txs,
    )
    key = relation_key(relation.account_id, relation.entity_id)
    overlay.put(key, touched(relation, change.at.tx_id))


def _end_by_bank(change: Change, overlay: Overlay) -> None:
    """Checks 3, 4, 6 and 7 of a bank's `relation_end`, and the relation's new end."""
    body = change.body
    key = relation_key(body["account_id"], body["entity_id"])
    relation = overlay.get(Relation, key)
    if relation is None:
        raise Refusal(Code.RELATION_UNKNOWN, "no such relation")
    if relation.msp_id != change.msp_id:
        raise Refusal(Code.ROLE_FORBIDDEN, f"the relation is {relation.msp_id}'s")
    # A bank that could take back a day gone by would hold back what it has yet to pay.
    if body["until"] < change.at.day:
        raise Refusal(Code.CHANGE_TOO_LATE, f"{body['until']} has gone by")
    overlay.put(key, _ended(relation, body["until"], change.at))


def _ended_before(until: str, relation: Relation) -> str:
    """Check 5: the transaction in which the supervisor ended it on this day; empty for none."""
    last = relation.terms[-1]
    same = (last["until"], last["ended_by"]) == (until, SUPERVISOR_MSP)
    return last["ended_tx"] if same else ""


def _ended(relation: Relation, until: str, at: Transaction) -> Relation:
    """Check 7, and the relation with no term beyond this day; raises Refusal."""
    if relation.terms[-1]["until"] <= until:
        raise Refusal(Code.RELATION_NOT_IN_FORCE, f"it ends on {relation.terms[-1]['until']}")
    by = {"ended_on": at.day, "ended_by": at.submitter.msp_id, "ended_tx": at.tx_id}
    terms = [
        term if term["until"] <= until else term | {"until": until} | by for term in relation.terms
    ]
    return touched(replace(relation, status=Standing.ENDED.value, terms=terms), at.tx_id)


def _checked(shape: Members, item: object) -> dict[str, Any]:
    try:
        shape.check(item, "")
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    assert isinstance(item, dict)  # noqa: S101 - the schema has just said so
    return item


def _scan(name: str, members: dict[str, Any]) -> None:
    if holds_card_number(members[name]):
        raise Refusal(Code.CARD_DATA_REFUSED, f"/{name}: looks like a card number")
