"""Between shim and contract: arguments and records in, outcomes, writes and event out.

A payment transaction takes two round trips: one read of all keys, one batch of writes. The
decisions themselves are in chaincode/contract/ and see neither stream nor ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chaincode.contract import reads
from chaincode.contract.context import ROLE_ATTRIBUTE, Submitter, Transaction
from chaincode.contract.functions import KeyReader, RangeReader, Writer, function
from chaincode.contract.reads import Range
from chaincode.shim.identity import ClientIdentity
from chaincode.shim.stub import Stub
from chaincode.shim.wire import Response
from clearline.cards import redact
from clearline.codes import Code, Refusal
from clearline.records import EVENT

# A plan names more keys only after it has seen records, and never more than twice: a payment's
# never, an approval's what its proposal names, and what that names where an account is shared.
_MOST_ROUNDS = 3


class PaymentChaincode:
    """The payment contract of one network, as the shim runs it."""

    def __init__(self, network: str) -> None:
        self._network = network

    async def invoke(self, stub: Stub) -> Response:
        """Answer one transaction: 200 with outcomes or records, 4xx "<code>: <detail>"."""
        try:
            return Response(200, await self._answer(stub))
        except Refusal as refusal:
            status = 403 if refusal.code is Code.ROLE_FORBIDDEN else 400
            return Response(status, message=f"{refusal.code}: {redact(refusal.detail)}")

    async def _answer(self, stub: Stub) -> bytes:
        submitter = _submitter(stub.identity)
        name, argument = _call(stub.args)
        called = function(name, submitter)
        if isinstance(called, KeyReader):
            return reads.answer(await stub.get_states(called.asked(argument)))
        if isinstance(called, RangeReader):
            return reads.answer(await _read_range(stub, called.asked(argument)))
        transaction = Transaction(stub.tx_id, stub.timestamp, self._network, submitter)
        return await _write(stub, called, argument, transaction)


async def _write(
    stub: Stub, writer: Writer[Any], argument: bytes, transaction: Transaction
) -> bytes:
    batch = writer.batch(argument)
    committed: dict[str, bytes | None] = {}
    for _ in range(_MOST_ROUNDS):
        missing = batch.missing(committed)
        if not missing:
            break
        committed |= zip(missing, await stub.get_states(missing), strict=True)
    decision = batch.decide(transaction, committed)
    for key, value in decision.writes:
        stub.put_state(key, value)
    if decision.event:
        stub.set_event(EVENT, decision.event)
    return decision.answer()


async def _read_range(stub: Stub, asked: Range) -> list[bytes]:
    found: list[bytes] = []
    async with await stub.range(asked.start, asked.end) as entries:
        async for entry in entries:
            if asked.takes(entry.value):
                found.append(entry.value)
            if len(found) == asked.limit:
                break
    return found


def _submitter(identity: ClientIdentity) -> Submitter:
    role = identity.attribute(ROLE_ATTRIBUTE) or ""
    return Submitter(identity.msp_id, role, identity.names_sha256)


def _call(args: Sequence[bytes]) -> tuple[str, bytes]:
    if len(args) != 2:
        raise Refusal(Code.MALFORMED, "a call is a function's name and one JSON argument")
    return args[0].decode(errors="replace"), args[1]
