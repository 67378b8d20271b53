"""From an orderer's block to one ledger write: verified, validated, with flags and commit hash.

Runs in a worker thread, one block at a time. After internal/pkg/peer/blocksprovider (what is
checked of a block) and core/ledger/kvledger/kv_ledger.go (the order of committing).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from google.protobuf.message import DecodeError

from clearline.fabric.protoutil import block_data_hash, block_header_bytes
from clearline.logs import get_logger
from network.embedded import configtx
from network.embedded.channelconfig import Bundle, ChannelConfigError
from network.embedded.peer import mvcc
from network.embedded.peer.commit_hash import commit_hash
from network.embedded.peer.ledger import BlockCommit, Ledger
from network.embedded.peer.lifecycle_state import NAMESPACE
from network.embedded.peer.rwset import is_delete
from network.embedded.peer.statedb import VersionedValue, private_namespace
from network.embedded.peer.transactions import Code, Transaction, tx_id_of
from network.embedded.peer.validator import Validator, verify_block
from network.embedded.policies import PolicyError

_log = get_logger(__name__)
_METADATA_SLOTS = 5
_FLAGS, _COMMIT_HASH = 2, 4


class BlockRefusedError(Exception):
    """The block is not this channel's next: wrong number, hash chain, data or signature."""


@dataclass(frozen=True)
class CommittedTransaction:
    """A transaction's outcome; `event` is its serialised ChaincodeEvent or empty."""

    tx_id: str
    code: int
    event: bytes


@dataclass(frozen=True)
class CommittedBlock:
    """What a commit tells the rest of the node; `raw` is the block as it is stored."""

    number: int
    raw: bytes
    transactions: tuple[CommittedTransaction, ...]
    bundle: Bundle | None
    lifecycle_changed: bool


class BlockProcessor:
    """Commits a channel's blocks to its ledger."""

    def __init__(self, ledger: Ledger, bundle: Bundle) -> None:
        self._ledger = ledger
        self._validator = Validator(bundle, next_bundle)

    def process(self, raw: bytes) -> CommittedBlock:
        """Verify, validate and commit the next block.

        Raises BlockRefusedError, or LedgerError when it can't be stored.
        """
        block, header_hash = self._verified(raw)
        number = block.header.number
        data: Sequence[bytes] = block.data.data
        with self._ledger.snapshot() as snapshot:
            transactions = self._validator.validate(number, data, snapshot)
            updates = _check_versions(number, transactions, snapshot.state)
        flags = bytes(tx.code for tx in transactions)
        chained = commit_hash(flags, updates, self._ledger.commit_hash)
        _set_metadata(block, _FLAGS, flags)
        value = common_pb2.Metadata(value=chained).SerializeToString()
        _set_metadata(block, _COMMIT_HASH, value)
        state = updates.flatten()
        spent = self._add_private(number, transactions, state)
        lifecycle = NAMESPACE in updates.public or NAMESPACE in updates.hashed
        next_config = self._validator.next_bundle
        stored = block.SerializeToString()
        self._ledger.commit(
            BlockCommit(
                number=number,
                header_hash=header_hash,
                previous_hash=block.header.previous_hash,
                block=stored,
                commit_hash=chained,
                tx_ids=[(tx.tx_id, tx.index, tx.code) for tx in transactions],
                state=state,
                history=_history(transactions),
                spent=spent,
                is_config=next_config is not None,
            )
        )
        if next_config is not None:
            self._validator.use(next_config)
        elif lifecycle:
            self._validator.forget_definitions()
        outcomes = tuple(
            CommittedTransaction(tx.tx_id, tx.code, tx.action.event if tx.action else b"")
            for tx in transactions
        )
        return CommittedBlock(number, stored, outcomes, next_config, lifecycle)

    def _verified(self, raw: bytes) -> tuple[Any, bytes]:
        """The parsed block and its header's hash, when it follows the ledger."""
        info = self._ledger.info
        try:
            block = common_pb2.Block.FromString(raw)
        except DecodeError as error:
            raise BlockRefusedError("the block can't be parsed") from error
        header = block.header
        if header.number != info.height:
            raise BlockRefusedError(f"block {header.number} is not next: height {info.height}")
        if header.previous_hash != info.current_hash:
            raise BlockRefusedError(f"block {header.number} doesn't follow the last one's hash")
        if not block.data.data or header.data_hash != block_data_hash(block.data.data):
            raise BlockRefusedError(f"block {header.number}: data hash is wrong")
        header_bytes = block_header_bytes(header)
        try:
            verify_block(self._validator.bundle, header, header_bytes, block.metadata)
        except PolicyError as error:
            raise BlockRefusedError(f"block {header.number}: {error}") from error
        return block, hashlib.sha256(header_bytes).digest()

    def _add_private(
        self,
        number: int,
        transactions: Sequence[Transaction],
        state: dict[tuple[str, bytes], VersionedValue],
    ) -> list[str]:
        """Add own private writes of valid transactions; answers the settled transient ids."""
        spent = []
        for tx in transactions:
            if tx.action is None or not any(entry.collections for entry in tx.action.rwsets):
                continue
            kept = self._ledger.transient(tx.tx_id)
            if kept is None:
                continue
            spent.append(tx.tx_id)
            if tx.code == Code.VALID:
                _apply_private(kept, tx, (number, tx.index), state)
        return spent


def next_bundle(bundle: Bundle, payload: bytes) -> Bundle:
    """The bundle of a serialised ConfigEnvelope that may follow. Raises ChannelConfigError."""
    try:
        return configtx.validate(bundle, configtx_pb2.ConfigEnvelope.FromString(payload))
    except DecodeError as error:
        raise ChannelConfigError("the configuration can't be parsed") from error
    except configtx.ConfigUpdateError as error:
        raise ChannelConfigError(str(error)) from error


def genesis_commit(block: Any) -> BlockCommit:
    """The first block as JoinChain stores it: flags VALID, no commit hash (cscc/configure.go)."""
    if not block.metadata.metadata[_FLAGS]:
        block.metadata.metadata[_FLAGS] = bytes(len(block.data.data))
    return BlockCommit(
        number=block.header.number,
        header_hash=hashlib.sha256(block_header_bytes(block.header)).digest(),
        previous_hash=block.header.previous_hash,
        block=block.SerializeToString(),
        commit_hash=b"",
        tx_ids=[(tx_id_of(item), index, 0) for index, item in enumerate(block.data.data)],
        is_config=True,
    )


def _set_metadata(block: Any, slot: int, value: bytes) -> None:
    slots = block.metadata.metadata
    while len(slots) < _METADATA_SLOTS:
        slots.append(b"")
    slots[slot] = value


def _check_versions(
    number: int, transactions: Sequence[Transaction], state: mvcc.State
) -> mvcc.Updates:
    updates = mvcc.Updates()
    for tx in transactions:
        if tx.code != Code.VALID or tx.action is None:
            continue
        try:
            tx.code = mvcc.check(tx.action.rwsets, state, updates)
            if tx.code == Code.VALID:
                mvcc.apply(tx.action.rwsets, (number, tx.index), state, updates)
        except Exception:
            # A set that can't be compared must not stop the chain.
            _log.exception("versions could not be checked", extra={"tx_id": tx.tx_id})
            tx.code = Code.INVALID_OTHER_REASON
    return updates


def _history(transactions: Sequence[Transaction]) -> list[tuple[str, bytes, int]]:
    return [
        (entry.namespace, write.key.encode(), tx.index)
        for tx in transactions
        if tx.code == Code.VALID and tx.action is not None
        for entry in tx.action.rwsets
        for write in entry.public.writes
    ]


def _apply_private(
    kept: bytes,
    tx: Transaction,
    version: tuple[int, int],
    state: dict[tuple[str, bytes], VersionedValue],
) -> None:
    """Private writes whose hash is the public set's (batch_preparer.go validatePvtdata)."""
    rwsets = tx.action.rwsets if tx.action is not None else ()
    public = {
        (entry.namespace, collection): digest
        for entry in rwsets
        for collection, _, digest in entry.collections
    }
    for entry in rwset_pb2.TxPvtReadWriteSet.FromString(kept).ns_pvt_rwset:
        for item in entry.collection_pvt_rwset:
            digest = hashlib.sha256(item.rwset).digest()
            if public.get((entry.namespace, item.collection_name)) != digest:
                _log.warning("private writes differ from the block's", extra={"tx_id": tx.tx_id})
                continue
            namespace = private_namespace(entry.namespace, item.collection_name)
            for write in kv_rwset_pb2.KVRWSet.FromString(item.rwset).writes:
                value = None if is_delete(write) else write.value
                state[(namespace, write.key.encode())] = VersionedValue(value, b"", version)
