"""All rules in force, run over a ledger's records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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


def findings(records: Mapping[str, Record], as_of: str | None = None) -> list[Case]:
    """What the rules in force find, by rule, merchant and what it is about.

    `records` are the ledger's, as verified, by key. `as_of` is the date (YYYY-MM-DD) on which what
    is late counts as late; by default the last clearing date on the ledger, so that the same
    records give the same findings.
    """
    facts = Facts.of(records)
    day = as_of or facts.latest
    found = [
        one for version in versions(records) for one in KINDS[version.kind](version, facts, day)
    ]
    return sorted(found, key=lambda one: (one.rule_id, one.version, one.merchant_id, one.about))
