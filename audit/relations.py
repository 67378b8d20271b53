"""The auditor's model of relations: by which one entity's merchants are settled to the account of
another's, and until when.

Three people of two organisations make one: maker and checker of the account's bank, and the
supervisor. The end of one needs either side only. Of a clearing date the payee is the merchant's
account of that day; if its entity may not use that one then, the next one it named that it may.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from audit import cards, forms
from audit.decisions import Decision
from audit.draft import Draft, Outcome, Record, Refused
from audit.findings import Check
from audit.shapes import Closed
from clearline.codes import Code

SUPERVISOR: Final = "Supervisor"  # the organisation, as network.yaml names it
_LONGEST: Final = 1098  # days from a term's first to its last
_MOST_TERMS: Final = 32
_COUNTERSIGNED: Final = {"approve": "approved", "reject": "refused"}


def odd(body: Record) -> str | None:
    """What is wrong with a proposed relation whose members are each of their form."""
    if body["owner_id"] == body["entity_id"]:
        return "an entity is related to itself"
    if ("licence_no" in body) is not (body["relationship"] == "licensed_agent"):
        return "an agent has a licence, and nobody else"
    days = (date.fromisoformat(body["until"]) - date.fromisoformat(body["since"])).days
    return None if 0 <= days <= _LONGEST else f"a term of {days} days"


def attest(body: Record, msp: str, draft: Draft) -> Record | None:
    """The relation before this term, None for the first. Raises Refused unless the bank may attest
    it now."""
    if msp == SUPERVISOR:
        raise _not_theirs(Code.ROLE_FORBIDDEN, "attested by the supervisor itself")
    if any(draft.get(f"entity/{body[side]}") is None for side in ("owner_id", "entity_id")):
        raise _not_theirs(Code.ENTITY_UNKNOWN, "one of the two is no entity")
    account = draft.get(f"account/{body['account_id']}")
    if account is None or account["entity_id"] != body["owner_id"]:
        raise _not_theirs(Code.ACCOUNT_UNKNOWN, "it is not that owner's account")
    if account["msp_id"] != msp:
        raise _not_theirs(Code.ROLE_FORBIDDEN, "the account is another bank's")
    if draft.day >= body["since"]:
        raise _relation(Code.CHANGE_TOO_LATE, f"its first day, {body['since']}, had come")
    before = draft.get(_key(body))
    if before is not None:
        if before["terms"][-1]["until"] >= body["since"]:
            raise _relation(Code.RECORD_EXISTS, "its term overlaps the one before")
        if len(before["terms"]) == _MOST_TERMS:
            raise _relation(Code.RECORD_FULL, "it has as many terms as it may")
    return before


def end_by_bank(body: Record, msp: str, draft: Draft) -> None:
    """A bank ends its own, not for days gone by. Raises Refused."""
    before = _there(body, draft)
    if before["msp_id"] != msp:
        raise _not_theirs(Code.ROLE_FORBIDDEN, "another bank attested the relation")
    if body["until"] < draft.day:
        raise _relation(Code.CHANGE_TOO_LATE, f"a bank ends it on {body['until']}, which is past")
    _end(before, body, draft)


def parse_countersignature(item: Any) -> Decision:
    """Form and cards. Raises Refused."""
    _read(forms.DECISION_ITEM, item, "proposal_id")
    return Decision(**item)


def countersign(item: Decision, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    _check_supervisor(draft)
    proposal, status = draft.get(item.place), _COUNTERSIGNED[item.decision]
    if proposal is None:
        raise _relation(Code.PROPOSAL_UNKNOWN, "countersigned without being proposed")
    if proposal["kind"] != "relation":
        raise Refused(Code.ROLE_FORBIDDEN, Check.ROLE, "the supervisor decides relations only")
    if proposal["status"] == status:
        return Outcome(
            Code.DUPLICATE, Check.RELATION, item.name, status, proposal["txs"][-1],
            "it was countersigned so before",
        )  # fmt: skip
    if proposal["status"] == "proposed":
        raise _relation(Code.NOT_ATTESTED, "countersigned before the bank's checker approved it")
    if proposal["status"] != "attested":
        raise _relation(Code.PROPOSAL_DECIDED, f"it was {proposal['status']} before")
    if status == "approved":
        _begin(proposal, draft)
    draft.made[item.place] = draft.touched(proposal, status=status)
    return Outcome(Code.OK, Check.OUTCOME, item.name, status, draft.invocation.tx_id)


def _begin(proposal: Record, draft: Draft) -> None:
    body, tx_id = proposal["body"], draft.invocation.tx_id
    before = attest(body, proposal["msp_id"], draft)
    term = {name: body[name] for name in ("relationship", "since", "until", "document_digest")}
    term |= {"licence_no": body.get("licence_no", ""), "tx_id": tx_id}
    term |= dict.fromkeys(("ended_on", "ended_by", "ended_tx"), "")
    there = before or {
        **{name: body[name] for name in ("account_id", "owner_id", "entity_id")},
        "type": "relation",
        "msp_id": proposal["msp_id"],
        "terms": [],
        "txs": [],
    }
    draft.made[_key(body)] = draft.touched(there, status="active", terms=[*there["terms"], term])


@dataclass(frozen=True)
class Ending:
    """An item of EndRelations."""

    account_id: str
    entity_id: str
    until: str

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the relation."""
        return ("relation", f"{self.account_id}/{self.entity_id}")

    @property
    def place(self) -> str:
        """Its ledger key."""
        return f"relation/{self.account_id}/{self.entity_id}"

    @property
    def speaks_of(self) -> tuple[str, ...] | None:
        """The one record it can change."""
        return (self.place,)


def parse_ending(item: Any) -> Ending:
    """Form and cards. Raises Refused."""
    _read(forms.BODIES["relation_end"], item, "entity_id")
    return Ending(**item)


def end(item: Ending, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    _check_supervisor(draft)
    body = {"account_id": item.account_id, "entity_id": item.entity_id, "until": item.until}
    before = _there(body, draft)
    last = before["terms"][-1]
    if last["ended_by"] == SUPERVISOR and last["until"] == item.until:
        return Outcome(
            Code.DUPLICATE, Check.RELATION, item.name, before["status"], last["ended_tx"],
            "the supervisor ended it so before", item.speaks_of,
        )  # fmt: skip
    _end(before, body, draft)
    return Outcome(Code.OK, Check.OUTCOME, item.name, "ended", draft.invocation.tx_id)


def _end(before: Record, body: Record, draft: Draft) -> None:
    until, terms = body["until"], []
    if not any(term["until"] > until for term in before["terms"]):
        raise _relation(Code.RELATION_NOT_IN_FORCE, f"it does not go beyond {until}")
    for term in before["terms"]:
        cut = {
            "until": until,
            "ended_on": draft.day,
            "ended_by": draft.invocation.submitter.msp_id,
            "ended_tx": draft.invocation.tx_id,
        }
        terms.append(term | cut if term["until"] > until else term)
    draft.made[_key(body)] = draft.touched(before, status="ended", terms=terms)


def check_use(account: Record, entity_id: str, day: str, draft: Draft) -> None:
    """Raise Refused unless this entity's merchants may use the account on this day."""
    if account["entity_id"] == entity_id:
        return
    relation = draft.get(f"relation/{account['account_id']}/{entity_id}")
    if relation is None:
        raise _not_theirs(Code.ACCOUNT_UNKNOWN, "the account is another entity's, unrelated to it")
    if not _in_force(relation, day):
        raise _relation(Code.RELATION_NOT_IN_FORCE, f"the account is another entity's on {day}")


def check_payee(said: Record, draft: Draft) -> None:
    """Raise Refused unless a settlement goes to the merchant's account for its clearing date."""
    merchant = draft.get(f"merchant/{said['merchant_id']}")
    day, named = said["clearing_date"], []
    if merchant is not None:
        named = [merchant["account_id"]]
        for change in merchant["accounts"]:
            if change["valid_from"] <= day:
                named = []
            named.append(change["account_id"])
    for account_id in named:
        usable = _usable(account_id, merchant or {}, day, draft)
        if account_id == said["account_id"]:
            if not usable:
                raise _barred(day)
            return
        if usable:
            break
    raise Refused(Code.PAYEE_MISMATCH, Check.PAYEE, "it is not the merchant's account that day")


def check_still(settlement: Record, draft: Draft) -> None:
    """Raise Refused unless the payee of one that waits may still be used."""
    merchant = draft.get(f"merchant/{settlement['merchant_id']}") or {}
    day = settlement["clearing_date"]
    if not _usable(settlement["account_id"], merchant, day, draft):
        raise _barred(day)


def check_paid(payout: Record, draft: Draft) -> None:
    """Raise Refused for what is called paid to an account that its merchant could not use any more
    when it was paid."""
    merchant = draft.get(f"merchant/{payout['merchant_id']}") or {}
    account_id, day = payout["account_id"], payout["clearing_date"]
    if _usable(account_id, merchant, day, draft):
        return
    relation = draft.get(f"relation/{account_id}/{merchant['entity_id']}") or {"terms": []}
    for term in relation["terms"]:
        if term["since"] <= day and payout["value_date"] <= term["ended_on"]:
            return
    raise _barred(day)


def _usable(account_id: str, merchant: Record, day: str, draft: Draft) -> bool:
    account = draft.get(f"account/{account_id}") or {"entity_id": ""}
    if account["entity_id"] == merchant["entity_id"]:
        return True
    relation = draft.get(f"relation/{account_id}/{merchant['entity_id']}")
    return relation is not None and _in_force(relation, day)


def _in_force(relation: Record, day: str) -> bool:
    return any(term["since"] <= day <= term["until"] for term in relation["terms"])


def _there(body: Record, draft: Draft) -> Record:
    before = draft.get(_key(body))
    if before is None:
        raise _relation(Code.RELATION_UNKNOWN, "ended without being there")
    return before


def _check_supervisor(draft: Draft) -> None:
    who = draft.invocation.submitter
    if who.msp_id != SUPERVISOR:
        raise Refused(Code.ROLE_FORBIDDEN, Check.ROLE, f"by a supervisor of {who.msp_id}'s making")


def _key(body: Record) -> str:
    return f"relation/{body['account_id']}/{body['entity_id']}"


def _relation(code: Code, detail: str) -> Refused:
    return Refused(code, Check.RELATION, detail)


def _not_theirs(code: Code, detail: str) -> Refused:
    return Refused(code, Check.OWNERSHIP, detail)


def _barred(day: str) -> Refused:
    return Refused(
        Code.RELATION_NOT_IN_FORCE, Check.PAYEE, f"for {day} the account is another entity's"
    )


def _read(form: Closed, item: Any, scanned: str) -> None:
    fault = form.fault(item)
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)
    if cards.held(item[scanned]):
        raise Refused(
            Code.CARD_DATA_REFUSED, Check.CARD_DATA, f"{scanned} looks like a card number"
        )
