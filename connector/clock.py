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

    async def agrees(self) -> bool:
        """Whether the ledger takes our clock for right."""
        async with self._asking:
            at = asyncio.get_running_loop().time()
            ahead = times.parse(times.now()).timestamp() - at
            if self._agreed is not None:
                before, was = self._agreed
                if at - before < _COUNTS_S and abs(ahead - was) < _JUMP_S:
                    return True
            try:
                await self._contract.evaluate("GetRecords", self._question)
            except FabricError as error:
                self._agreed = None
                _log.warning("nothing is called expired: the ledger does not agree to our clock, "
                             "or does not answer", extra={"reason": str(error)})  # fmt: skip
                return False
            self._agreed = at, ahead
            return True
