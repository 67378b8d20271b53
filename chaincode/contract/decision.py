"""What a decision answers, and how a list of items becomes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chaincode.contract.context import Transaction
from chaincode.contract.overlay import Overlay
from clearline import canonical, jws
from clearline.cards import holds_card_number, redact
from clearline.codes import Code, Outcome, Refusal
from clearline.intents import PaymentKey
from clearline.jws import JwsError
from clearline.records import Kind

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Change:
    """What the event says of an item that changed something about a payment: `kind` is that of
    the record, `status` the payment's."""

    key: PaymentKey
    status: str
    kind: Kind = Kind.PAYMENT


@dataclass(frozen=True, slots=True)
class Taken:
    """An item's outcome, and what it changed, if it did."""

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
    """Each item parsed once; those that can't be are refused here and now.

    Raises Refusal for the whole call when an item holds card data: a refused item's bytes would
    still stand in the transaction's arguments, and so on the ledger (docs/adr/0007).
    """
    parsed: list[Item | Refused] = []
    for index, item in enumerate(items):
        try:
            parsed.append(parse(item))
        except Refusal as refusal:
            _keep_out(index, item, refusal)
            parsed.append(Refused(refused(refusal)))
    return tuple(parsed)


def _keep_out(index: int, item: object, refusal: Refusal) -> None:
    """Raise for card data: where a sound item's field holds it, or anywhere in another item."""
    if refusal.code is Code.CARD_DATA_REFUSED:
        raise Refusal(refusal.code, f"item {index}: {refusal.detail}")
    if holds_card_data(item):
        raise Refusal(Code.CARD_DATA_REFUSED, f"item {index}: looks like a card number")


def holds_card_data(value: object) -> bool:
    """Whether a text anywhere in this value, or in the parts of a JWS in it, could be a card
    number."""
    if isinstance(value, str):
        return holds_card_number(value) or any(map(_hides_card_number, value.split(".")[:3]))
    if isinstance(value, int):
        return holds_card_number(str(value))
    if isinstance(value, list):
        return any(map(holds_card_data, value))
    if isinstance(value, dict):
        return any(holds_card_data(name) or holds_card_data(one) for name, one in value.items())
    return False


def _hides_card_number(part: str) -> bool:
    try:
        return holds_card_number(jws.decode(part).decode("utf-8", "replace"))
    except JwsError:
        return False


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
    return canonical.dumps([[change.kind.value, *change.key, change.status] for change in changes])


def text_item(item: object) -> str:
    """An item that must be a text; raises Refusal."""
    if not isinstance(item, str):
        raise Refusal(Code.MALFORMED, "an item is a JWS compact text")
    return item
