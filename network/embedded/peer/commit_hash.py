"""The commit hash that peers chain from block 1 on: equal hashes mean equal flags and state.

After core/ledger/kvledger/kv_ledger.go addBlockCommitHash and
core/ledger/kvledger/txmgmt/txmgr/update_batch_bytes.go.
"""

from __future__ import annotations

import hashlib

from network.embedded.peer.mvcc import Updates
from network.embedded.peer.statedb import Version, VersionedValue, encode_varint


def version_bytes(version: Version) -> bytes:
    """Block and transaction as order-preserving varints: a length byte, then big-endian bytes."""
    return b"".join(_ordered(number) for number in version)


def _ordered(number: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return bytes((size,)) + number.to_bytes(size, "big")


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + encode_varint(len(data)) + data if data else b""


def _entry(namespace: str, collection: str, key: bytes, item: VersionedValue) -> bytes:
    deleted = b"\x20\x01" if item.value is None else b""
    body = b"".join(
        (
            _field(1, namespace.encode()),
            _field(2, collection.encode()),
            _field(3, key),
            deleted,
            _field(5, item.value or b""),
            _field(6, version_bytes(item.version)),
        )
    )
    return b"\x0a" + encode_varint(len(body)) + body


def update_bytes(updates: Updates) -> bytes:
    """A block's updates in one order: namespaces, public before collections, keys.

    Only the first entry of a namespace names it, likewise for a collection.
    """
    parts: list[bytes] = []
    for namespace in sorted({*updates.public, *updates.hashed}):
        if not namespace:
            continue  # the channel configuration's own namespace
        name = namespace
        public = updates.public.get(namespace, {})
        for key in sorted(public):
            parts.append(_entry(name, "", key, public[key]))
            name = ""
        collections = updates.hashed.get(namespace, {})
        for collection in sorted(collections):
            label = collection
            for key in sorted(collections[collection]):
                parts.append(_entry(name, label, key, collections[collection][key]))
                name = label = ""
    return b"".join(parts)


def commit_hash(flags: bytes, updates: Updates, previous: bytes) -> bytes:
    """SHA-256 of varint(flag count) || flags || updates || previous commit hash."""
    content = encode_varint(len(flags)) + flags + update_bytes(updates) + previous
    return hashlib.sha256(content).digest()
