"""Relations: by which another entity's merchants may be settled to an account.

An account belongs to one entity. A relation is the attested exception: the account's bank says by a
document what the account's owner is to the other entity, from one day to another, and the
supervisor countersigns (docs/adr/0018). A relation is one account's and one other entity's; its
terms follow each other and none is ever taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from clearline import times
from clearline.schema import IDENTIFIER, SHA256_HEX, Date, Members, OneOf, Text

# An attestation ages: after three years at the latest somebody looks at the document again.
MAX_TERM: Final = timedelta(days=3 * 366)


class Relationship(StrEnum):
    """What the account's owner is to the other entity."""

    PARENT = "parent"
    SUBSIDIARY = "subsidiary"
    HEAD_OFFICE = "head_office"
    FRANCHISOR = "franchisor"
    LICENSED_AGENT = "licensed_agent"


class Standing(StrEnum):
    """Where a relation stands. ACTIVE says that nobody ended its last term; whether it is in force
    on a day, its terms say."""

    ACTIVE = "active"
    ENDED = "ended"


RELATION: Final = Members(
    {
        "account_id": SHA256_HEX,
        "owner_id": IDENTIFIER,
        "entity_id": IDENTIFIER,
        "relationship": OneOf(tuple(Relationship)),
        "since": Date(),
        "until": Date(),
        "document_digest": SHA256_HEX,
        "licence_no": Text("[A-Za-z0-9.-]{1,32}"),
    },
    frozenset({"licence_no"}),
)
RELATION_END: Final = Members({"account_id": SHA256_HEX, "entity_id": IDENTIFIER, "until": Date()})


def relation_id(account_id: str, entity_id: str) -> str:
    """`<account_id>/<entity_id>`: the entity that is not the account's owner."""
    return f"{account_id}/{entity_id}"


def relation_key(account_id: str, entity_id: str) -> str:
    """`relation/<relation's id>`."""
    return f"relation/{relation_id(account_id, entity_id)}"


def fault(body: dict[str, str]) -> str:
    """What is wrong with a body of RELATION's members, with its place; empty for nothing."""
    if body["owner_id"] == body["entity_id"]:
        return "/body/entity_id: is the account's owner"
    if (body["relationship"] == Relationship.LICENSED_AGENT) != ("licence_no" in body):
        return f"/body/licence_no: goes with {Relationship.LICENSED_AGENT}, and only with it"
    term = times.parse_date(body["until"]) - times.parse_date(body["since"])
    if not timedelta() <= term <= MAX_TERM:
        return f"/body/until: must be since or at most {MAX_TERM.days} days after it"
    return ""


@dataclass(frozen=True, slots=True)
class Relation:
    """Whose account it is (`owner_id`), who else may be settled to it (`entity_id`), and the bank
    that attested account and relation (`msp_id`).

    `terms` holds, oldest first, objects of relationship, since, until (the first and the last
    clearing date in force), document_digest, licence_no (empty unless an agent's) and tx_id, in
    which the supervisor countersigned. Of a term that was ended early `until` is the new last day,
    and ended_on, ended_by and ended_tx are the day (UTC), organisation and transaction that ended
    it; else they are empty.
    """

    account_id: str
    owner_id: str
    entity_id: str
    msp_id: str
    status: str
    terms: list[dict[str, str]]
    txs: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """What names it."""
        return relation_id(self.account_id, self.entity_id)

    def covers(self, day: str) -> bool:
        """Whether it is in force on this clearing date, YYYY-MM-DD."""
        return any(term["since"] <= day <= term["until"] for term in self.terms)

    def covered(self, day: str, then: str) -> bool:
        """Whether it was in force on this clearing date as it stood on the day `then`: a term that
        was ended early counts as it was attested up to the day on which somebody ended it."""
        return any(
            term["since"] <= day and (day <= term["until"] or then <= term["ended_on"])
            for term in self.terms
        )
