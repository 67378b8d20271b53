"""What a gateway answers about a settlement, as its REST clients see it.

It proves itself: `parts`, `file` and `payout` are what the acquiring bank signed (JWS compact
texts); all else a reader can derive from them, and a merchant's tool does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from clearline.canonical import Json
from clearline.clearing import Place, Totals
from clearline.clearing_records import Settlement, Standing

# Decided by the bank's maker and checker: lines and net stay as they are.
DECIDED: Final = frozenset({Standing.STATED, Standing.CARRIED, Standing.PAID, Standing.RETURNED})


@dataclass(frozen=True, slots=True)
class SettlementAnswer:
    """A settlement at a gateway; amounts in minor units. `parts`, `file` and `payout` are empty
    and null in a list."""

    id: str
    acquirer_id: str
    merchant_id: str
    merchant_code: str
    currency: str
    clearing_date: str
    run: int
    status: str
    account_id: str
    file_digest: str
    lines: int
    payments: int
    refunds: int
    fees: int
    adjustments: int
    carried: int
    net: int
    block_number: int
    parts: tuple[str, ...] = ()
    file: str | None = None
    payout: str | None = None

    @property
    def place(self) -> Place:
        """The account of clearing."""
        return Place(self.acquirer_id, self.merchant_code, self.currency, self.clearing_date)

    @property
    def totals(self) -> Totals:
        """Of its lines."""
        return Totals(self.payments, self.refunds, self.fees, self.adjustments)

    def to_json(self) -> dict[str, Json]:
        """The object that travels."""
        return asdict(self) | {"parts": list(self.parts)}

    @classmethod
    def from_json(cls, value: Json) -> SettlementAnswer:
        """The answer an object describes; members it does not know are left out.

        Raises ValueError for an object that lacks one, or has one of another type.
        """
        if not isinstance(value, dict):
            raise ValueError("not a settlement: not an object")
        known: dict[str, Any] = {
            name: value[name] for name in cls.__dataclass_fields__ if name in value
        }
        for name, kind in _TYPES.items():
            if type(known.get(name)) is not kind:
                raise ValueError(f"not a settlement: {name} is missing, or of another type")
        parts = known.get("parts", [])
        texts = [*parts, *(known.get(name) or "" for name in ("file", "payout"))]
        if type(parts) is not list or any(type(text) is not str for text in texts):
            raise ValueError("not a settlement: what was signed is no text")
        Standing(known["status"])
        return cls(**(known | {"parts": tuple(parts)}))


_TYPES: Final[dict[str, type]] = {
    name: int if kind == "int" else str
    for name, kind in SettlementAnswer.__annotations__.items()
    if kind in ("int", "str")
}


def answer(settlement: Settlement, block_number: int) -> SettlementAnswer:
    """What is said of a settlement's record, as in a list; `block_number` of its newest change."""
    return SettlementAnswer(
        id=settlement.id,
        acquirer_id=settlement.acquirer_id,
        merchant_id=settlement.merchant_id,
        merchant_code=settlement.merchant_code,
        currency=settlement.currency,
        clearing_date=settlement.clearing_date,
        run=settlement.run,
        status=settlement.status,
        account_id=settlement.account_id,
        file_digest=settlement.file_digest,
        lines=settlement.lines,
        payments=settlement.payments,
        refunds=settlement.refunds,
        fees=settlement.fees,
        adjustments=settlement.adjustments,
        carried=settlement.carried,
        net=settlement.net,
        block_number=block_number,
    )
