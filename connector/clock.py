"""Whether this machine's clock may call a payment expired.

An expiry is a trigger that can't be taken back: the acquirer is told to close, or the payment ends
unsent. So the ledger is asked first: the chaincode server refuses a proposal, a query too, whose
timestamp, our clock's, is more than five minutes from its own (chaincode/server.py). Whoever gets
no answer does not know, and waits.
"""

from __future__ import annotations

import asyncio
from typing import Final

from clearline import canonical, times
from clearline.fabric.errors import FabricError
from clearline.logs import get_logger
from clearline.records import Kind
from connector.takeover import Contract

AGAIN_S: Final = 0.5  # seconds until a clock that is not agreed to is looked at again
_COUNTS_S: Final = 30.0  # seconds for which an answer counts, unless the clock jumps
_JUMP_S: Final = 1.0
_log = get_logger("connector.clock")


class LedgersClock:
    """Use it from one event loop."""

    def __init__(self, contract: Contract, acquirer_id: str) -> None:
        self._contract = contract
        self._question = canonical.dumps([[Kind.LEASE.value, acquirer_id]])
        self._asking = asyncio.Lock()
        self._agreed: tuple[float, float] | None = None  # when, and how far ahead of the loop's

    async def passed(self, moment: str) -> bool:
        """Whether it is later than this (RFC 3339), by a clock that the ledger agrees to."""
        if times.now() < moment or not await self._agreed_to():
            return False
        return times.now() >= moment  # it may have been put right meanwhile

    async def _agreed_to(self) -> bool:
        async with self._asking:
            if self._agreed is not None:
                since, was = self._agreed
                if _loop_time() - since < _COUNTS_S and abs(_ahead() - was) < _JUMP_S:
                    return True
            self._agreed = None
            since, was = _loop_time(), _ahead()
            try:
                await self._contract.evaluate("GetRecords", self._question)
            except FabricError as error:
                _log.warning("nothing is called expired: the ledger does not agree to our clock, "
                             "or does not answer", extra={"reason": str(error)})  # fmt: skip
                return False
            if abs(_ahead() - was) >= _JUMP_S:
                return False
            self._agreed = since, was
            return True


def _ahead() -> float:
    """Seconds by which the clock is ahead of the loop's, which does not jump."""
    return times.parse(times.now()).timestamp() - _loop_time()


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
