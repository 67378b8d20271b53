"""World state inside LMDB: versioned values by namespace and key, in Fabric's key order.

A record is `namespace \\0 key` -> versions, metadata, value. LMDB's keys end at 511 bytes and
Fabric's don't: a longer record keeps its first bytes as the LMDB key, a marker that no UTF-8 text
holds and a hash, so that order and every length are kept (stateleveldb.go has no such limit).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

Version = tuple[int, int]
"""(block number, transaction number): version.Height in Fabric."""

_HEAD = 450
_LONG = b"\xff"
_MOST_KEPT, _MOST_KEPT_BYTES = 4096, 4096
"""Items, and bytes of one, that a view remembers: hostile reads must not fill the memory."""


class VersionedValue(NamedTuple):
    """A value with its metadata (serialised KVMetadataWrite or empty) and version.

    `value` is None for a key that a block deletes.
    """

    value: bytes | None
    metadata: bytes
    version: Version


def encode_varint(number: int) -> bytes:
    """A protobuf varint."""
    return _VARINTS[number] if number < len(_VARINTS) else _encode_varint(number)


def _encode_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# Most lengths that occur: a block of grouped payments has thousands of entries.
_VARINTS = tuple(_encode_varint(number) for number in range(4096))


def _decode_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def hashed_namespace(namespace: str, collection: str) -> str:
    """Where a collection's hashes live (privacyenabledstate/db.go deriveHashedDataNs)."""
    return f"{namespace}$$h{collection}"


def private_namespace(namespace: str, collection: str) -> str:
    """Where a collection's own data lives (privacyenabledstate/db.go derivePvtDataNs)."""
    return f"{namespace}$$p{collection}"


def _lmdb_key(record: bytes) -> bytes:
    if len(record) <= _HEAD:
        return record
    return record[:_HEAD] + _LONG + hashlib.sha256(record).digest()


@lru_cache(maxsize=1024)
def _encode_version(version: Version) -> bytes:
    return encode_varint(version[0]) + encode_varint(version[1])


def encode_record(key: bytes, item: VersionedValue) -> bytes:
    """The stored bytes of a live item; the whole key is kept because LMDB's may be cut."""
    value, metadata, version = item
    head = _encode_version(version)
    if not metadata and len(key) <= _HEAD:
        return head + b"\x00\x00" + (value or b"")
    parts = (
        head,
        encode_varint(len(metadata)),
        metadata,
        encode_varint(len(key)) + key if len(key) > _HEAD else b"\x00",
        value or b"",
    )
    return b"".join(parts)


def _decode_record(data: bytes) -> tuple[bytes, VersionedValue]:
    block, at = _decode_varint(data, 0)
    tx, at = _decode_varint(data, at)
    size, at = _decode_varint(data, at)
    metadata = data[at : at + size]
    at += size
    size, at = _decode_varint(data, at)
    long_key = data[at : at + size]
    return long_key, VersionedValue(data[at + size :], metadata, (block, tx))


class StateView:
    """Reads of the world state in one LMDB read transaction, which never sees a change.

    A key of a transaction is asked for up to three times - its policy, its version, its metadata -
    so what was found is kept.
    """

    def __init__(self, txn: Any, db: Any) -> None:
        self._txn = txn
        self._db = db
        self._kept: dict[tuple[str, bytes], VersionedValue | None] = {}

    def get(self, namespace: str, key: bytes) -> VersionedValue | None:
        """The item or None."""
        kept = self._kept
        place = (namespace, key)
        if place in kept:
            return kept[place]
        data = self._txn.get(_lmdb_key(namespace.encode() + b"\0" + key), db=self._db)
        item = None if data is None else _decode_record(data)[1]
        if len(kept) < _MOST_KEPT and (data is None or len(data) <= _MOST_KEPT_BYTES):
            kept[place] = item
        return item

    def scan(
        self, namespace: str, start: bytes, end: bytes
    ) -> Iterator[tuple[bytes, VersionedValue]]:
        """Items with start <= key < end in byte order; an empty `end` means no upper bound."""
        prefix = namespace.encode() + b"\0"
        first = prefix + start
        pending: list[tuple[bytes, VersionedValue]] = []
        with self._txn.cursor(db=self._db) as cursor:
            found = cursor.set_range(first[:_HEAD])
            while found:
                lmdb_key: bytes = cursor.key()
                if not lmdb_key.startswith(prefix):
                    break
                long_key, item = _decode_record(cursor.value())
                found = cursor.next()
                if long_key:
                    pending.append((long_key[len(prefix) :], item))
                    if found and cursor.key()[: _HEAD + 1] == lmdb_key[: _HEAD + 1]:
                        continue
                    batch = sorted(pending, key=lambda entry: entry[0])
                    pending = []
                else:
                    batch = [(lmdb_key[len(prefix) :], item)]
                for key, value in batch:
                    if key < start:
                        continue
                    if end and key >= end:
                        return
                    yield key, value


class StateWriter:
    """Writes of the world state in one LMDB write transaction."""

    def __init__(self, txn: Any, db: Any) -> None:
        self._txn = txn
        self._db = db

    def apply(self, updates: Mapping[tuple[str, bytes], VersionedValue]) -> None:
        """Put each item, or delete its key when its value is None."""
        live: list[tuple[bytes, bytes]] = []
        for (namespace, key), item in sorted(updates.items()):
            record = namespace.encode() + b"\0" + key
            if item.value is None:
                self._txn.delete(_lmdb_key(record), db=self._db)
            else:
                live.append((_lmdb_key(record), encode_record(record, item)))
        with self._txn.cursor(db=self._db) as cursor:
            cursor.putmulti(live)
