"""What the supervisor puts on the ledger: one wrapper around the contract's two functions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from audit.jose import JoseError, canonical, strict_json
from clearline.codes import Code
from clearline.fabric.contract import Contract
from clearline.fabric.errors import CommitError, EndorseError, FabricError
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import IdentityError
from clearline.fabric.profile import Profile
from clearline.fabric.queue_batch import classify_endorse

# Seconds in which peers that are a block behind come level: the first person's word may not be at
# every endorser yet when the second says the same.
_LEVEL: Final = 20.0
_PAUSE: Final = 0.1


class DeskError(RuntimeError):
    """The ledger can't be asked, or answered what no contract of this network answers."""


@dataclass(frozen=True)
class Answered:
    """The contract's answer about one item."""

    code: Code
    status: str
    detail: str
    tx_id: str


async def submit(profile: Profile, function: str, item: Any) -> Answered:
    """Submit one item; harmless to repeat. Raises DeskError, which says what is known."""
    try:
        async with Gateway.connect(profile) as gateway:
            contract = gateway.network(profile.channel).contract(profile.chaincode)
            answer = await submitted(contract, function, canonical([item]))
    except IdentityError as error:
        raise DeskError(str(error)) from None
    except FabricError as error:
        raise DeskError(f"{error} (outcome: {error.outcome}); run it again") from None
    (one,) = _listed(answer, 1)
    return Answered(Code(one["code"]), one["status"], one["detail"], one["tx_id"])


async def record(profile: Profile, kind: str, record_id: str) -> Any:
    """A record as the ledger holds it, None when there is none. Raises DeskError."""
    try:
        async with Gateway.connect(profile) as gateway:
            contract = gateway.network(profile.channel).contract(profile.chaincode)
            answer = await contract.evaluate("GetRecords", canonical([[kind, record_id]]))
    except (IdentityError, FabricError) as error:
        raise DeskError(str(error)) from None
    (one,) = _listed(answer, 1)
    return one


async def submitted(contract: Contract, function: str, argument: bytes) -> bytes:
    """Endorsed anew while its peers are not level, within a bound. Raises FabricError."""
    clock = asyncio.get_running_loop().time
    end = clock() + _LEVEL
    while True:
        try:
            return await contract.submit(function, argument)
        except (EndorseError, CommitError) as error:
            if not _passes(error) or clock() >= end:
                raise
        await asyncio.sleep(_PAUSE)


def _passes(error: FabricError) -> bool:
    """Whether nothing was applied, only because peers or two transactions met at odds."""
    if isinstance(error, EndorseError):
        return error.outcome == "not_applied" and classify_endorse(error) == "mismatch"
    conflicts = ("MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT")
    return isinstance(error, CommitError) and error.code_name in conflicts


def _listed(answer: bytes, count: int) -> Sequence[Any]:
    try:
        items = strict_json(answer)
    except JoseError as error:
        raise DeskError(f"the contract answered what is {error}") from None
    if not isinstance(items, list) or len(items) != count:
        raise DeskError(f"the contract answered no list of {count}")
    return items
