"""Taking the next epoch of an acquirer's lease: `take_over` for who asks for it, `renew` for a
holder that has forgotten what it did under this one.
"""

from __future__ import annotations

import json
from typing import Protocol

from clearline import canonical
from clearline.codes import Code, Outcome
from clearline.records import Kind, Lease, from_json
from connector.lease import Claims


class TakeoverError(Exception):
    """The lease was not taken; the text says why."""


class Contract(Protocol):
    """clearline.fabric.contract.Contract, as far as a takeover needs it."""

    async def evaluate(self, name: str, *args: bytes | str) -> bytes:
        """Ask. Raises FabricError."""

    async def submit(self, name: str, *args: bytes | str) -> bytes:
        """Endorse, submit and wait for the commit. Raises FabricError."""


async def take_over(contract: Contract, acquirer_id: str, holder: str, claims: Claims) -> Lease:
    """Take the epoch after the one in force; the claim is noted first, so that the connector
    knows the lease as its own when it sees it.

    Raises TakeoverError, FabricError: the same command may be given again.
    """
    answer = await contract.evaluate(
        "GetRecords", canonical.dumps([[Kind.LEASE.value, acquirer_id]])
    )
    (found,) = json.loads(answer)
    before = from_json(Lease, found) if found is not None else None
    epoch = (before.epoch if before is not None else 0) + 1
    await renew(contract, acquirer_id, holder, claims, epoch)
    return Lease(acquirer_id, epoch, holder, before.msp_id if before is not None else "")


async def renew(
    contract: Contract, acquirer_id: str, holder: str, claims: Claims, epoch: int
) -> None:
    """Take this epoch and no other, which must be the one after that in force: a lease that
    somebody else has taken meanwhile stays theirs.

    Raises TakeoverError, FabricError: the same may be asked again.
    """
    claimed = claims.read()
    claims.write(epoch)
    item = {"acquirer_id": acquirer_id, "epoch": epoch, "holder": holder}
    (outcome,) = json.loads(await contract.submit("TakeLease", canonical.dumps([item])))
    told = Outcome.from_json(outcome)
    if not told.code.taken:
        claims.write(claimed)
        again = "; give the command again" if told.code is Code.LEASE_TAKEN else ""
        raise TakeoverError(f"{told.code}: {told.detail}{again}")
