"""A transaction's simulation over one committed height.

After core/ledger/kvledger/txmgmt/txmgr (query_executor.go, tx_simulator.go). Reads see the
snapshot only, never the transaction's own writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fabric_protos.common import policies_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import proposal_response_pb2

from network.embedded.peer.ledger import Snapshot
from network.embedded.peer.rwset import RangeQuery, RwSetBuilder
from network.embedded.peer.statedb import (
    VersionedValue,
    hashed_namespace,
    private_namespace,
)

VALIDATION_PARAMETER = "VALIDATION_PARAMETER"
"""The metadata name that holds a key-level policy (peer.MetaDataKeys)."""


class SimulationError(Exception):
    """The simulation can't do this; the text is what Fabric answers the chaincode."""


def metadata_entries(data: bytes) -> dict[str, bytes]:
    """Stored metadata bytes as name -> value (statemetadata/metadata.go Deserialize)."""
    if not data:
        return {}
    message = kv_rwset_pb2.KVMetadataWrite.FromString(data)
    return {entry.name: entry.value for entry in message.entries}


class RangeIterator:
    """Results of one range query; records in the read set how far it was driven."""

    def __init__(
        self, items: Iterator[tuple[bytes, VersionedValue]], query: RangeQuery, end: str, limit: int
    ) -> None:
        """`limit` is the page size, 0 or less for none (stateleveldb.go kvScanner)."""
        self._items = items
        self._query = query
        self._end = end
        self._limit = limit
        self._returned = 0

    def next(self) -> tuple[str, bytes] | None:
        """The next (key, value), or None at the end of the range or the page."""
        item = None
        if not 0 < self._limit <= self._returned:
            item = next(self._items, None)
        if item is None:
            # The page's end counts as exhausted only when the iterator itself says so.
            self._query.exhausted = True
            self._query.end_key = self._end
            return None
        self._returned += 1
        key = item[0].decode()
        self._query.results.add(key, item[1].version)
        self._query.end_key = key
        return key, item[1].value or b""

    def bookmark(self) -> str:
        """The key after the page, empty at the end of the range."""
        item = next(self._items, None)
        return item[0].decode() if item is not None else ""


class Simulator:
    """Reads and writes of one transaction, collected as a read-write set."""

    def __init__(self, snapshot: Snapshot, tx_id: str) -> None:
        self.snapshot = snapshot
        self._tx_id = tx_id
        self._state = snapshot.state
        self.rwset = RwSetBuilder()
        self._wrote = False
        self._paginated = False
        self.key_policies: dict[str, dict[str, bytes | None]] = {}
        """namespace -> written key -> its key-level policy before this transaction, or None."""

    def done(self) -> None:
        """End the snapshot; a second call does nothing."""
        self.snapshot.close()

    def _get(self, namespace: str, key: str) -> VersionedValue | None:
        if self.snapshot.closed:
            raise SimulationError("this instance should not be used after calling Done()")
        item = self._state.get(namespace, key.encode())
        self.rwset.read(namespace, key, item.version if item is not None else None)
        return item

    def get_state(self, namespace: str, key: str) -> bytes:
        """The committed value; empty when there is none."""
        item = self._get(namespace, key)
        return (item.value or b"") if item is not None else b""

    def get_states(self, namespace: str, keys: Sequence[str]) -> list[bytes]:
        """The committed values of several keys."""
        return [self.get_state(namespace, key) for key in keys]

    def get_metadata(self, namespace: str, key: str) -> dict[str, bytes]:
        """The committed metadata of a key."""
        item = self._get(namespace, key)
        return metadata_entries(item.metadata) if item is not None else {}

    def range(self, namespace: str, start: str, end: str) -> RangeIterator:
        """Committed items with start <= key < end; an empty `end` means no upper bound."""
        return self._range(namespace, start, end, 0)

    def range_page(self, namespace: str, start: str, end: str, page_size: int) -> RangeIterator:
        """One page of a range, 0 or less for no limit. Raises SimulationError after a write."""
        if self._wrote:
            raise SimulationError(
                f"txid [{self._tx_id}]: unsuppored transaction. "
                "Paginated queries are supported only in a read-only transaction"
            )
        self._paginated = True
        return self._range(namespace, start, end, page_size)

    def _range(self, namespace: str, start: str, end: str, page_size: int) -> RangeIterator:
        if self.snapshot.closed:
            raise SimulationError("this instance should not be used after calling Done()")
        items = self._state.scan(namespace, start.encode(), end.encode())
        query = RangeQuery(start)
        self.rwset.range_query(namespace, query)
        return RangeIterator(items, query, end, page_size)

    def set_state(self, namespace: str, key: str, value: bytes) -> None:
        """Write a key; an empty value deletes it. Raises SimulationError."""
        self._check_write()
        self.rwset.write(namespace, key, value)
        self._note_policy(namespace, key)

    def set_metadata(self, namespace: str, key: str, metadata: Mapping[str, bytes]) -> None:
        """Replace a key's metadata. Raises SimulationError."""
        self._check_write()
        self.rwset.write_metadata(namespace, key, metadata)
        self._note_policy(namespace, key)

    def _check_write(self) -> None:
        if self.snapshot.closed:
            raise SimulationError("this instance should not be used after calling Done()")
        if self._paginated:
            raise SimulationError(
                f"txid [{self._tx_id}]: unsuppored transaction. Transaction has already performed "
                "a paginated query. Writes are not allowed"
            )
        self._wrote = True

    def _note_policy(self, namespace: str, key: str) -> None:
        item = self._state.get(namespace, key.encode())
        policy = None
        if item is not None and item.metadata:
            policy = metadata_entries(item.metadata).get(VALIDATION_PARAMETER)
        self.key_policies.setdefault(namespace, {})[key] = policy

    # Private data: only what `_lifecycle` needs for its implicit collections.

    def get_private(self, namespace: str, collection: str, key: str) -> bytes:
        """The own copy of a private value. Raises SimulationError when it is out of step with the
        public hash (query_executor.go GetPrivateData)."""
        raw = key.encode()
        private = self._state.get(private_namespace(namespace, collection), raw)
        hashed = self._state.get(hashed_namespace(namespace, collection), _key_hash(key))
        private_version = private.version if private is not None else None
        hash_version = hashed.version if hashed is not None else None
        if private_version != hash_version:
            raise SimulationError(
                "private data matching public hash version is not available. Public hash version "
                f"= {_height(hash_version)}, Private data version = {_height(private_version)}"
            )
        self.rwset.hashed_read(namespace, collection, key, private_version)
        return (private.value or b"") if private is not None else b""

    def private_keys(self, namespace: str, collection: str, prefix: str) -> list[str]:
        """Keys of the own copies that start with an ASCII prefix, in order. Fabric's private
        ranges leave nothing in the read set (query_executor.go)."""
        space = private_namespace(namespace, collection)
        items = self._state.scan(space, prefix.encode(), prefix.encode() + b"\x7f")
        return [key.decode() for key, _ in items]

    def get_private_hash(self, namespace: str, collection: str, key: str) -> bytes:
        """The hash of a private value, empty when there is none."""
        item = self._state.get(hashed_namespace(namespace, collection), _key_hash(key))
        self.rwset.hashed_read(
            namespace, collection, key, item.version if item is not None else None
        )
        return (item.value or b"") if item is not None else b""

    def set_private(self, namespace: str, collection: str, key: str, value: bytes) -> None:
        """Write a private key; an empty value deletes it."""
        self._check_write()
        self.rwset.private_write(namespace, collection, key, value)

    def interest(self, system: frozenset[str]) -> Any:
        """The peer.ChaincodeInterest for endorser choice (endorser.go buildChaincodeInterest)."""
        interest = proposal_response_pb2.ProposalResponse().interest
        for namespace in sorted(self.rwset.namespaces()):
            if namespace in system:
                continue
            written = self.key_policies.get(namespace, {})
            policies = [item for item in written.values() if item is not None]
            required = not written or len(policies) < len(written)
            call = interest.chaincodes.add(name=namespace)
            for policy in policies:
                call.key_policies.append(policies_pb2.SignaturePolicyEnvelope.FromString(policy))
            if policies and not required:
                call.disregard_namespace_policy = True
        return interest


def _key_hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _height(version: tuple[int, int] | None) -> str:
    if version is None:
        return "<nil>"
    return f"{{BlockNum: {version[0]}, TxNum: {version[1]}}}"
