"""A valid transaction of the contract, as the model sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from audit.blocks import AuditedTransaction, Endorsed
from audit.findings import Check, Wrong
from audit.membership import Identity


@dataclass(frozen=True)
class Invocation:
    """What was asked, by whom, and what the endorsers signed for it: status and answer, the event
    (name and payload, None for none), the bytes written by key (empty: deleted)."""

    block: int
    index: int
    tx_id: str
    time: str
    submitter: Identity
    endorsers: tuple[Identity, ...]
    arguments: tuple[bytes, ...]
    status: int
    answer: bytes
    event: tuple[str, bytes] | None
    writes: dict[str, bytes]


def read_invocation(
    transaction: AuditedTransaction,
    place: tuple[int, int],
    submitter: Identity,
    endorsers: tuple[Identity, ...],
    chaincode: str,
) -> Invocation | None:
    """The invocation, None when it is another chaincode's. Raises Wrong."""
    endorsed = transaction.endorsed
    if endorsed is None:
        return None
    writes = _writes(endorsed, chaincode)
    if endorsed.chaincode != chaincode:
        if writes:
            raise Wrong(Check.CALL, f"{endorsed.chaincode!r} writes the records of {chaincode}")
        return None
    return Invocation(
        block=place[0],
        index=place[1],
        tx_id=transaction.tx_id,
        time=_time(transaction.seconds, transaction.nanos),
        submitter=submitter,
        endorsers=endorsers,
        arguments=endorsed.arguments,
        status=endorsed.response_status,
        answer=endorsed.answer,
        event=endorsed.event,
        writes=writes,
    )


def _writes(endorsed: Endorsed, chaincode: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for namespace in endorsed.namespaces:
        if namespace.name != chaincode:
            if endorsed.chaincode == chaincode and namespace.kv.writes:
                raise Wrong(Check.RECORD, f"{chaincode} writes records of {namespace.name}")
            continue
        for write in namespace.kv.writes:
            if write.key in found:
                raise Wrong(Check.RECORD, f"{write.key} is written twice")
            found[write.key] = b"" if write.is_delete else write.value
    return found


def _time(seconds: int, nanos: int) -> str:
    """The submitter's claim, in UTC with milliseconds and Z. Raises Wrong when it is no time."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            seconds=seconds, microseconds=nanos // 1000
        )
    except OverflowError:
        raise Wrong(Check.TRANSACTION_FORM, f"second {seconds} is no time") from None
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
