"""What a decision answers, and how a list of items becomes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chaincode.contract.context import Transaction
from chaincode.contract.overlay import Overlay
from clearline import canonical
from clearline.cards import redact
from clearline.codes import Code, Outcome, Refusal
from clearline.intents import PaymentKey
from clearline.records import Kind

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Change:
    """What the event says of an item that changed a payment."""

    key: PaymentKey
    status: str


@dataclass(frozen=True, slots=True)
class Taken:
    """An item's outcome, and the payment it changed, if it did."""

    outcome: Outcome
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An item that is refused before any record is read."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Decision:
    """A batch's answer: an outcome an item, the writes, the event's payload (empty: none)."""

    outcomes: tuple[Outcome, ...]
    writes: tuple[tuple[str, bytes], ...]
    event: bytes

    def answer(self) -> bytes:
        """The response's payload: canonical JSON list of outcomes."""
        return canonical.dumps([outcome.to_json() for outcome in self.outcomes])


def refused(refusal: Refusal, key: tuple[str | int, ...] = (), status: str = "") -> Outcome:
    """The outcome of a refusal. What a sender wrote can stand in the detail: no card data there."""
    return Outcome(refusal.code, key, status, redact(refusal.detail))


def parse_items(
    items: Sequence[object], parse: Callable[[object], Item]
) -> tuple[Item | Refused, ...]:
    """Each item parsed once; those that can't be are refused here and now."""
    parsed: list[Item | Refused] = []
    for item in items:
        try:
            parsed.append(parse(item))
        except Refusal as refusal:
            parsed.append(Refused(refused(refusal)))
    return tuple(parsed)


def fold(
    items: Sequence[Item | Refused],
    transaction: Transaction,
    committed: Mapping[str, bytes | None],
    decide: Callable[[Item, Transaction, Overlay], Taken],
) -> Decision:
    """Decide the items in their order, each on what those before it wrote."""
    overlay = Overlay(committed)
    outcomes: list[Outcome] = []
    changes: list[Change] = []
    for item in items:
        if isinstance(item, Refused):
            outcomes.append(item.outcome)
            continue
        taken = decide(item, transaction, overlay)
        outcomes.append(taken.outcome)
        if taken.change is not None:
            changes.append(taken.change)
    return Decision(tuple(outcomes), tuple(overlay.writes()), _event(changes))


def _event(changes: Sequence[Change]) -> bytes:
    if not changes:
        return b""
    return canonical.dumps([[Kind.PAYMENT.value, *change.key, change.status] for change in changes])


def text_item(item: object) -> str:
    """An item that must be a text; raises Refusal."""
    if not isinstance(item, str):
        raise Refusal(Code.MALFORMED, "an item is a JWS compact text")
    return item
