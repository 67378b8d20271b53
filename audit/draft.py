"""What an invocation makes, item by item, before it is held against what it answered and wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from audit.findings import Check
from audit.invocation import Invocation
from clearline.codes import Code

Record = dict[str, Any]


class Refused(Exception):  # noqa: N818 - a decision, not a fault of ours
    """The contract must refuse this with `code`; `check` is what the auditor calls a ledger where
    it was not refused."""

    def __init__(self, code: Code, check: Check, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.check = check
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Outcome:
    """What must be answered of an item. `speaks_of` are the ledger keys a wrong answer could have
    been meant for; None when the item does not tell."""

    code: Code
    check: Check
    key: tuple[str | int, ...] = ()
    status: str = ""
    tx_id: str = ""
    detail: str = ""
    speaks_of: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Step:
    """One signed object that counted, for a payment's evidence: `what` is intent, close, report or
    contradiction, `status` the payment's after it."""

    invocation: Invocation
    what: str
    status: str
    signed: str
    key_id: str


@dataclass
class Draft:
    """The records as an item sees them: what is committed, under what earlier items made.

    `network` is this network's name, `changes` what the event must tell, `steps` a payment's ledger
    key and its step each.
    """

    invocation: Invocation
    committed: Mapping[str, Record]
    network: str
    made: dict[str, Record] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    changes: list[list[Any]] = field(default_factory=list)
    steps: list[tuple[str, Step]] = field(default_factory=list)

    @property
    def day(self) -> str:
        """The date of the transaction in UTC, YYYY-MM-DD."""
        return self.invocation.time[:10]

    def get(self, key: str) -> Record | None:
        """The record at a ledger key; not to be changed in place."""
        return self.made.get(key) or self.committed.get(key)

    def touched(self, record: Record, **changed: Any) -> Record:
        """The record with these members changed, and this transaction as its newest."""
        return record | changed | {"txs": [*record["txs"], self.invocation.tx_id]}

    def step(self, key: str, what: str, signed: str, key_id: str) -> None:
        """Note a signed object that counted, after its payment was changed."""
        payment = self.get(key)
        status = "" if payment is None else payment["status"]
        self.steps.append((key, Step(self.invocation, what, status, signed, key_id)))


def difference(expected: Record, written: Any) -> str:
    """The first member that differs, for people."""
    if not isinstance(written, dict):
        return "not an object"
    for name in sorted({*expected, *written}):
        if expected.get(name) != written.get(name):
            return f"{name} is {_short(written.get(name))}, not {_short(expected.get(name))}"
    return "it is not in canonical form"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
