"""The commit hash that peers chain from block 1 on: equal hashes mean equal flags and state.

After core/ledger/kvledger/kv_ledger.go addBlockCommitHash and
core/ledger/kvledger/txmgmt/txmgr/update_batch_bytes.go.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from network.embedded.peer.mvcc import Updates
from network.embedded.peer.statedb import Version, VersionedValue, encode_varint

_LENGTHS = tuple(encode_varint(size) for size in range(4096))
"""Most lengths that occur: a block of grouped payments has thousands of entries."""


@lru_cache(maxsize=1024)
def version_bytes(version: Version) -> bytes:
    """Block and transaction as order-preserving varints: a length byte, then big-endian bytes."""
    return b"".join(_ordered(number) for number in version)


def _ordered(number: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return bytes((size,)) + number.to_bytes(size, "big")


def _length(data: bytes) -> bytes:
    size = len(data)
    return _LENGTHS[size] if size < len(_LENGTHS) else encode_varint(size)


def _entry(namespace: bytes, collection: bytes, key: bytes, item: VersionedValue) -> bytes:
    """One KVWriteProto inside the list: fields 1 to 6, empty ones left out."""
    value = item.value
    version = version_bytes(item.version)
    body = b"".join(
        (
            b"\x0a" + _length(namespace) + namespace if namespace else b"",
            b"\x12" + _length(collection) + collection if collection else b"",
            b"\x1a" + _length(key) + key if key else b"",
            b"\x20\x01" if value is None else b"",
            b"\x2a" + _length(value) + value if value else b"",
            b"\x32" + _length(version) + version,
        )
    )
    return b"\x0a" + _length(body) + body


def update_bytes(updates: Updates) -> bytes:
    """A block's updates in one order: namespaces, public before collections, keys.

    Only the first entry of a namespace names it, likewise for a collection.
    """
    parts: list[bytes] = []
    for namespace in sorted({*updates.public, *updates.hashed}):
        if not namespace:
            continue  # the channel configuration's own namespace
        name = namespace.encode()
        public = updates.public.get(namespace, {})
        for key in sorted(public):
            parts.append(_entry(name, b"", key, public[key]))
            name = b""
        collections = updates.hashed.get(namespace, {})
        for collection in sorted(collections):
            label = collection.encode()
            for key in sorted(collections[collection]):
                parts.append(_entry(name, label, key, collections[collection][key]))
                name = label = b""
    return b"".join(parts)


def commit_hash(flags: bytes, updates: Updates, previous: bytes) -> bytes:
    """SHA-256 of varint(flag count) || flags || updates || previous commit hash."""
    content = encode_varint(len(flags)) + flags + update_bytes(updates) + previous
    return hashlib.sha256(content).digest()
