"""SubmitRules and SubmitCheckpoints: what the supervisor states, for everybody to read.

A rule's item is {"rule_id", "version", "kind", "parameters", "valid_from", "action"}. Its first
submission proposes the version; when a second person of the supervisor's submits the very same,
it is decided: docs/adr/0019-a-rule-is-said-by-two-and-a-checkpoint-by-one.md. The checks:

     1  form, and the kind's closed parameters                    malformed
     2  no card number in the rule's id: else the whole call      card_data_refused
     3  the submitter's organisation is the supervisor            role_forbidden
     4  this very version is decided, or proposed by this person  duplicate
     5  another one with its number is decided                    conflict
     6  the version before is decided; what is withdrawn there
        is in force                                               rule_out_of_order
     7  it is of the same kind as the version before              conflict
     8  from the second on: for no day before the transaction's,
        nor before the last version's                             change_too_late
        nobody has proposed this very version before              ok, proposed
        another person has                                        ok, in_force or withdrawn

Another content under a number that is only proposed takes its place: nothing was in force by it.
A first version may look back to any day; a later one can't change what held on days gone by.

A checkpoint's item is {"block", "header_hash", "state_digest"}. The contract sees no blocks and
takes the supervisor's word; every auditor holds it against the chain (audit/checkpoints.py).

     1  form                                                      malformed
     2  the submitter's organisation is the supervisor            role_forbidden
     3  the same of this block is on the ledger                   duplicate
     4  another of this block is                                  conflict
        otherwise it is kept                                      ok
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from chaincode.contract.context import SUPERVISOR_MSP, Transaction
from chaincode.contract.decision import Refused, Taken, refused
from chaincode.contract.overlay import Overlay
from clearline.cards import holds_card_number
from clearline.codes import Code, Outcome, Refusal
from clearline.records import Kind, touched
from clearline.schema import SchemaError, Shape
from clearline.supervision import (
    CHECKPOINT,
    PARAMETERS,
    RULE,
    STATUS_OF,
    Action,
    Checkpoint,
    Rule,
    RuleStatus,
    checkpoint_key,
    rule_key,
)


@dataclass(frozen=True, slots=True)
class Saying:
    """A parsed item of SubmitRules."""

    rule_id: str
    version: int
    kind: str
    parameters: dict[str, int]
    valid_from: str
    action: str

    @property
    def key(self) -> str:
        """The version's ledger key."""
        return rule_key(self.rule_id, self.version)

    @property
    def before_key(self) -> str:
        """The ledger key of the version before."""
        return rule_key(self.rule_id, self.version - 1)

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names it in an outcome."""
        return (Kind.RULE.value, self.rule_id, self.version)

    def is_said_by(self, rule: Rule) -> bool:
        """Whether a version on the ledger says the same."""
        there = (rule.kind, rule.parameters, rule.valid_from, rule.action)
        return there == (self.kind, self.parameters, self.valid_from, self.action)


@dataclass(frozen=True, slots=True)
class Stated:
    """A parsed item of SubmitCheckpoints."""

    block: int
    header_hash: str
    state_digest: str

    @property
    def key(self) -> str:
        """The checkpoint's ledger key."""
        return checkpoint_key(self.block)


def parse_rule(item: object) -> Saying:
    """Checks 1 and 2 of a rule; raises Refusal."""
    members = _checked(RULE, item, "")
    _checked(PARAMETERS[members["kind"]], members["parameters"], "/parameters")
    if holds_card_number(members["rule_id"]):
        raise Refusal(Code.CARD_DATA_REFUSED, "/rule_id: looks like a card number")
    return Saying(**members)


def parse_checkpoint(item: object) -> Stated:
    """Check 1 of a checkpoint; raises Refusal."""
    return Stated(**_checked(CHECKPOINT, item, ""))


def plan_rules(items: tuple[Saying | Refused, ...]) -> list[str]:
    """The keys these items read: the version and the one before."""
    keys: dict[str, None] = {}
    for item in items:
        if not isinstance(item, Refused):
            keys |= dict.fromkeys((item.key, item.before_key))
    return list(keys)


def plan_checkpoints(items: tuple[Stated | Refused, ...]) -> list[str]:
    """The keys these items read."""
    return list(dict.fromkeys(item.key for item in items if not isinstance(item, Refused)))


def decide_rule(item: Saying, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 to 8 of a rule, and the version when all pass."""
    who = transaction.submitter
    before = overlay.get(Rule, item.key)
    try:
        _require_supervisor(transaction)
        same = before is not None and item.is_said_by(before)
        if before is not None and before.status != RuleStatus.PROPOSED:
            if not same:
                raise Refusal(Code.CONFLICT, f"another version {item.version} was decided")
            return Taken(_rule(Code.DUPLICATE, item, before.status, before.txs[-1]))
        if before is not None and same and before.maker == who.person:
            return Taken(_rule(Code.DUPLICATE, item, before.status, before.txs[-1]))
        _require_turn(item, transaction, overlay.get(Rule, item.before_key))
    except Refusal as refusal:
        return Taken(refused(refusal, item.name, "" if before is None else before.status))
    if before is not None and same:
        decided = STATUS_OF[Action(item.action)]
        rule = replace(before, status=decided.value, checker=who.person)
        overlay.put(item.key, touched(rule, transaction.tx_id))
    else:
        rule = Rule(
            rule_id=item.rule_id,
            version=item.version,
            kind=item.kind,
            parameters=item.parameters,
            valid_from=item.valid_from,
            action=item.action,
            status=RuleStatus.PROPOSED.value,
            msp_id=who.msp_id,
            maker=who.person,
            txs=[*([] if before is None else before.txs), transaction.tx_id],
        )
        overlay.put(item.key, rule)
    return Taken(_rule(Code.OK, item, rule.status, transaction.tx_id))


def decide_checkpoint(item: Stated, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 2 to 4 of a checkpoint, and the record when all pass."""
    name = (Kind.CHECKPOINT.value, item.block)
    before = overlay.get(Checkpoint, item.key)
    try:
        _require_supervisor(transaction)
        if before is not None:
            there = (before.header_hash, before.state_digest)
            if there != (item.header_hash, item.state_digest):
                raise Refusal(Code.CONFLICT, f"another checkpoint of block {item.block} was taken")
            return Taken(Outcome(Code.DUPLICATE, name, tx_id=before.txs[0]))
    except Refusal as refusal:
        return Taken(refused(refusal, name))
    stated = Checkpoint(
        block=item.block,
        header_hash=item.header_hash,
        state_digest=item.state_digest,
        msp_id=transaction.submitter.msp_id,
        txs=[transaction.tx_id],
    )
    overlay.put(item.key, stated)
    return Taken(Outcome(Code.OK, name, tx_id=transaction.tx_id))


def _require_supervisor(transaction: Transaction) -> None:
    msp_id = transaction.submitter.msp_id
    if msp_id != SUPERVISOR_MSP:
        raise Refusal(Code.ROLE_FORBIDDEN, f"{msp_id} is not the supervisor's organisation")


def _require_turn(item: Saying, transaction: Transaction, last: Rule | None) -> None:
    """Checks 6 to 8: `last` is the version before."""
    if item.version > 1 and (last is None or last.status == RuleStatus.PROPOSED):
        raise Refusal(Code.RULE_OUT_OF_ORDER, f"version {item.version - 1} is not decided")
    if item.action == Action.WITHDRAW and (last is None or last.status != RuleStatus.IN_FORCE):
        raise Refusal(Code.RULE_OUT_OF_ORDER, "there is nothing in force to withdraw")
    if last is None:
        return
    if item.kind != last.kind:
        raise Refusal(Code.CONFLICT, f"the rule is of kind {last.kind}")
    earliest = max(transaction.day, last.valid_from)
    if item.valid_from < earliest:
        raise Refusal(Code.CHANGE_TOO_LATE, f"it can hold from {earliest} on")


def _rule(code: Code, item: Saying, status: str, tx_id: str) -> Outcome:
    return Outcome(code, item.name, status, tx_id=tx_id)


def _checked(shape: Shape, value: object, pointer: str) -> dict[str, Any]:
    try:
        shape.check(value, pointer)
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    assert isinstance(value, dict)  # noqa: S101 - the schema has just said so
    return value
