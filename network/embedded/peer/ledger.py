"""A channel's ledger in one LMDB environment.

A block, its flags, the state it changes, its history and index entries, the height and the commit
hash are one LMDB write transaction, synced before the height is visible: after any crash the
ledger stands at a whole block. Simulations read snapshots that later commits don't change.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from network.embedded.peer.statedb import StateView, StateWriter, VersionedValue

_META_HEIGHT = b"height"
_META_LAST_HASH = b"last_hash"
_META_PREVIOUS_HASH = b"previous_hash"
_META_COMMIT_HASH = b"commit_hash"
_META_CONFIG = b"config_block"
_LOCATION = struct.Struct(">QIB")
_POSITION = struct.Struct(">QI")


class LedgerError(Exception):
    """The ledger can't do what was asked; the text says why."""


class TxLocation(NamedTuple):
    """Where a transaction id was first committed, and its validation code."""

    block: int
    position: int
    code: int


@dataclass(frozen=True)
class ChainInfo:
    """Height (number of blocks), hash of the last block's header and of its predecessor's."""

    height: int
    current_hash: bytes
    previous_hash: bytes


@dataclass(frozen=True)
class BlockCommit:
    """All that one block changes.

    `block` is the serialised common.Block with flags and commit hash in its metadata; `state`
    maps (namespace, key) to the new item; `history` lists (namespace, key, transaction number) of
    valid public writes; `tx_ids` lists (id, transaction number, code); `spent` names transient
    entries that the block settles. `is_config` marks a block whose configuration becomes current.
    """

    number: int
    header_hash: bytes
    previous_hash: bytes
    block: bytes
    commit_hash: bytes
    tx_ids: Sequence[tuple[str, int, int]] = ()
    state: Mapping[tuple[str, bytes], VersionedValue] = field(default_factory=dict)
    history: Sequence[tuple[str, bytes, int]] = ()
    spent: Iterable[str] = ()
    is_config: bool = False


def _history_prefix(namespace: str, key: bytes) -> bytes:
    return hashlib.sha256(namespace.encode() + b"\0" + key).digest()


def _number_key(number: int) -> bytes:
    return number.to_bytes(8, "big")


class Snapshot:
    """A read transaction over one committed height. Close it; it is not shared across threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._txn: Any = ledger.environment.begin()
        self.state = StateView(self._txn, ledger.state_db)

    def close(self) -> None:
        """End the read transaction; a second call does nothing."""
        txn, self._txn = self._txn, None
        if txn is not None:
            txn.abort()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._txn is None

    def height(self) -> int:
        """Number of blocks in this snapshot."""
        data = self._txn.get(_META_HEIGHT, db=self._ledger.meta_db)
        return int.from_bytes(data, "big") if data else 0

    def block(self, number: int) -> bytes | None:
        """A block's stored bytes."""
        data: bytes | None = self._txn.get(_number_key(number), db=self._ledger.blocks_db)
        return data

    def tx_location(self, tx_id: str) -> TxLocation | None:
        """Where a transaction id was first seen."""
        data = self._txn.get(_tx_key(tx_id), db=self._ledger.txids_db)
        return None if data is None else TxLocation(*_LOCATION.unpack(data))

    def history(self, namespace: str, key: bytes) -> Iterator[tuple[int, int]]:
        """(block, transaction number) of the key's valid writes, newest first."""
        prefix = _history_prefix(namespace, key)
        with self._txn.cursor(db=self._ledger.history_db) as cursor:
            found = cursor.set_range(prefix + b"\xff" * _POSITION.size)
            found = cursor.prev() if found else cursor.last()
            while found and cursor.key()[:32] == prefix:
                yield _POSITION.unpack(cursor.key()[32:])
                found = cursor.prev()


def _tx_key(tx_id: str) -> bytes:
    # A forged header may carry any text as its id, or none; LMDB takes 1 to 511 bytes.
    # What a client asks for need not be UTF-8; then no transaction has it.
    raw = tx_id.encode(errors="surrogateescape")
    return raw if 0 < len(raw) <= 256 else b"\xff" + hashlib.sha256(raw).digest()


class Ledger:
    """One channel's blocks, state, history and indexes."""

    def __init__(self, folder: Path, map_bytes: int = 1 << 40) -> None:
        """Open or create the environment in `folder`. Raises LedgerError."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.environment = lmdb.open(
                str(folder),
                map_size=map_bytes,
                max_dbs=8,
                max_readers=4096,
                sync=True,
                metasync=True,
                readahead=False,
                meminit=False,
                writemap=False,
            )
        except lmdb.Error as error:
            raise LedgerError(f"ledger {folder} can't be opened: {error}") from error
        # Slots of readers that were killed would keep old pages from being used again.
        self.environment.reader_check()
        self.meta_db = self.environment.open_db(b"meta")
        self.blocks_db = self.environment.open_db(b"blocks")
        self.hashes_db = self.environment.open_db(b"hashes")
        self.txids_db = self.environment.open_db(b"txids")
        self.state_db = self.environment.open_db(b"state")
        self.history_db = self.environment.open_db(b"history")
        self.transient_db = self.environment.open_db(b"transient")
        self._write_lock = threading.Lock()
        with self.environment.begin() as txn:
            get = txn.get
            height = get(_META_HEIGHT, db=self.meta_db)
            self._info = ChainInfo(
                int.from_bytes(height, "big") if height else 0,
                get(_META_LAST_HASH, b"", db=self.meta_db),
                get(_META_PREVIOUS_HASH, b"", db=self.meta_db),
            )
            self._commit_hash: bytes = get(_META_COMMIT_HASH, b"", db=self.meta_db)

    def close(self) -> None:
        """Close the environment. No snapshot may be open."""
        self.environment.close()

    @property
    def info(self) -> ChainInfo:
        """The committed height and hashes."""
        return self._info

    @property
    def height(self) -> int:
        """Number of committed blocks."""
        return self._info.height

    @property
    def commit_hash(self) -> bytes:
        """The last block's commit hash, empty before block 1."""
        return self._commit_hash

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """A snapshot for the length of a `with` block."""
        snapshot = Snapshot(self)
        try:
            yield snapshot
        finally:
            snapshot.close()

    def commit(self, batch: BlockCommit) -> None:
        """Write a block and everything it changes at once, synced to disk.

        Raises LedgerError when it isn't the next block or the disk refuses; nothing is changed
        then.
        """
        with self._write_lock:
            if batch.number != self._info.height:
                raise LedgerError(f"block {batch.number} is not next: height {self._info.height}")
            try:
                with self.environment.begin(write=True) as txn:
                    self._write(txn, batch)
            except lmdb.Error as error:
                raise LedgerError(f"block {batch.number} can't be stored: {error}") from error
            self._commit_hash = batch.commit_hash
            self._info = ChainInfo(batch.number + 1, batch.header_hash, batch.previous_hash)

    def _write(self, txn: Any, batch: BlockCommit) -> None:
        number = _number_key(batch.number)
        txn.put(number, batch.block, db=self.blocks_db, append=True)
        txn.put(batch.header_hash, number, db=self.hashes_db)
        for tx_id, index, code in batch.tx_ids:
            location = _LOCATION.pack(batch.number, index, code)
            txn.put(_tx_key(tx_id), location, db=self.txids_db, overwrite=False)
        StateWriter(txn, self.state_db).apply(batch.state)
        entries = sorted(
            (_history_prefix(namespace, key) + _POSITION.pack(batch.number, index), b"")
            for namespace, key, index in batch.history
        )
        with txn.cursor(db=self.history_db) as cursor:
            cursor.putmulti(entries)
        for tx_id in batch.spent:
            txn.delete(_tx_key(tx_id), db=self.transient_db)
        if batch.is_config:
            txn.put(_META_CONFIG, number, db=self.meta_db)
        txn.put(_META_LAST_HASH, batch.header_hash, db=self.meta_db)
        txn.put(_META_PREVIOUS_HASH, batch.previous_hash, db=self.meta_db)
        txn.put(_META_COMMIT_HASH, batch.commit_hash, db=self.meta_db)
        txn.put(_META_HEIGHT, _number_key(batch.number + 1), db=self.meta_db)

    def block(self, number: int) -> bytes | None:
        """A committed block's bytes."""
        with self.environment.begin() as txn:
            data: bytes | None = txn.get(_number_key(number), db=self.blocks_db)
            return data

    def block_number_by_hash(self, header_hash: bytes) -> int | None:
        """The number of the block whose header has this SHA-256."""
        if not 0 < len(header_hash) <= 64:
            return None
        with self.environment.begin() as txn:
            data = txn.get(header_hash, db=self.hashes_db)
            return None if data is None else int.from_bytes(data, "big")

    def tx_location(self, tx_id: str) -> TxLocation | None:
        """Where a transaction id was first committed."""
        with self.environment.begin() as txn:
            data = txn.get(_tx_key(tx_id), db=self.txids_db)
            return None if data is None else TxLocation(*_LOCATION.unpack(data))

    def config_block(self) -> bytes:
        """The block that holds the current channel configuration. Raises LedgerError."""
        with self.environment.begin() as txn:
            number = txn.get(_META_CONFIG, db=self.meta_db)
            data: bytes | None = txn.get(number, db=self.blocks_db) if number else None
        if data is None:
            raise LedgerError("the ledger holds no configuration block")
        return data

    def put_transient(self, tx_id: str, private_writes: bytes) -> None:
        """Keep an endorsed transaction's private writes until its block comes, synced."""
        with self._write_lock, self.environment.begin(write=True) as txn:
            txn.put(_tx_key(tx_id), private_writes, db=self.transient_db)

    def transient(self, tx_id: str) -> bytes | None:
        """Private writes that this peer endorsed under a transaction id."""
        with self.environment.begin() as txn:
            data: bytes | None = txn.get(_tx_key(tx_id), db=self.transient_db)
            return data
