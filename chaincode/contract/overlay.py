"""The records a batch works on: what was read, under what the batch itself has written.

Fabric has no read-your-own-writes, so a batch that reads the ledger between its items would let
two conflicting items pass. Every key is read before it is used: a key that the plan forgot is a
defect, and raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from clearline import jws, records
from clearline.jws import PublicKey
from clearline.records import Acquirer, KeyRecord, Merchant, Payment, Record


class PlanError(Exception):
    """A decision used a key that its plan had not named: a defect of the contract."""


class Overlay:
    """Records by key: committed ones as read, changed ones as written by earlier items."""

    def __init__(self, committed: Mapping[str, bytes | None]) -> None:
        self._committed = committed
        self._written: dict[str, bytes] = {}
        self._parsed: dict[str, object] = {}

    def get(self, kind: type[Record], key: str) -> Record | None:
        """The record at `key` as this point of the batch sees it; not to be changed in place."""
        if key in self._parsed:
            known = self._parsed[key]
            if known is not None and not isinstance(known, kind):
                raise ValueError(f"{key} holds another kind of record")
            return known
        raw = self._raw(key)
        record = None if raw is None else _load(kind, raw)
        self._parsed[key] = record
        return record

    def put(self, key: str, record: Record) -> None:
        """Write a record; later items of the batch see it."""
        if key not in self._committed:
            raise PlanError(f"{key} is written but was not read")
        self._written[key] = records.dump(record)
        self._parsed[key] = record

    def writes(self) -> list[tuple[str, bytes]]:
        """The batch's writes, one a key, in the order of the keys."""
        return sorted(self._written.items())

    def _raw(self, key: str) -> bytes | None:
        if key not in self._committed:
            raise PlanError(f"{key} is used but was not read")
        return self._written.get(key, self._committed[key])


# Merchants and acquirers recur in every transaction with the same bytes, payments between a plan
# and its decision; records are not changed in place, so one parsed copy serves all.
_RECURRING = (Merchant, Acquirer, Payment)


def _load(kind: type[Record], raw: bytes) -> Record:
    if kind in _RECURRING:
        hashable: Any = kind  # mypy takes a dataclass's own __hash__ for its type's
        found: Record = _load_once(hashable, raw)
        return found
    return records.load(kind, raw)


@lru_cache(maxsize=1024)
def _load_once(kind: Any, raw: bytes) -> Any:
    return records.load(kind, raw)


def verification_key(key: KeyRecord) -> PublicKey:
    """A key record as a key, with the algorithm that the record names. Raises JwsError."""
    return _verification_key(key.algorithm, tuple(sorted(key.jwk.items())))


@lru_cache(maxsize=1024)
def _verification_key(algorithm: str, jwk: tuple[tuple[str, str], ...]) -> PublicKey:
    return jws.public_key(dict(jwk), jws.Algorithm(algorithm))
