"""The auditor's own world state: values and versions, from committed writes only.

Semantics: Fabric's core/ledger/kvledger/txmgmt/validation (version = block and transaction; any
earlier update in the block conflicts, deletes too).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Any

from audit.blocks import Endorsed, Namespace
from audit.findings import Check, Wrong
from audit.history import History, value_digest

Version = tuple[int, int]


class WorldState:
    """Values and versions by namespace and key; hashed collections by their key hashes."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._values: dict[tuple[str, str], tuple[bytes, Version]] = {}
        self._hashed: dict[tuple[str, str, bytes], Version] = {}
        self._touched: set[tuple[str, ...] | tuple[str, str, bytes]] = set()

    def get(self, namespace: str, key: str) -> bytes | None:
        """The committed value."""
        entry = self._values.get((namespace, key))
        return None if entry is None else entry[0]

    def begin_block(self) -> None:
        """Forget what the block before touched."""
        self._touched.clear()

    def check_followed(self, endorsed: Endorsed) -> None:
        """Raise Wrong for what the auditor can't follow."""
        for namespace in endorsed.namespaces:
            if namespace.kv.metadata_writes:
                raise Wrong(Check.UNCHECKED, f"{namespace.name}: key-level policies are written")

    def check_reads(self, endorsed: Endorsed) -> None:
        """Raise Wrong when what was read is not what is committed."""
        for namespace in endorsed.namespaces:
            for read in namespace.kv.reads:
                self._check_read(namespace.name, read)
            for query in namespace.kv.range_queries_info:
                self._check_range(namespace.name, query)
            for collection, hashed in namespace.collections:
                for read in hashed.hashed_reads:
                    place = (namespace.name, collection, bytes(read.key_hash))
                    found = self._hashed.get(place)
                    if place in self._touched or found != _version(read):
                        raise Wrong(Check.READ_VERSIONS, f"{collection}: a hashed read is stale")

    def apply(self, endorsed: Endorsed, version: Version) -> None:
        """Commit a valid transaction's writes."""
        for namespace in endorsed.namespaces:
            for write in namespace.kv.writes:
                key = (namespace.name, write.key)
                self._touched.add(key)
                if write.is_delete or not write.value:  # rwset_proto_util.go: empty deletes
                    self._values.pop(key, None)
                    self._history.note(("key", *key), version, None)
                else:
                    self.put(*key, write.value, version)
            for collection, hashed in namespace.collections:
                self._apply_hashed(namespace, collection, hashed, version)

    def put(self, namespace: str, key: str, value: bytes, version: Version) -> None:
        """Hold a value."""
        self._values[namespace, key] = (value, version)
        self._history.note(("key", namespace, key), version, value_digest(value))

    def put_hashed(
        self, namespace: str, collection: str, key_hash: bytes, version: Version
    ) -> None:
        """Hold the version of a private key."""
        self._hashed[namespace, collection, key_hash] = version
        self._history.note(("hashed", namespace, collection, key_hash.hex()), version, "")

    def values(self) -> Iterator[tuple[str, str, bytes, Version]]:
        """Namespace, key, value and version of all there is."""
        for (namespace, key), (value, version) in self._values.items():
            yield namespace, key, value, version

    def hashed(self) -> Iterator[tuple[str, str, bytes, Version]]:
        """Namespace, collection, key hash and version of all private keys."""
        for place, version in self._hashed.items():
            yield *place, version

    def keys(self, namespace: str, start: str, end: str) -> Iterator[str]:
        """Keys in [start, end) in order; an empty end is open."""
        keys = sorted(key for space, key in self._values if space == namespace)
        first = bisect.bisect_left(keys, start)
        last = bisect.bisect_left(keys, end) if end else len(keys)
        yield from keys[first:last]

    def _apply_hashed(
        self, namespace: Namespace, collection: str, hashed: Any, version: Version
    ) -> None:
        for write in hashed.hashed_writes:
            place = (namespace.name, collection, bytes(write.key_hash))
            self._touched.add(place)
            if write.is_delete or write.is_purge:
                self._hashed.pop(place, None)
                named = (namespace.name, collection, place[2].hex())
                self._history.note(("hashed", *named), version, None)
            else:
                self.put_hashed(*place, version)

    def _check_read(self, namespace: str, read: Any) -> None:
        entry = self._values.get((namespace, read.key))
        found = None if entry is None else entry[1]
        if (namespace, read.key) in self._touched:
            raise Wrong(Check.READ_VERSIONS, f"{namespace}: {read.key} changed in this block")
        if found != _version(read):
            raise Wrong(
                Check.READ_VERSIONS,
                f"{namespace}: {read.key} was read at {_version(read)}, committed is {found}",
            )

    def _check_range(self, namespace: str, query: Any) -> None:
        if query.HasField("reads_merkle_hashes"):
            raise Wrong(Check.UNCHECKED, f"{namespace}: a range is summarised by hashes")
        read = {one.key: _version(one) for one in query.raw_reads.kv_reads}
        found = {
            key: self._values[namespace, key][1]
            for key in self.keys(namespace, query.start_key, query.end_key)
        }
        if not query.itr_exhausted and query.end_key in read:
            found[query.end_key] = self._values.get((namespace, query.end_key), (b"", (-1, -1)))[1]
        if read != found:
            raise Wrong(Check.READ_VERSIONS, f"{namespace}: a range from {query.start_key} changed")


def _version(read: Any) -> Version | None:
    if not read.HasField("version"):
        return None
    return (read.version.block_num, read.version.tx_num)
