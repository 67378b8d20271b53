"""Ledger records of clearing: the acquirer's file, adjustments, settlements, the statement.

Their ids hold `/`: an account of clearing is `<acquirer_id>/<merchant_code>/<currency>/<date>`, a
settlement that and `/<run>` (two digits), a part that and `/<part>` (four digits), an adjustment
`<acquirer_id>/<reference>`, a statement `<acquirer_id>/<merchant_code>/<currency>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from clearline.clearing import Place, Totals


class Standing(StrEnum):
    """Where a settlement stands. OPEN: parts are missing. CARRIED: stated, and nothing to pay."""

    OPEN = "open"
    PROPOSED = "proposed"
    REJECTED = "rejected"
    STATED = "stated"
    CARRIED = "carried"
    PAID = "paid"
    RETURNED = "returned"


def acquirer_file_key(place: Place) -> str:
    """`acquirer_file/<account of clearing>`."""
    return f"acquirer_file/{place.name}"


def adjustment_key(acquirer_id: str, reference: str) -> str:
    """`adjustment/<acquirer_id>/<reference>`."""
    return f"adjustment/{acquirer_id}/{reference}"


def settlement_id(place: Place, run: int) -> str:
    """`<account of clearing>/<run>`, two digits."""
    return f"{place.name}/{run:02d}"


def settlement_key(place: Place, run: int) -> str:
    """`settlement/<settlement's id>`."""
    return f"settlement/{settlement_id(place, run)}"


def part_key(place: Place, run: int, part: int) -> str:
    """`settlement_part/<settlement's id>/<part>`, four digits."""
    return f"settlement_part/{settlement_id(place, run)}/{part:04d}"


def statement_key(place: Place) -> str:
    """`statement/<acquirer_id>/<merchant_code>/<currency>`."""
    return f"statement/{place.acquirer_id}/{place.merchant_code}/{place.currency}"


@dataclass(frozen=True, slots=True)
class AcquirerFile:
    """What the acquirer cleared on a day, as its bank signed it (`filing`, a JWS)."""

    acquirer_id: str
    merchant_id: str
    merchant_code: str
    currency: str
    clearing_date: str
    file_digest: str
    lines: int
    payments: int
    refunds: int
    fees: int
    adjustments: int
    filing: str
    digest: str
    msp_id: str
    txs: list[str] = field(default_factory=list)

    @property
    def totals(self) -> Totals:
        """The control totals."""
        return Totals(self.payments, self.refunds, self.fees, self.adjustments)


@dataclass(frozen=True, slots=True)
class AdjustmentRecord:
    """An adjustment as the acquiring bank signed it (`adjustment`, a JWS); `settlement` is the id
    of the settlement whose line it is, empty until there is one."""

    acquirer_id: str
    reference: str
    merchant_id: str
    merchant_code: str
    currency: str
    clearing_date: str
    amount: int
    cause: str
    adjustment: str
    digest: str
    msp_id: str
    settlement: str = ""
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Settlement:
    """A settlement's header. `parts` is how many it has, `taken` how many of them are on the
    ledger, `counted` [lines, payments, refunds, fees, adjustments] of those. `maker` and `checker`
    are identities as a proposal's; `payout` is the bank's signed word on what became of the money,
    empty until there is one."""

    acquirer_id: str
    merchant_id: str
    merchant_code: str
    currency: str
    clearing_date: str
    run: int
    status: str
    file_digest: str
    account_id: str
    lines: int
    payments: int
    refunds: int
    fees: int
    adjustments: int
    carried: int
    net: int
    parts: int
    header_digest: str
    msp_id: str
    maker: str
    taken: int = 0
    counted: list[int] = field(default_factory=lambda: [0] * 5)
    checker: str = ""
    payout: str = ""
    txs: list[str] = field(default_factory=list)

    @property
    def place(self) -> Place:
        """The account of clearing."""
        return Place(self.acquirer_id, self.merchant_code, self.currency, self.clearing_date)

    @property
    def id(self) -> str:
        """What names it."""
        return settlement_id(self.place, self.run)

    @property
    def totals(self) -> Totals:
        """Of its lines."""
        return Totals(self.payments, self.refunds, self.fees, self.adjustments)


@dataclass(frozen=True, slots=True)
class SettlementPart:
    """The text of a part, as the bank signed it."""

    settlement: str
    part: int
    text: str
    digest: str
    txs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Statement:
    """A merchant's standing at one code and currency: what the next settlement carries forward (a
    net that was negative, a payout that came back), and the last clearing date that is settled."""

    acquirer_id: str
    merchant_id: str
    merchant_code: str
    currency: str
    carried: int
    through: str
    settlement: str
    txs: list[str] = field(default_factory=list)
