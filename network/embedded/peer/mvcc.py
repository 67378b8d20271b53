"""Version checks of a block's transactions and the state they leave.

After core/ledger/kvledger/txmgmt/validation (validator.go, tx_ops.go, combined_iterator.go,
rangequery_validator.go). Pure: committed state in, validation codes and updates out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import transaction_pb2

from network.embedded.peer.rwset import (
    NsRwSet,
    RangeResults,
    get_version,
    is_delete,
    is_hash_delete,
)
from network.embedded.peer.statedb import Version, VersionedValue, hashed_namespace

VALID: int = transaction_pb2.TxValidationCode.VALID
MVCC_READ_CONFLICT: int = transaction_pb2.TxValidationCode.MVCC_READ_CONFLICT
PHANTOM_READ_CONFLICT: int = transaction_pb2.TxValidationCode.PHANTOM_READ_CONFLICT


class State(Protocol):
    """Committed state as the checks read it (statedb.StateView)."""

    def get(self, namespace: str, key: bytes) -> VersionedValue | None: ...

    def scan(
        self, namespace: str, start: bytes, end: bytes
    ) -> Iterator[tuple[bytes, VersionedValue]]: ...


class Updates:
    """What the valid transactions of a block write, by namespace, collection and key."""

    def __init__(self) -> None:
        self.public: dict[str, dict[bytes, VersionedValue]] = {}
        self.hashed: dict[str, dict[str, dict[bytes, VersionedValue]]] = {}

    def space(self, namespace: str, collection: str) -> dict[bytes, VersionedValue] | None:
        """Updates of a namespace, or of one of its collections; None when there are none."""
        if not collection:
            return self.public.get(namespace)
        return self.hashed.get(namespace, {}).get(collection)

    def put(self, namespace: str, collection: str, key: bytes, item: VersionedValue) -> None:
        """Record an update; a later one of the same key replaces it."""
        if collection:
            by_collection = self.hashed.setdefault(namespace, {})
            by_collection.setdefault(collection, {})[key] = item
        else:
            self.public.setdefault(namespace, {})[key] = item

    def get(self, namespace: str, collection: str, key: bytes) -> VersionedValue | None:
        """The update of a key (a delete has no value), or None."""
        space = self.space(namespace, collection)
        return space.get(key) if space else None

    def flatten(self) -> dict[tuple[str, bytes], VersionedValue]:
        """(state namespace, key) -> item, hashes in their derived namespaces."""
        flat: dict[tuple[str, bytes], VersionedValue] = {}
        for namespace, items in self.public.items():
            for key, item in items.items():
                flat[(namespace, key)] = item
        for namespace, collections in self.hashed.items():
            for collection, items in collections.items():
                for key, item in items.items():
                    flat[(hashed_namespace(namespace, collection), key)] = item
        return flat


def check(rwsets: Sequence[NsRwSet], state: State, updates: Updates) -> int:
    """The validation code of one transaction against committed state and earlier updates.

    Per namespace: reads, then range queries, then hashed reads.
    """
    for entry in rwsets:
        namespace = entry.namespace
        pending = updates.space(namespace, "")
        for read in entry.public.reads:
            key = read.key.encode()
            if pending and key in pending:
                return MVCC_READ_CONFLICT
            if _version_of(state.get(namespace, key)) != get_version(read):
                return MVCC_READ_CONFLICT
        for query in entry.public.range_queries_info:
            if not _range_holds(namespace, query, state, pending or {}):
                return PHANTOM_READ_CONFLICT
        for collection, hashed, _ in entry.collections:
            space = updates.space(namespace, collection)
            for read in hashed.hashed_reads:
                if space and read.key_hash in space:
                    return MVCC_READ_CONFLICT
                item = state.get(hashed_namespace(namespace, collection), read.key_hash)
                if _version_of(item) != get_version(read):
                    return MVCC_READ_CONFLICT
    return VALID


def _version_of(item: VersionedValue | None) -> Version | None:
    return item.version if item is not None else None


def _combined(
    namespace: str, query: Any, state: State, pending: dict[bytes, VersionedValue]
) -> Iterator[tuple[bytes, Version]]:
    """Live keys of a range after the updates; the end key too when it wasn't exhausted."""
    start, end = query.start_key.encode(), query.end_key.encode()
    updated = sorted(key for key in pending if key >= start and (not end or key < end))
    position = 0
    for key, item in state.scan(namespace, start, end):
        while position < len(updated) and updated[position] < key:
            fresh = pending[updated[position]]
            if fresh.value is not None:
                yield updated[position], fresh.version
            position += 1
        if position < len(updated) and updated[position] == key:
            fresh = pending[key]
            position += 1
            if fresh.value is not None:
                yield key, fresh.version
        else:
            yield key, item.version
    for key in updated[position:]:
        if pending[key].value is not None:
            yield key, pending[key].version
    if not query.itr_exhausted:
        last = pending.get(end) or state.get(namespace, end)
        if last is not None and last.value is not None:
            yield end, last.version


def _range_holds(
    namespace: str, query: Any, state: State, pending: dict[bytes, VersionedValue]
) -> bool:
    items = _combined(namespace, query, state, pending)
    if not query.HasField("reads_merkle_hashes"):
        expected = [
            (read.key.encode(), get_version(read) or (0, 0)) for read in query.raw_reads.kv_reads
        ]
        for wanted in expected:
            if next(items, None) != wanted:
                return False
        return next(items, None) is None
    return _merkle_holds(query.reads_merkle_hashes, items)


def _merkle_holds(wanted: Any, items: Iterator[tuple[bytes, Version]]) -> bool:
    """rangequery_validator.go rangeQueryHashValidator, without its early exits' bookkeeping."""
    if wanted.max_degree < 2:
        return False  # Fabric stops the channel here; such a set is only ever forged
    hashes = tuple(wanted.max_level_hashes)
    results = RangeResults(wanted.max_degree)
    matched = 0
    for key, version in items:
        results.add(key.decode(), version)
        summary = results.summary()
        if summary.max_level < wanted.max_level or matched == len(summary.hashes):
            continue
        if len(summary.hashes) > len(hashes) or summary.hashes[matched] != hashes[matched]:
            return False
        matched += 1
    _, final = results.done()
    if final is None:
        return False
    return final.max_level == wanted.max_level and final.hashes == hashes


# tx_ops.go: Fabric adds these flags up, so that a key written twice in one set turns into another
# operation. A fork from real peers would be worse than the oddity.
_UPSERT, _METADATA_UPDATE, _METADATA_DELETE, _DELETE = 1, 2, 4, 8


class _KeyOps:
    __slots__ = ("flag", "metadata", "value")

    def __init__(self) -> None:
        self.flag = 0
        self.value: bytes | None = None
        self.metadata = b""

    def add(self, flag: int) -> None:
        self.flag = (self.flag + flag) & 0xFF


def apply(rwsets: Sequence[NsRwSet], version: Version, state: State, updates: Updates) -> None:
    """Add a valid transaction's writes to the updates.

    A value keeps the key's metadata, metadata keeps the value; metadata of a missing key is
    nothing.
    """
    operations: dict[tuple[str, str, bytes], _KeyOps] = {}
    for entry in rwsets:
        _collect(entry, operations)
    for (namespace, collection, key), operation in operations.items():
        value, metadata = operation.value, operation.metadata
        flag = operation.flag
        if flag & _DELETE:
            updates.put(namespace, collection, key, VersionedValue(None, b"", version))
            continue
        if not (flag & _UPSERT and flag & (_METADATA_UPDATE | _METADATA_DELETE)):
            latest = updates.get(namespace, collection, key)
            if latest is None:
                space = hashed_namespace(namespace, collection) if collection else namespace
                latest = state.get(space, key)
            if flag | _UPSERT == _UPSERT:
                metadata = latest.metadata if latest is not None else b""
            elif latest is None or latest.value is None:
                continue
            else:
                value = latest.value
        updates.put(namespace, collection, key, VersionedValue(value or b"", metadata, version))


def _collect(entry: NsRwSet, operations: dict[tuple[str, str, bytes], _KeyOps]) -> None:
    namespace = entry.namespace

    def at(collection: str, key: bytes) -> _KeyOps:
        place = (namespace, collection, key)
        found = operations.get(place)
        if found is None:
            found = operations[place] = _KeyOps()
        return found

    def metadata(operation: _KeyOps, write: Any) -> None:
        if not write.entries:
            operation.add(_METADATA_DELETE)
            return
        operation.add(_METADATA_UPDATE)
        stored = kv_rwset_pb2.KVMetadataWrite(entries=write.entries)
        operation.metadata = stored.SerializeToString()

    for write in entry.public.writes:
        operation = at("", write.key.encode())
        if is_delete(write):
            operation.add(_DELETE)
        else:
            operation.add(_UPSERT)
            operation.value = write.value
    for write in entry.public.metadata_writes:
        metadata(at("", write.key.encode()), write)
    for collection, hashed, _ in entry.collections:
        for write in hashed.hashed_writes:
            operation = at(collection, write.key_hash)
            if is_hash_delete(write):
                operation.add(_DELETE)
            else:
                operation.add(_UPSERT)
                operation.value = write.value_hash
        for write in hashed.metadata_writes:
            metadata(at(collection, write.key_hash), write)
