"""What the endorsers signed, held against what the auditor derived: answers, writes, event."""

from __future__ import annotations

from typing import Any, Final

from audit import cards
from audit.draft import Draft, Outcome, difference
from audit.findings import Check, Wrong
from audit.invocation import Invocation
from audit.jose import JoseError, canonical, strict_json
from clearline.codes import Code

EVENT: Final = "payments.v1"
_OK: Final = 200
_MEMBERS: Final = {"code", "key", "status", "detail", "tx_id"}


def hold(draft: Draft) -> None:
    """Raise Wrong for the first difference."""
    invocation = draft.invocation
    if invocation.status != _OK:
        raise Wrong(Check.OUTCOME, f"it is answered {invocation.status}, but must be taken")
    if draft.outcomes:
        _hold_answers(invocation, draft.outcomes)
    _hold_writes(draft)
    _hold_event(draft)


def _hold_answers(invocation: Invocation, outcomes: list[Outcome]) -> None:
    try:
        answers = strict_json(invocation.answer)
    except JoseError as error:
        raise Wrong(Check.OUTCOME, f"the answer is {error}") from None
    if not isinstance(answers, list) or len(answers) != len(outcomes):
        raise Wrong(Check.OUTCOME, f"the answer is no list of {len(outcomes)} outcomes")
    for index, (answer, outcome) in enumerate(zip(answers, outcomes, strict=True)):
        _hold_answer(f"item {index}", answer, outcome)


def _hold_answer(item: str, answer: Any, outcome: Outcome) -> None:
    if not isinstance(answer, dict) or set(answer) != _MEMBERS:
        raise Wrong(Check.OUTCOME, f"{item} has no outcome")
    if answer["code"] != outcome.code.value:
        check = Check.OUTCOME if Code(outcome.code).taken else outcome.check
        raise Wrong(check, f"{item} is answered {answer['code']}, but it is {_told(outcome)}")
    expected = {"key": list(outcome.key), "status": outcome.status, "tx_id": outcome.tx_id}
    for name, value in expected.items():
        if answer[name] != value:
            raise Wrong(Check.OUTCOME, f"{item}: {name} is {answer[name]!r:.80}, not {value!r}")
    # The words are for people and nothing follows from them, but they stand on the ledger.
    if not isinstance(answer["detail"], str) or cards.held(answer["detail"]):
        raise Wrong(Check.CARD_DATA, f"{item}: the answer's words look like a card number")


def _hold_writes(draft: Draft) -> None:
    """Byte for byte: a record has one spelling (RFC 8785)."""
    writes = draft.invocation.writes
    for key, written in writes.items():
        if key not in draft.made:
            raise _unfounded(key, draft)
        if not written:
            raise Wrong(Check.RECORD, f"{key} is deleted; nothing is ever deleted")
        if written != canonical(draft.made[key]):
            raise Wrong(Check.RECORD, f"{key}: {difference(draft.made[key], _json(written))}")
    for key in draft.made:
        if key not in writes:
            raise Wrong(Check.RECORD, f"{key} follows, but is not written")


def _unfounded(key: str, draft: Draft) -> Wrong:
    """Why a record may not be written: the item that was meant to make it, when there is one."""
    for index, outcome in enumerate(draft.outcomes):
        if outcome.detail and (outcome.speaks_of is None or key in outcome.speaks_of):
            return Wrong(outcome.check, f"{key} is written, but item {index} is {_told(outcome)}")
    return Wrong(Check.RECORD, f"{key} is written, and follows from no item")


def _hold_event(draft: Draft) -> None:
    expected = (EVENT, canonical(draft.changes)) if draft.changes else None
    event = draft.invocation.event
    if event != expected:
        said = "no event" if event is None else f"event {event[0]!r:.40}"
        raise Wrong(Check.EVENT, f"{said} where {len(draft.changes)} changes are to be told")


def _json(written: bytes) -> Any:
    try:
        return strict_json(written)
    except JoseError:
        return None


def _told(outcome: Outcome) -> str:
    return f"{outcome.code}: {outcome.detail}" if outcome.detail else str(outcome.code)
