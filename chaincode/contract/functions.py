"""The contract's functions: who may call each, how its argument is read, what it reads and decides.

A function takes one JSON argument. What is wrong with the call as a whole - function, role, form,
size - is a Refusal; what is wrong with an item is its outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from chaincode.contract import (
    clearing,
    evidence,
    intents,
    leases,
    reads,
    registry,
    relations,
    reports,
    settlements,
    supervision,
)
from chaincode.contract.context import Role, Submitter, Transaction
from chaincode.contract.decision import Decision, Refused, Taken, fold, parse_items
from chaincode.contract.overlay import Overlay
from chaincode.contract.reads import Range
from chaincode.contract.statements import AnyStatement
from clearline import canonical
from clearline.canonical import CanonicalError, Json
from clearline.codes import Code, Refusal

MAX_ITEMS = 500
MAX_BYTES = 4 * 1024 * 1024
Item = TypeVar("Item")
Committed = Mapping[str, bytes | None]
_READERS = tuple(Role)


@dataclass(frozen=True, slots=True)
class Writer(Generic[Item]):
    """A function that changes the ledger: each item is parsed once, then `plan` is asked for the
    keys until it names no new ones, then the items are folded."""

    roles: tuple[Role, ...]
    parse: Callable[[Json], Item]
    plan: Callable[[tuple[Item | Refused, ...], Committed], list[str]]
    decide: Callable[[Item, Transaction, Overlay], Taken]

    def batch(self, argument: bytes) -> Batch[Item]:
        """The argument's items; raises Refusal for the whole of it."""
        return Batch(self, parse_items(_listed(argument), self.parse))


@dataclass(frozen=True, slots=True)
class Batch(Generic[Item]):
    """One call's parsed items."""

    writer: Writer[Item]
    items: tuple[Item | Refused, ...]

    def missing(self, committed: Committed) -> list[str]:
        """Keys still to be read."""
        return [key for key in self.writer.plan(self.items, committed) if key not in committed]

    def decide(self, transaction: Transaction, committed: Committed) -> Decision:
        """The outcomes and writes; `committed` holds every key that `missing` named."""
        return fold(self.items, transaction, committed, self.writer.decide)


@dataclass(frozen=True, slots=True)
class KeyReader:
    """A function that reads records by key."""

    roles: tuple[Role, ...]
    keys: Callable[[Sequence[Json]], list[str]]

    def asked(self, argument: bytes) -> list[str]:
        """The keys asked for, in order; raises Refusal."""
        return self.keys(_listed(argument))


@dataclass(frozen=True, slots=True)
class RangeReader:
    """A function that reads a range of records."""

    roles: tuple[Role, ...]
    range: Callable[[Json], Range]

    def asked(self, argument: bytes) -> Range:
        """The range asked for; raises Refusal."""
        return self.range(_parsed(argument))


Function = (
    Writer[intents.Item]
    | Writer[AnyStatement]
    | Writer[leases.Takeover]
    | Writer[registry.Suggestion]
    | Writer[relations.Countersign]
    | Writer[relations.End]
    | Writer[clearing.Item]
    | Writer[settlements.Verdict]
    | (Writer[supervision.Saying] | Writer[supervision.Stated])
    | (Writer[registry.Verdict] | KeyReader | RangeReader)
)

FUNCTIONS: Mapping[str, Function] = {
    "SubmitIntents": Writer(
        (Role.GATEWAY,), intents.parse, lambda items, _: intents.plan(items), intents.decide
    ),
    "SubmitReports": Writer((Role.CONNECTOR,), reports.parse, reports.plan, reports.decide),
    "SubmitEvidence": Writer(
        (Role.GATEWAY, Role.CONNECTOR, Role.SUPERVISOR, Role.AUDITOR),
        evidence.parse,
        lambda items, _: evidence.plan(items),
        evidence.decide,
    ),
    "TakeLease": Writer(
        (Role.CONNECTOR,), leases.parse, lambda items, _: leases.plan(items), leases.decide
    ),
    "ProposeRecords": Writer(
        (Role.BANK_MAKER,),
        registry.parse_suggestion,
        lambda items, _: registry.plan_suggestions(items),
        registry.propose,
    ),
    "DecideRecords": Writer(
        (Role.BANK_CHECKER,), registry.parse_verdict, registry.plan_verdicts, registry.decide
    ),
    "CountersignRelations": Writer(
        (Role.SUPERVISOR,),
        relations.parse_countersign,
        relations.plan_countersigns,
        relations.countersign,
    ),
    "EndRelations": Writer(
        (Role.SUPERVISOR,),
        relations.parse_end,
        lambda items, _: relations.plan_ends(items),
        relations.end,
    ),
    "SubmitClearing": Writer((Role.BANK_MAKER,), clearing.parse, clearing.plan, clearing.decide),
    "DecideSettlements": Writer(
        (Role.BANK_CHECKER,),
        settlements.parse_verdict,
        settlements.plan_verdicts,
        settlements.decide,
    ),
    "SubmitRules": Writer(
        (Role.SUPERVISOR,),
        supervision.parse_rule,
        lambda items, _: supervision.plan_rules(items),
        supervision.decide_rule,
    ),
    "SubmitCheckpoints": Writer(
        (Role.SUPERVISOR,),
        supervision.parse_checkpoint,
        lambda items, _: supervision.plan_checkpoints(items),
        supervision.decide_checkpoint,
    ),
    "GetPayments": KeyReader(_READERS, reads.payment_keys),
    "GetRecords": KeyReader(_READERS, reads.record_keys),
    "ListPayments": RangeReader(_READERS, reads.payments_range),
    "ListProposals": RangeReader(_READERS, reads.proposals_range),
    "ListRelations": RangeReader(_READERS, reads.relations_range),
    "ListSettlements": RangeReader(_READERS, reads.settlements_range),
}


def function(name: str, submitter: Submitter) -> Function:
    """The function of this name, when the submitter may call it; raises Refusal."""
    found = FUNCTIONS.get(name)
    if found is None:
        raise Refusal(Code.FUNCTION_UNKNOWN, f"there is no function {name[:64]!a}")
    if submitter.role not in found.roles:
        raise Refusal(Code.ROLE_FORBIDDEN, f"{name} is for {', '.join(found.roles)}")
    return found


def _listed(argument: bytes) -> list[Json]:
    if len(argument) > MAX_BYTES:
        raise Refusal(Code.BATCH_TOO_LARGE, f"{len(argument)} bytes, at most {MAX_BYTES}")
    items = _parsed(argument)
    if not isinstance(items, list) or not items:
        raise Refusal(Code.MALFORMED, "the argument must be a list of at least one item")
    if len(items) > MAX_ITEMS:
        raise Refusal(Code.BATCH_TOO_LARGE, f"{len(items)} items, at most {MAX_ITEMS}")
    return items


def _parsed(argument: bytes) -> Json:
    try:
        return canonical.loads(argument)
    except CanonicalError as error:
        raise Refusal(Code.MALFORMED, f"the argument: {error}") from None
