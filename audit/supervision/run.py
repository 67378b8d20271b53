"""All rules in force, run over a ledger's records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from audit.draft import Record
from audit.supervision import merchants, money
from audit.supervision.cases import Case, Version, versions
from audit.supervision.facts import Facts

KINDS: Final[Mapping[str, Callable[[Version, Facts, str], Iterator[Case]]]] = {
    "names_of_code": merchants.names_of_code,
    "places_of_code": merchants.places_of_code,
    "register_mismatch": merchants.register_mismatch,
    "money_kept": money.money_kept,
    "payout_returned": money.payout_returned,
    "adjustment_share": money.adjustment_share,
    "refund_share": money.refund_share,
    "splitting": money.splitting,
    "left_open": money.left_open,
}


@dataclass(frozen=True)
class Review:
    """What the rules in force found, as of a date: by rule, merchant and what it is about."""

    as_of: str
    versions: tuple[Version, ...]
    cases: tuple[Case, ...]


def review(records: Mapping[str, Record], as_of: str | None = None) -> Review:
    """Run every rule in force. `records` are the ledger's by key, as verified.

    `as_of` is the date (YYYY-MM-DD) on which what is late counts as late; by default the last
    clearing date on the ledger, so that the same records give the same findings.
    """
    facts, rules = Facts.of(records), tuple(versions(records))
    day = as_of or facts.latest
    found = [one for version in rules for one in KINDS[version.kind](version, facts, day)]
    found.sort(key=lambda one: (one.rule_id, one.version, one.merchant_id, one.about))
    return Review(day, rules, tuple(found))
