"""A valid transaction of the contract, as the payment model sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from audit.blocks import AuditedTransaction
from audit.findings import Check, Wrong
from audit.jose import JoseError, strict_json
from audit.membership import Identity


@dataclass(frozen=True)
class Invocation:
    """Function and items from the arguments, writes by key (None: deleted), and who submitted."""

    block: int
    index: int
    tx_id: str
    time: str
    submitter: Identity
    endorsers: tuple[Identity, ...]
    function: str
    items: tuple[Any, ...]
    writes: dict[str, Any]

    def require(self, function: str, roles: tuple[str, ...], what: str) -> None:
        """Raise Wrong unless `what` comes from this function by one of these roles."""
        if self.function != function:
            raise Wrong(Check.RECORD, f"{what} is written by {self.function}, not {function}")
        if self.submitter.role not in roles:
            raise Wrong(
                Check.ROLE,
                f"{what} is written by {self.submitter.msp_id}'s {self.submitter.role or 'nobody'}"
                f", not a {' or '.join(roles)}",
            )


def read_invocation(
    transaction: AuditedTransaction,
    place: tuple[int, int],
    submitter: Identity,
    endorsers: tuple[Identity, ...],
    namespace: str,
) -> Invocation | None:
    """The invocation, None when it wrote nothing in the contract's namespace. Raises Wrong."""
    endorsed = transaction.endorsed
    if endorsed is None:
        return None
    raw = [w for one in endorsed.namespaces if one.name == namespace for w in one.kv.writes]
    if not raw:
        return None
    try:
        arguments = [argument.decode() for argument in endorsed.arguments]
        items = strict_json(arguments[1].encode())
        writes = {
            one.key: None if one.is_delete or not one.value else strict_json(one.value)
            for one in raw
        }
    except (JoseError, UnicodeDecodeError, IndexError) as error:
        raise Wrong(Check.RECORD, f"arguments or writes can't be read: {error}") from None
    if not isinstance(items, list):
        raise Wrong(Check.RECORD, "the argument is not a list of items")
    return Invocation(
        block=place[0],
        index=place[1],
        tx_id=transaction.tx_id,
        time=_time(transaction.seconds, transaction.nanos),
        submitter=submitter,
        endorsers=endorsers,
        function=arguments[0],
        items=tuple(items),
        writes=writes,
    )


def _time(seconds: int, nanos: int) -> str:
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{nanos // 1_000_000:03d}Z"
