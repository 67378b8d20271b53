"""Which epoch a connector acts under: the lease on the ledger, and what this one has claimed.

The lease changes by an explicit takeover only (`clearline connector take-over`). Without a lease
the epoch is 0 and whoever was not started to stand by acts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from clearline.durable import replace_file
from clearline.records import Lease


class LeaseLostError(Exception):
    """The ledger refuses our epoch: another connector has taken over."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The epoch this connector took last, in a file: written before the ledger is asked for it.

    Only a claim makes the ledger's lease ours: another process of our name may have taken it.
    """

    path: Path

    def read(self) -> int:
        """The claimed epoch, 0 for none. Raises ValueError for a file that is no claim."""
        try:
            epoch = json.loads(self.path.read_text(encoding="ascii"))["epoch"]
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} is no claim: {error!r}") from None
        if type(epoch) is not int:
            raise ValueError(f"{self.path} is no claim")
        return epoch

    def write(self, epoch: int) -> None:
        """Durable when this returns. Raises OSError."""
        replace_file(self.path, f"{json.dumps({'epoch': epoch})}\n".encode("ascii"))


@dataclass(frozen=True, slots=True)
class Standing:
    """`epoch`: the one this connector has, None while another has the lease or nobody; `renewal`:
    the one it must take before it acts, None when it may act under `epoch`."""

    epoch: int | None
    renewal: int | None = None

    @property
    def acts_under(self) -> int | None:
        """The epoch to act under now, None for not at all."""
        return self.epoch if self.renewal is None else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A connector as the lease knows it. `stands_by`: not to act before it has taken over."""

    holder: str
    stands_by: bool = False

    def standing(self, lease: Lease | None, claimed: int, forgotten: int | None) -> Standing:
        """Where it stands with this lease and its own claim. `forgotten`: the last epoch in which
        an earlier self may have acted whose outbox is lost, None for none.

        Under that epoch this self must not act, for what the earlier one still has on its way to
        the ledger would count too; it renews the lease, which nobody else loses by that.
        """
        if forgotten is None:
            return Standing(self.epoch(lease, claimed))
        in_force = lease.epoch if lease is not None else 0
        under_way = claimed == in_force + 1  # a renewal, claimed before the ledger is asked for it
        epoch = self.epoch(lease, in_force if under_way else claimed)
        if epoch is None or (epoch > forgotten and claimed == epoch):
            return Standing(epoch)
        return Standing(epoch, epoch + 1)

    def epoch(self, lease: Lease | None, claimed: int) -> int | None:
        """The epoch it has by this lease, None for none.

        A connector that lost its data and with it its claim (0) is still the holder by name.
        """
        if lease is None:
            return None if self.stands_by else 0
        if lease.holder != self.holder or claimed not in (0, lease.epoch):
            return None
        return lease.epoch
