"""The commit hash that peers chain from block 1 on: equal hashes mean equal flags and state.

After core/ledger/kvledger/kv_ledger.go addBlockCommitHash and
core/ledger/kvledger/txmgmt/txmgr/update_batch_bytes.go.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from network.embedded.peer.mvcc import Updates
from network.embedded.peer.statedb import Version, VersionedValue, encode_varint


def version_bytes(version: Version) -> bytes:
    """Block and transaction as order-preserving varints: a length byte, then big-endian bytes."""
    return b"".join(_ordered(number) for number in version)


@lru_cache(maxsize=1024)
def _version_field(version: Version) -> bytes:
    return _field(b"\x32", version_bytes(version))


def _ordered(number: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return bytes((size,)) + number.to_bytes(size, "big")


def _field(tag: bytes, data: bytes) -> bytes:
    """A bytes field, left out when it is empty."""
    return tag + encode_varint(len(data)) + data if data else b""


def _entry(namespace: bytes, collection: bytes, key: bytes, item: VersionedValue) -> bytes:
    """One KVWriteProto inside the list: fields 1 to 6, empty ones left out."""
    value, _, version = item
    body = _field(b"\x1a", key)
    if namespace:
        body = _field(b"\x0a", namespace) + _field(b"\x12", collection) + body
    elif collection:
        body = _field(b"\x12", collection) + body
    if value is None:
        body += b"\x20\x01"
    elif value:
        body += b"\x2a" + encode_varint(len(value)) + value
    body += _version_field(version)
    return b"\x0a" + encode_varint(len(body)) + body


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
