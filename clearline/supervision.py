"""What the supervisor puts on the ledger: rules in force, and checkpoints.

A rule names a known kind of rule, its integer parameters and the clearing date from which it
holds. The kinds themselves are the auditor's (audit/supervision/); what each detects and where it
errs is in docs/audit.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from clearline.money import MAX_AMOUNT
from clearline.schema import IDENTIFIER, SHA256_HEX, Date, Integer, Members, OneOf, Shape

VERSIONS: Final = Integer(1, 9999)
BLOCKS: Final = Integer(1, 10**10 - 1)  # ten digits in a key; no card number has so few
_COUNT: Final = Integer(0, 10**6)
_DAYS: Final = Integer(0, 366)
_BASIS_POINTS: Final = Integer(0, 10**6)
_AMOUNT: Final = Integer(0, MAX_AMOUNT)


class RuleKind(StrEnum):
    """Kinds of rule."""

    NAMES_OF_CODE = "names_of_code"
    PLACES_OF_CODE = "places_of_code"
    REGISTER_MISMATCH = "register_mismatch"
    MONEY_KEPT = "money_kept"
    PAYOUT_RETURNED = "payout_returned"
    ADJUSTMENT_SHARE = "adjustment_share"
    REFUND_SHARE = "refund_share"
    SPLITTING = "splitting"
    LEFT_OPEN = "left_open"


class Action(StrEnum):
    """What a rule's version does."""

    ENFORCE = "enforce"
    WITHDRAW = "withdraw"


class RuleStatus(StrEnum):
    """Where a rule's version stands. PROPOSED: one person of the supervisor's has said it."""

    PROPOSED = "proposed"
    IN_FORCE = "in_force"
    WITHDRAWN = "withdrawn"


STATUS_OF: Final = {Action.ENFORCE: RuleStatus.IN_FORCE, Action.WITHDRAW: RuleStatus.WITHDRAWN}
_SHARE: Final[dict[str, Shape]] = {"basis_points": _BASIS_POINTS, "least": _AMOUNT}
PARAMETERS: Final[dict[str, Members]] = {
    RuleKind.NAMES_OF_CODE: Members({"names": _COUNT}),
    RuleKind.PLACES_OF_CODE: Members({"stores": _COUNT, "terminals": _COUNT, "sites": _COUNT}),
    RuleKind.REGISTER_MISMATCH: Members({"payments": _COUNT}),
    RuleKind.MONEY_KEPT: Members({"stated_days": _DAYS, "paid_days": _DAYS}),
    RuleKind.PAYOUT_RETURNED: Members({"days": _DAYS}),
    RuleKind.ADJUSTMENT_SHARE: Members(_SHARE),
    RuleKind.REFUND_SHARE: Members(_SHARE),
    RuleKind.SPLITTING: Members({"payments": _COUNT, "minutes": Integer(1, 44640)}),
    RuleKind.LEFT_OPEN: Members({"days": _DAYS}),
}


class _Anything:
    """Takes any value: parameters are held against their kind's schema once that is known."""

    def check(self, value: object, pointer: str) -> None:
        """Nothing is refused here."""

    def json_schema(self) -> dict[str, object]:
        """An object of the kind's own schema."""
        return {"type": "object"}


RULE: Final = Members(
    {
        "rule_id": IDENTIFIER,
        "version": VERSIONS,
        "kind": OneOf(tuple(RuleKind)),
        "parameters": _Anything(),
        "valid_from": Date(),
        "action": OneOf(tuple(Action)),
    }
)
CHECKPOINT: Final = Members(
    {"block": BLOCKS, "header_hash": SHA256_HEX, "state_digest": SHA256_HEX}
)


def rule_key(rule_id: str, version: int) -> str:
    """`rule/<rule_id>/<version>`, four digits."""
    return f"rule/{rule_id}/{version:04d}"


def checkpoint_key(block: int) -> str:
    """`checkpoint/<block>`, ten digits."""
    return f"checkpoint/{block:010d}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One version of a rule. `maker` is who proposed it and `checker` who said the same after
    (empty until then): SHA-256 of the certificate's subject and issuer, hex."""

    rule_id: str
    version: int
    kind: str
    parameters: dict[str, int]
    valid_from: str
    action: str
    status: str
    msp_id: str
    maker: str
    checker: str = ""
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the supervisor states of a block: the hash of its header, and the digest of the state
    after it (docs/audit.md says of what exactly), 64 hex digits each."""

    block: int
    header_hash: str
    state_digest: str
    msp_id: str
    txs: list[str] = field(default_factory=list)
