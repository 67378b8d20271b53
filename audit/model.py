"""The auditor's model of the contract: every outcome, record and event, derived a second time.

What a call is refused for as a whole never reaches an honest ledger. Of any other call each item
has an outcome, derived in the order of the list from the arguments and from what is on the ledger
then; the answer, the event and the writes must be exactly what follows.

A function more is a line of _FUNCTIONS: its `parse` takes an item to what has `name` (the answer's
key), `place` (the record whose status a refusal tells) and `speaks_of` (the records it can make);
its `decide` returns the outcome, or raises Refused, and puts what follows into the draft. Its forms
are in audit/forms.py; what a proposal of a new kind does is a line of audit/register.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from audit import (
    cards,
    checkpoints,
    clearing,
    comparison,
    leases,
    refund_reports,
    refunds,
    registry,
    relations,
    rules,
    settlements,
)
from audit.draft import Draft, Outcome, Record, Refused, Step
from audit.findings import Check, Wrong
from audit.invocation import Invocation
from audit.jose import JoseError, strict_json
from clearline.codes import Code

_MOST_ITEMS, _MOST_BYTES = 500, 4 * 1024 * 1024
_WITNESSES: Final = ("gateway", "connector", "supervisor", "auditor")
_ANYBODY: Final = (*_WITNESSES, "bank-maker", "bank-checker")


@dataclass(frozen=True)
class _Function:
    """A function that changes the ledger: who may call it, how an item is read and decided."""

    roles: tuple[str, ...]
    parse: Callable[[Any], Any]
    decide: Callable[[Any, Draft], Outcome]


_FUNCTIONS: Final[dict[str, _Function]] = {
    "SubmitIntents": _Function(("gateway",), refunds.parse, refunds.decide),
    "SubmitReports": _Function(("connector",), refund_reports.parse, refund_reports.decide),
    "SubmitEvidence": _Function(
        _WITNESSES, refund_reports.parse_evidence, refund_reports.decide_evidence
    ),
    "TakeLease": _Function(("connector",), leases.parse, leases.decide),
    "ProposeRecords": _Function(("bank-maker",), registry.parse_suggestion, registry.propose),
    "DecideRecords": _Function(("bank-checker",), registry.parse_verdict, registry.decide),
    "CountersignRelations": _Function(
        ("supervisor",), relations.parse_countersignature, relations.countersign
    ),
    "EndRelations": _Function(("supervisor",), relations.parse_ending, relations.end),
    "SubmitClearing": _Function(("bank-maker",), clearing.parse, clearing.decide),
    "DecideSettlements": _Function(
        ("bank-checker",), settlements.parse_verdict, settlements.decide
    ),
    "SubmitRules": _Function(("supervisor",), rules.parse, rules.decide),
    "SubmitCheckpoints": _Function(("supervisor",), checkpoints.parse, checkpoints.decide),
}
_DIGEST: Final = re.compile(r"^[0-9a-f]{64}(/|\Z)")
_READERS: Final = (
    *("GetPayments", "GetRecords", "ListPayments", "ListProposals", "ListSettlements"),
    "ListRelations",
)


class Model:
    """Every record of the contract by ledger key, and the steps of each payment by its key."""

    def __init__(self, network: str) -> None:
        self._network = network
        self.records: dict[str, Record] = {}
        self.steps: dict[str, list[Step]] = {}

    def take(self, invocation: Invocation) -> None:
        """Check and take a transaction. Raises Wrong, and then takes nothing."""
        draft = Draft(invocation, self.records, self._network)
        try:
            self._derive(draft)
        except Refused as refusal:
            _check_refused(invocation, refusal)
            return
        comparison.hold(draft)
        self.records.update(draft.made)
        for key, step in draft.steps:
            self.steps.setdefault(key, []).append(step)

    def _derive(self, draft: Draft) -> None:
        """Outcomes and what follows from them. Raises Refused for the call as a whole."""
        invocation = draft.invocation
        name, argument = _call(invocation)
        if name in _READERS:
            _check_role(name, _ANYBODY, invocation)
            _check_cards(argument)
            return
        function = _FUNCTIONS.get(name)
        if function is None:
            raise Refused(Code.FUNCTION_UNKNOWN, Check.CALL, f"there is no function {name[:64]!r}")
        _check_role(name, function.roles, invocation)
        parsed = [_parsed(item, function.parse) for item in _items(argument)]
        for one in parsed:
            draft.outcomes.append(
                one if isinstance(one, Outcome) else _decided(one, function, draft)
            )


def _call(invocation: Invocation) -> tuple[str, bytes]:
    if len(invocation.arguments) != 2:
        raise Refused(Code.MALFORMED, Check.CALL, "it is no function's name and one argument")
    return invocation.arguments[0].decode(errors="replace"), invocation.arguments[1]


def _check_role(name: str, roles: tuple[str, ...], invocation: Invocation) -> None:
    who = invocation.submitter
    if who.role not in roles:
        raise Refused(
            Code.ROLE_FORBIDDEN,
            Check.ROLE,
            f"{name} by {who.msp_id}'s {who.role or 'nobody'}, not a {' or '.join(roles)}",
        )


def _check_cards(argument: bytes) -> None:
    """A reader's argument stands on the ledger too. What names an account is a digest."""
    try:
        found = cards.held_anywhere(_without_accounts(strict_json(argument)))
    except JoseError as error:
        raise Refused(Code.MALFORMED, Check.CALL, f"the argument is {error}") from None
    if found:
        raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, "it looks like a card number")


def _without_accounts(asked: Any) -> Any:
    """What is asked for, less the digests at the head of an account's or a relation's id."""
    if isinstance(asked, dict):
        after = asked.get("start_after")
        return asked | {"start_after": _DIGEST.sub("", after)} if isinstance(after, str) else asked
    return [_less_account(one) for one in asked] if isinstance(asked, list) else asked


def _less_account(asked: Any) -> Any:
    kind, name = asked if isinstance(asked, list) and len(asked) == 2 else ("", "")
    if kind not in ("account", "relation") or not isinstance(name, str):
        return asked
    return [kind, _DIGEST.sub("", name)]


def _items(argument: bytes) -> list[Any]:
    if len(argument) > _MOST_BYTES:
        raise Refused(Code.BATCH_TOO_LARGE, Check.CALL, f"an argument of {len(argument)} bytes")
    try:
        items = strict_json(argument)
    except JoseError as error:
        raise Refused(Code.MALFORMED, Check.CALL, f"the argument is {error}") from None
    if not isinstance(items, list) or not items:
        raise Refused(Code.MALFORMED, Check.CALL, "the argument is no list of items")
    if len(items) > _MOST_ITEMS:
        raise Refused(Code.BATCH_TOO_LARGE, Check.CALL, f"{len(items)} items")
    return items


def _parsed(item: Any, parse: Callable[[Any], Any]) -> Any:
    """The item, or its outcome when it can't be read; a card number in one refuses the call."""
    try:
        return parse(item)
    except Refused as refusal:
        if refusal.code is Code.CARD_DATA_REFUSED:
            raise
        if cards.held_anywhere(item):
            raise Refused(
                Code.CARD_DATA_REFUSED, Check.CARD_DATA, "an item looks like a card number"
            ) from None
        return Outcome(refusal.code, refusal.check, detail=refusal.detail)


def _decided(item: Any, function: _Function, draft: Draft) -> Outcome:
    try:
        return function.decide(item, draft)
    except Refused as refusal:
        before = draft.get(item.place) or {}
        return Outcome(
            refusal.code, refusal.check, item.name, before.get("status", ""), "", refusal.detail,
            item.speaks_of,
        )  # fmt: skip


def _check_refused(invocation: Invocation, refusal: Refused) -> None:
    """A call that must be refused may stand on the ledger as refused, with no effect; but not
    with a card number in it, which nothing takes away again."""
    effect = invocation.status == 200 or invocation.writes or invocation.event
    if effect or refusal.code is Code.CARD_DATA_REFUSED:
        raise Wrong(refusal.check, f"the call must be refused as {refusal}")
