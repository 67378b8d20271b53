"""Read-write sets, built byte for byte as Fabric builds them.

After core/ledger/kvledger/txmgmt/rwsetutil (rwset_builder.go, query_results_helper.go):
everything sorted by key except range queries, which stay in the order of their making and are
deduplicated by (start, end, exhausted). There is no read-your-own-writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from network.embedded.peer.statedb import Version

MAX_DEGREE = 50
"""Range results above this many are recorded as a Merkle summary (query_executor.go)."""

_EMPTY_HASH = hashlib.sha256(b"").digest()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def kv_read(key: str, version: Version | None) -> Any:
    """A KVRead; no version for a key that doesn't exist."""
    read = kv_rwset_pb2.KVRead(key=key)
    set_version(read, version)
    return read


def set_version(message: Any, version: Version | None) -> None:
    """Set a message's `version`; (0, 0) is an empty but present message."""
    if version is not None:
        message.version.SetInParent()
        message.version.block_num, message.version.tx_num = version


def get_version(message: Any) -> Version | None:
    """A message's `version` or None."""
    if not message.HasField("version"):
        return None
    return message.version.block_num, message.version.tx_num


def is_delete(write: Any) -> bool:
    """Whether a KVWrite deletes: an empty value does too (rwset_proto_util.go)."""
    return bool(write.is_delete) or not write.value


def is_hash_delete(write: Any) -> bool:
    """Whether a KVWriteHash deletes (rwset_proto_util.go IsKVWriteHashDelete)."""
    return bool(write.is_delete) or not write.value_hash or write.value_hash == _EMPTY_HASH


class _MerkleTree:
    """query_results_helper.go merkleTree: hashes of groups of max_degree + 1, level by level."""

    def __init__(self, max_degree: int) -> None:
        self.levels: dict[int, list[bytes]] = {}
        self.max_level = 1
        self.max_degree = max_degree

    def update(self, leaf_hash: bytes) -> None:
        level = 1
        self.levels.setdefault(level, []).append(leaf_hash)
        while len(self.levels[level]) > self.max_degree:
            combined = _sha256(b"".join(self.levels.pop(level)))
            level += 1
            self.levels.setdefault(level, []).append(combined)
            self.max_level = max(self.max_level, level)

    def done(self) -> None:
        level = 1
        while level < self.max_level:
            hashes = self.levels.pop(level, [])
            level += 1
            if hashes:
                combined = hashes[0] if len(hashes) == 1 else _sha256(b"".join(hashes))
                self.levels.setdefault(level, []).append(combined)
        final = self.levels.get(self.max_level, [])
        if len(final) > self.max_degree:
            del self.levels[self.max_level]
            self.max_level += 1
            self.levels[self.max_level] = [_sha256(b"".join(final))]

    def top(self) -> list[bytes]:
        return self.levels.get(self.max_level, [])


@dataclass(frozen=True)
class MerkleSummary:
    """kvrwset.QueryReadsMerkleSummary."""

    max_degree: int
    max_level: int
    hashes: tuple[bytes, ...]


class RangeResults:
    """What a range query returned: raw reads, or a Merkle summary above `max_degree` of them."""

    def __init__(self, max_degree: int = MAX_DEGREE) -> None:
        if max_degree < 2:
            raise ValueError(f"max degree {max_degree} is below 2")
        self._pending: list[Any] = []
        self._tree = _MerkleTree(max_degree)

    def add(self, key: str, version: Version) -> None:
        """The next result."""
        self._pending.append(kv_read(key, version))
        if len(self._pending) > self._tree.max_degree:
            self._process()

    def _process(self) -> None:
        reads = kv_rwset_pb2.QueryReads(kv_reads=self._pending)
        self._pending = []
        self._tree.update(_sha256(reads.SerializeToString()))

    def summary(self) -> MerkleSummary:
        """The tree's state so far."""
        tree = self._tree
        return MerkleSummary(tree.max_degree, tree.max_level, tuple(tree.top()))

    def done(self) -> tuple[list[Any], MerkleSummary | None]:
        """(raw reads, None), or ([], summary) once anything was hashed."""
        if self._tree.max_level == 1 and not self._tree.top():
            return self._pending, None
        if self._pending:
            self._process()
        self._tree.done()
        return [], self.summary()


@dataclass
class RangeQuery:
    """One range query as far as its iterator went (kvrwset.RangeQueryInfo)."""

    start_key: str
    end_key: str = ""
    exhausted: bool = False
    results: RangeResults = field(default_factory=RangeResults)

    def to_proto(self) -> Any:
        """The kvrwset.RangeQueryInfo."""
        info = kv_rwset_pb2.RangeQueryInfo(
            start_key=self.start_key, end_key=self.end_key, itr_exhausted=self.exhausted
        )
        reads, summary = self.results.done()
        if summary is not None:
            info.reads_merkle_hashes.max_degree = summary.max_degree
            info.reads_merkle_hashes.max_level = summary.max_level
            info.reads_merkle_hashes.max_level_hashes.extend(summary.hashes)
        elif reads:
            info.raw_reads.kv_reads.extend(reads)
        return info


@dataclass
class _Collection:
    """Hashed reads and private writes of one collection."""

    reads: dict[str, Version | None] = field(default_factory=dict)
    writes: dict[str, bytes] = field(default_factory=dict)

    def private(self) -> bytes:
        rwset = kv_rwset_pb2.KVRWSet()
        for key in sorted(self.writes):
            value = self.writes[key]
            rwset.writes.add(key=key, is_delete=not value, value=value)
        return bytes(rwset.SerializeToString())

    def hashed(self) -> bytes:
        rwset = kv_rwset_pb2.HashedRWSet()
        for key in sorted(self.reads):
            read = rwset.hashed_reads.add(key_hash=_sha256(key.encode()))
            set_version(read, self.reads[key])
        for key in sorted(self.writes):
            value = self.writes[key]
            rwset.hashed_writes.add(
                key_hash=_sha256(key.encode()),
                is_delete=not value,
                value_hash=_sha256(value) if value else b"",
            )
        return bytes(rwset.SerializeToString())


@dataclass
class _Namespace:
    reads: dict[str, Version | None] = field(default_factory=dict)
    writes: dict[str, bytes] = field(default_factory=dict)
    metadata_writes: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    ranges: list[RangeQuery] = field(default_factory=list)
    collections: dict[str, _Collection] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        rwset = kv_rwset_pb2.KVRWSet()
        for key in sorted(self.reads):
            set_version(rwset.reads.add(key=key), self.reads[key])
        seen: set[tuple[str, str, bool]] = set()
        for query in self.ranges:
            identity = (query.start_key, query.end_key, query.exhausted)
            if identity not in seen:
                seen.add(identity)
                rwset.range_queries_info.append(query.to_proto())
        for key in sorted(self.writes):
            value = self.writes[key]
            rwset.writes.add(key=key, is_delete=not value, value=value)
        for key in sorted(self.metadata_writes):
            write = rwset.metadata_writes.add(key=key)
            entries = self.metadata_writes[key]
            for name in sorted(entries):
                write.entries.add(name=name, value=entries[name])
        return bytes(rwset.SerializeToString())


class RwSetBuilder:
    """Collects what a simulation reads and writes."""

    def __init__(self) -> None:
        self._namespaces: dict[str, _Namespace] = {}

    def _namespace(self, namespace: str) -> _Namespace:
        found = self._namespaces.get(namespace)
        if found is None:
            found = self._namespaces[namespace] = _Namespace()
        return found

    def _collection(self, namespace: str, collection: str) -> _Collection:
        return self._namespace(namespace).collections.setdefault(collection, _Collection())

    def read(self, namespace: str, key: str, version: Version | None) -> None:
        """A key was read at a version, or was missing (None)."""
        self._namespace(namespace).reads[key] = version

    def write(self, namespace: str, key: str, value: bytes) -> None:
        """A key gets a value; an empty value deletes it."""
        self._namespace(namespace).writes[key] = value

    def write_metadata(self, namespace: str, key: str, metadata: Mapping[str, bytes]) -> None:
        """A key's metadata is replaced; an empty mapping removes it."""
        self._namespace(namespace).metadata_writes[key] = metadata

    def range_query(self, namespace: str, query: RangeQuery) -> None:
        """A range query; it may go on after this call."""
        self._namespace(namespace).ranges.append(query)

    def hashed_read(
        self, namespace: str, collection: str, key: str, version: Version | None
    ) -> None:
        """A private key, or its hash, was read."""
        self._collection(namespace, collection).reads[key] = version

    def private_write(self, namespace: str, collection: str, key: str, value: bytes) -> None:
        """A private key gets a value; its hashes go into the public set."""
        self._collection(namespace, collection).writes[key] = value

    def namespaces(self) -> Iterable[str]:
        """Namespaces that were touched."""
        return self._namespaces.keys()

    def public_bytes(self) -> bytes:
        """The serialised rwset.TxReadWriteSet, private parts as hashes."""
        message = rwset_pb2.TxReadWriteSet(data_model=rwset_pb2.TxReadWriteSet.KV)
        for name in sorted(self._namespaces):
            namespace = self._namespaces[name]
            entry = message.ns_rwset.add(namespace=name, rwset=namespace.to_bytes())
            for collection_name in sorted(namespace.collections):
                collection = namespace.collections[collection_name]
                hashed = entry.collection_hashed_rwset.add(
                    collection_name=collection_name, hashed_rwset=collection.hashed()
                )
                if collection.writes:
                    hashed.pvt_rwset_hash = _sha256(collection.private())
        return bytes(message.SerializeToString())

    def private_bytes(self) -> bytes:
        """The serialised rwset.TxPvtReadWriteSet; empty when nothing private was written."""
        message = rwset_pb2.TxPvtReadWriteSet(data_model=rwset_pb2.TxReadWriteSet.KV)
        for name in sorted(self._namespaces):
            written = {
                key: item for key, item in self._namespaces[name].collections.items() if item.writes
            }
            if not written:
                continue
            entry = message.ns_pvt_rwset.add(namespace=name)
            for collection_name in sorted(written):
                entry.collection_pvt_rwset.add(
                    collection_name=collection_name, rwset=written[collection_name].private()
                )
        return bytes(message.SerializeToString()) if message.ns_pvt_rwset else b""


@dataclass(frozen=True)
class NsRwSet:
    """A parsed namespace: kvrwset.KVRWSet and (collection, HashedRWSet, private hash) triples."""

    namespace: str
    public: Any
    collections: tuple[tuple[str, Any, bytes], ...]

    @property
    def writes(self) -> bool:
        """Whether it changes the ledger (dispatcher.go txWritesToNamespace)."""
        if self.public.writes or self.public.metadata_writes:
            return True
        return any(item.hashed_writes or item.metadata_writes for _, item, _ in self.collections)


def parse(data: bytes, decode: Callable[[Any, bytes], Any]) -> tuple[NsRwSet, ...]:
    """A serialised rwset.TxReadWriteSet. `decode(message type, bytes)` raises on bad bytes."""
    parsed = []
    for entry in decode(rwset_pb2.TxReadWriteSet, data).ns_rwset:
        public = decode(kv_rwset_pb2.KVRWSet, entry.rwset)
        collections = tuple(
            (
                item.collection_name,
                decode(kv_rwset_pb2.HashedRWSet, item.hashed_rwset),
                item.pvt_rwset_hash,
            )
            for item in entry.collection_hashed_rwset
        )
        parsed.append(NsRwSet(entry.namespace, public, collections))
    return tuple(parsed)
