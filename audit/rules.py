"""The auditor's model of the supervisor's rules: who said which version, and what holds by it.

A version is proposed by one person of the supervisor's organisation and decided by another who
says the very same. Findings of the rules in force are in audit/supervision/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from audit import cards
from audit.draft import Draft, Outcome, Record, Refused
from audit.findings import Check
from audit.relations import SUPERVISOR
from audit.supervision_forms import rule_fault
from clearline.codes import Code

_STATUS: Final = {"enforce": "in_force", "withdraw": "withdrawn"}
_SAID: Final = ("kind", "parameters", "valid_from", "action")


@dataclass(frozen=True)
class Saying:
    """An item of SubmitRules."""

    said: Record

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the version."""
        return ("rule", self.said["rule_id"], self.said["version"])

    @property
    def place(self) -> str:
        """Its ledger key."""
        return place_of(self.said["rule_id"], self.said["version"])

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The one record it can make or change."""
        return (self.place,)


def place_of(rule_id: str, version: int) -> str:
    """The ledger key of a rule's version."""
    return f"rule/{rule_id}/{version:04d}"


def parse(item: Any) -> Saying:
    """Form and cards. Raises Refused."""
    fault = rule_fault(item)
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)
    if cards.held(item["rule_id"]):
        raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, "rule_id looks like a card number")
    return Saying(item)


def decide(item: Saying, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    check_supervisor(draft)
    who, before = draft.invocation.submitter, draft.get(item.place)
    same = before is not None and all(before[one] == item.said[one] for one in _SAID)
    if before is not None:
        decided = before["status"] != "proposed"
        if decided and not same:
            raise Refused(Code.CONFLICT, Check.RECORD, "another version with its number is decided")
        if same and (decided or before["maker"] == who.person):
            return Outcome(
                Code.DUPLICATE, Check.RECORD, item.name, before["status"], before["txs"][-1],
                "it is on the ledger already", item.speaks_of,
            )  # fmt: skip
    _check_turn(item.said, draft)
    if before is not None and same:
        status = _STATUS[item.said["action"]]
        draft.made[item.place] = draft.touched(before, status=status, checker=who.person)
    else:
        status = "proposed"
        earlier = before["txs"] if before is not None else []
        draft.made[item.place] = {
            **item.said,
            "type": "rule",
            "status": status,
            "msp_id": who.msp_id,
            "maker": who.person,
            "checker": "",
            "txs": [*earlier, draft.invocation.tx_id],
        }
    return Outcome(Code.OK, Check.OUTCOME, item.name, status, draft.invocation.tx_id)


def check_supervisor(draft: Draft) -> None:
    """That the supervisor's organisation submitted it. Raises Refused."""
    msp_id = draft.invocation.submitter.msp_id
    if msp_id != SUPERVISOR:
        raise Refused(Code.ROLE_FORBIDDEN, Check.ROLE, f"{msp_id} is not the supervisor")


def _check_turn(said: Record, draft: Draft) -> None:
    """What the version before allows. Raises Refused."""
    last = draft.get(place_of(said["rule_id"], said["version"] - 1))
    stands = "" if last is None else last["status"]
    if said["version"] > 1 and stands in ("", "proposed"):
        raise Refused(Code.RULE_OUT_OF_ORDER, Check.RULE, "the version before is not decided")
    if said["action"] == "withdraw" and stands != "in_force":
        raise Refused(Code.RULE_OUT_OF_ORDER, Check.RULE, "nothing in force is withdrawn")
    if last is None:
        return
    if last["kind"] != said["kind"]:
        raise Refused(Code.CONFLICT, Check.RULE, f"the rule is of kind {last['kind']}")
    if said["valid_from"] < draft.day or said["valid_from"] < last["valid_from"]:
        raise Refused(Code.CHANGE_TOO_LATE, Check.RULE, "it changes what held on days gone by")
