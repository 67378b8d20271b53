"""What verification can find wrong, and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Check(StrEnum):
    """The checks, in the order they are made; the names are stable."""

    BLOCK_FORM = "block_form"
    BLOCK_NUMBER = "block_number"
    HEADER_CHAIN = "header_chain"
    DATA_HASH = "data_hash"
    ORDERER_SIGNATURE = "orderer_signature"
    FLAGS = "flags"
    CONFIGURATION = "configuration"
    TRANSACTION_FORM = "transaction_form"
    TRANSACTION_ID = "transaction_id"
    CREATOR = "creator"
    PROPOSAL_HASH = "proposal_hash"
    DUPLICATE_ID = "duplicate_id"
    ENDORSEMENT = "endorsement"
    READ_VERSIONS = "read_versions"
    UNCHECKED = "unchecked"
    CALL = "call"
    CARD_DATA = "card_data"
    ROLE = "role"
    FORM = "form"
    OUTCOME = "outcome"
    EVENT = "event"
    RECORD = "record"
    MAKER_CHECKER = "maker_checker"
    RELATION = "relation"
    OWNERSHIP = "ownership"
    KEY = "key"
    MERCHANT_SIGNATURE = "merchant_signature"
    ACQUIRER_SIGNATURE = "acquirer_signature"
    INTENT = "intent"
    REPORT = "report"
    STATUS = "status"
    ATTEMPT = "attempt"
    LEASE = "lease"
    EQUIVOCATION = "equivocation"
    SETTLEMENT = "settlement"
    TOTALS = "totals"
    PAYEE = "payee"
    LINE = "line"
    RULE = "rule"
    CHECKPOINT = "checkpoint"


class Wrong(Exception):  # noqa: N818 - a finding, not a fault of ours
    """A check failed; who catches it knows the block and transaction."""

    def __init__(self, check: Check, detail: str) -> None:
        super().__init__(f"{check}: {detail}")
        self.check = check
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: `transaction` is the index in the block, None for the block itself."""

    block: int
    transaction: int | None
    tx_id: str
    check: Check
    detail: str

    def __str__(self) -> str:
        place = f"block {self.block}"
        if self.transaction is not None:
            place += f", transaction {self.transaction} ({self.tx_id or 'no id'})"
        return f"{place}: {self.check}: {self.detail}"
