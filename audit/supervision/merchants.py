"""Kinds of rule against the big merchant: several merchants behind one code.

names_of_code      one code's signed results show more than `names` merchant names
places_of_code     payments at one code name more than `stores`, `terminals` or `sites`
register_mismatch  more than `payments` of a merchant's payments in a day show another name or MCC
                   than it is registered with, or goods that it is not registered to sell
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from audit.draft import Record
from audit.supervision.cases import Case, Version, case
from audit.supervision.facts import Facts, PaymentFact

# What the rule counts, what an intent calls it.
_PLACES: Final = {"stores": "store", "terminals": "terminal", "sites": "site"}
# An acquirer's message has room for so few characters of a name; a shorter one is no beginning.
_SHORTEST: Final = 10


def names_of_code(version: Version, facts: Facts, _: str) -> Iterator[Case]:
    """False positives: one merchant whose acquirer changed how it spells the name."""
    names: dict[tuple[str, str], dict[str, PaymentFact]] = defaultdict(dict)
    for payment in facts.payments:
        shown = payment.told.get("merchant_name")
        if shown is not None and version.holds(payment.day):
            names[payment.code].setdefault(_plain(shown), payment)
    for (acquirer_id, code), found in names.items():
        if len(found) > version["names"]:
            said = ", ".join(sorted(repr(one.told["merchant_name"]) for one in found.values()))
            yield _of(
                version,
                list(found.values()),
                f"code {code} at {acquirer_id} shows {len(found)} names: {said}",
            )


def places_of_code(version: Version, facts: Facts, _: str) -> Iterator[Case]:
    """False positives: a chain that opens shops, a till that is replaced."""
    for counted, member in _PLACES.items():
        places: dict[tuple[str, str], dict[str, PaymentFact]] = defaultdict(dict)
        for payment in facts.payments:
            if version.holds(payment.day):
                places[payment.code].setdefault(payment.asked[member], payment)
        for (acquirer_id, code), found in places.items():
            if len(found) > version[counted]:
                yield _of(
                    version,
                    list(found.values()),
                    f"code {code} at {acquirer_id} has {len(found)} {counted}",
                )


def register_mismatch(version: Version, facts: Facts, _: str) -> Iterator[Case]:
    """False positives: a trade name beside the registered one, a shop that has begun to sell
    something else, an MCC that the acquirer maps otherwise."""
    found: dict[tuple[str, str], list[tuple[PaymentFact, str]]] = defaultdict(list)
    for payment in facts.payments:
        merchant = facts.records[f"merchant/{payment.merchant_id}"]
        why = _mismatch(payment, merchant)
        if why and version.holds(payment.day):
            found[payment.merchant_id, payment.day].append((payment, why))
    for (merchant_id, day), payments in found.items():
        if len(payments) > version["payments"]:
            whys = "; ".join(sorted({why for _, why in payments}))
            said = f"{len(payments)} payments of {merchant_id} on {day} are not as registered"
            yield _of(version, [payment for payment, _ in payments], f"{said}: {whys}")


def _mismatch(payment: PaymentFact, merchant: Record) -> str:
    """How it differs from the register, empty when it doesn't."""
    told, asked = payment.told, payment.asked
    name, mcc = told.get("merchant_name"), told.get("mcc")
    if name is not None and not _same_name(name, merchant["name"]):
        return f"the acquirer knows it as {name!r}"
    for shown in (mcc, asked["mcc"]):
        if shown is not None and shown != merchant["mcc"]:
            return f"MCC {shown}, registered is {merchant['mcc']}"
    if asked["goods_category"] not in merchant["goods_categories"]:
        return f"goods {asked['goods_category']}"
    return ""


def _same_name(shown: str, registered: str) -> bool:
    """Whether it is the name, in other capitals or cut off."""
    one, other = _plain(shown), _plain(registered)
    return one == other or (len(one) >= _SHORTEST and other.startswith(one))


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def _of(version: Version, payments: list[PaymentFact], detail: str) -> Case:
    about = {one.key: one.record for one in payments}
    return case(version, payments[0].merchant_id, detail, about)
