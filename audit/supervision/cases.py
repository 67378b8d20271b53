"""What a rule finds, the span of days in which a version of it holds, and which those are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from audit.draft import Record

_FOREVER: Final = "9999-99-99"


@dataclass(frozen=True)
class Version:
    """A rule's version in force: on clearing dates from `since` to before `until` (YYYY-MM-DD)."""

    rule_id: str
    version: int
    kind: str
    parameters: Mapping[str, int]
    since: str
    until: str

    def holds(self, day: str) -> bool:
        """Whether it is in force on a clearing date."""
        return self.since <= day < self.until

    @property
    def ends(self) -> bool:
        """Whether a later version takes its place."""
        return self.until != _FOREVER

    def __getitem__(self, name: str) -> int:
        """A parameter."""
        return self.parameters[name]


@dataclass(frozen=True)
class Case:
    """One finding: what a version of a rule says about a merchant, the ledger keys of what it is
    about, and the transactions that made those."""

    rule_id: str
    version: int
    kind: str
    merchant_id: str
    detail: str
    about: tuple[str, ...]
    txs: tuple[str, ...]

    def to_json(self, blocks: Mapping[str, int]) -> dict[str, Any]:
        """For machines; `blocks` holds the block of each transaction."""
        evidence = [{"tx_id": one, "block": blocks[one]} for one in self.txs]
        return {
            "rule": self.rule_id,
            "version": self.version,
            "kind": self.kind,
            "merchant_id": self.merchant_id,
            "detail": self.detail,
            "about": list(self.about),
            "evidence": sorted(evidence, key=lambda one: (one["block"], one["tx_id"])),
        }


def case(version: Version, merchant_id: str, detail: str, about: Mapping[str, Record]) -> Case:
    """A finding about these records by ledger key."""
    txs = {tx_id for record in about.values() for tx_id in record["txs"]}
    return Case(
        rule_id=version.rule_id,
        version=version.version,
        kind=version.kind,
        merchant_id=merchant_id,
        detail=detail,
        about=tuple(sorted(about)),
        txs=tuple(sorted(txs)),
    )


def versions(records: Mapping[str, Record]) -> Iterator[Version]:
    """Every version that is in force on some day, by id and number; `records` is the ledger."""
    decided = sorted(
        (one["rule_id"], one["version"], key)
        for key, one in records.items()
        if key.startswith("rule/") and one["status"] != "proposed"
    )
    for index, (rule_id, number, key) in enumerate(decided):
        rule, until = records[key], _FOREVER
        if index + 1 < len(decided) and decided[index + 1][0] == rule_id:
            until = records[decided[index + 1][2]]["valid_from"]
        if rule["status"] == "in_force" and rule["valid_from"] < until:
            since, parameters = rule["valid_from"], rule["parameters"]
            yield Version(rule_id, number, rule["kind"], parameters, since, until)


def days_between(earlier: str, later: str) -> int:
    """Calendar days from one date to another: the ledger knows no holidays."""
    return (date.fromisoformat(later) - date.fromisoformat(earlier)).days
