"""What a decision knows of its transaction besides the records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from clearline import times

ROLE_ATTRIBUTE = "clearline.role"
# The organisation whose `supervisor` is one: every organisation's CA can write the role into a
# certificate. As network.yaml names it; another name is another contract, with another package id,
# which a majority must approve.
SUPERVISOR_MSP = "Supervisor"
# A merchant's clock may be ahead of the submitter's by as much as the chaincode server allows.
CLOCK_TOLERANCE = timedelta(minutes=5)


class Role(StrEnum):
    """Values of the certificate attribute `clearline.role`."""

    GATEWAY = "gateway"
    CONNECTOR = "connector"
    BANK_MAKER = "bank-maker"
    BANK_CHECKER = "bank-checker"
    SUPERVISOR = "supervisor"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submitted: `person` is SHA-256 (hex) of the certificate's subject and issuer, so that
    a renewed certificate is the same person."""

    msp_id: str
    role: str
    person: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction: `time` is the submitter's claim, aware; `network` this network's name."""

    tx_id: str
    time: datetime
    network: str
    submitter: Submitter

    @property
    def at(self) -> str:
        """Its time as records name it."""
        return _rendered(self.time)

    @property
    def day(self) -> str:
        """The date of `time` in UTC, YYYY-MM-DD."""
        return self.at[:10]

    def later(self, by: timedelta) -> str:
        """The time that much after it, to be compared with other texts of whole milliseconds."""
        return _rendered(self.time + by)


# A batch's items ask for the same two, each of them.
@lru_cache(maxsize=256)
def _rendered(time: datetime) -> str:
    return times.render(time)
