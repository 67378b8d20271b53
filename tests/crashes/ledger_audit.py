"""Checks stopped ledgers: every block, index and state record against a replay from block 0.

The replay is written for this check alone: it trusts validation flags and nothing else of what
the peer stored beside its blocks. Each finding is one line of text; no finding means sound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb
from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2

from clearline.fabric.protoutil import block_data_hash, block_header_hash
from network.embedded.peer.ledger import Ledger
from network.embedded.peer.statedb import StateView

_FLAGS, _COMMIT_HASH = 2, 4
_VALID = 0
_ENDORSER_TRANSACTION = common_pb2.HeaderType.ENDORSER_TRANSACTION
Version = tuple[int, int]
Item = tuple[bytes, Version]


@dataclass
class Replay:
    """What the blocks say: state by (namespace, key), transactions, and writes by key."""

    blocks: list[bytes] = field(default_factory=list)
    state: dict[tuple[str, bytes], Item] = field(default_factory=dict)
    transactions: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """id -> block, position, code of its first appearance."""
    history: dict[tuple[str, bytes], list[Version]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Told:
    """What a client was told is committed: an item, and the transaction and block if it wrote."""

    item_id: str
    account: str
    amount: int
    tx_id: str
    block: int | None


def replay(ledger: Ledger) -> Replay:
    """Walk a peer's blocks from 0 and apply every valid transaction."""
    found = Replay()
    previous = b""
    for number in range(ledger.height):
        raw = ledger.block(number)
        if raw is None:
            found.findings.append(f"block {number} is missing")
            break
        block = common_pb2.Block.FromString(raw)
        if block.header.number != number or block.header.previous_hash != previous:
            found.findings.append(f"block {number} doesn't follow block {number - 1}")
        if block.header.data_hash != block_data_hash(block.data.data):
            found.findings.append(f"block {number}: data hash is wrong")
        previous = block_header_hash(block.header)
        found.blocks.append(raw)
        _apply(found, number, block)
    return found


def _apply(found: Replay, number: int, block: Any) -> None:
    flags = block.metadata.metadata[_FLAGS]
    if len(flags) != len(block.data.data):
        found.findings.append(f"block {number} has {len(flags)} flags")
        return
    for position, (data, code) in enumerate(zip(block.data.data, flags, strict=True)):
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(data).payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        found.transactions.setdefault(header.tx_id, (number, position, code))
        if code != _VALID or header.type != _ENDORSER_TRANSACTION:
            continue
        for space, key, value, public in _writes(payload.data):
            if public:
                found.history.setdefault((space, key), []).append((number, position))
            if value is None:
                found.state.pop((space, key), None)
            else:
                found.state[(space, key)] = (value, (number, position))


def _writes(data: bytes) -> Iterator[tuple[str, bytes, bytes | None, bool]]:
    """(state namespace, key, value or None for a delete, whether public)."""
    action = transaction_pb2.Transaction.FromString(data).actions[0]
    endorsed = transaction_pb2.ChaincodeActionPayload.FromString(action.payload).action
    response = proposal_response_pb2.ProposalResponsePayload.FromString(
        endorsed.proposal_response_payload
    )
    results = proposal_pb2.ChaincodeAction.FromString(response.extension).results
    for space in rwset_pb2.TxReadWriteSet.FromString(results).ns_rwset:
        for write in kv_rwset_pb2.KVRWSet.FromString(space.rwset).writes:
            value = None if write.is_delete or not write.value else write.value
            yield space.namespace, write.key.encode(), value, True
        for collection in space.collection_hashed_rwset:
            hashed = kv_rwset_pb2.HashedRWSet.FromString(collection.hashed_rwset)
            name = f"{space.namespace}$$h{collection.collection_name}"
            for write in hashed.hashed_writes:
                yield name, write.key_hash, None if write.is_delete else write.value_hash, False


def stored_state(ledger: Ledger) -> dict[tuple[str, bytes], Item]:
    """All records of the state except an organisation's own private copies (`$$p`)."""
    found: dict[tuple[str, bytes], Item] = {}
    with ledger.snapshot() as snapshot:
        for space in _namespaces(ledger):
            for key, item in StateView.scan(snapshot.state, space, b"", b""):
                found[(space, key)] = (item.value or b"", item.version)
    return found


def _namespaces(ledger: Ledger) -> list[str]:
    with ledger.environment.begin() as txn, txn.cursor(db=ledger.state_db) as cursor:
        names = {key.partition(b"\0")[0].decode() for key, _ in cursor}
    return sorted(name for name in names if "$$p" not in name)


def state_hash(state: dict[tuple[str, bytes], Item]) -> str:
    """One hash over namespaces, keys, values and versions."""
    digest = hashlib.sha256()
    for (space, key), (value, version) in sorted(state.items()):
        for part in (space.encode(), key, value, repr(version).encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def check_ledger(name: str, ledger: Ledger, found: Replay) -> list[str]:
    """No block half-applied: state, indexes, history and tip are what the blocks make them."""
    findings = [f"{name}: {text}" for text in found.findings]
    stored = stored_state(ledger)
    for place in sorted({*stored, *found.state}):
        if stored.get(place) != found.state.get(place):
            held, made = (str(space.get(place))[:200] for space in (stored, found.state))
            findings.append(
                f"{name}: state {str(place)[:200]} is {held}, the blocks make it {made}"
            )
    with ledger.snapshot() as snapshot:
        for tx_id, location in found.transactions.items():
            if snapshot.tx_location(tx_id) != location:
                findings.append(f"{name}: index of {tx_id} is wrong")
        for (space, key), versions in found.history.items():
            if sorted(snapshot.history(space, key)) != versions:
                findings.append(f"{name}: history of {space} {key!r} is wrong")
    last = common_pb2.Block.FromString(found.blocks[-1])
    if ledger.info.current_hash != block_header_hash(last.header):
        findings.append(f"{name}: the tip's hash is not the last block's")
    chained = common_pb2.Metadata.FromString(last.metadata.metadata[_COMMIT_HASH]).value
    if ledger.commit_hash != chained:
        findings.append(f"{name}: the commit hash is not the last block's")
    return findings


def check_level(peers: dict[str, Replay], ordered: list[bytes]) -> list[str]:
    """All peers hold the orderer's blocks, with the same flags and commit hashes."""
    findings = []
    names = sorted(peers)
    heights = {name: len(peers[name].blocks) for name in names} | {"orderer": len(ordered)}
    if len(set(heights.values())) != 1:
        findings.append(f"heights differ: {heights}")
    for number in range(min(heights.values())):
        block = common_pb2.Block.FromString(ordered[number])
        copies = [peers[name].blocks[number] for name in names]
        if len(set(copies)) != 1:
            findings.append(f"block {number} differs between peers")
        for name, copy in zip(names, copies, strict=True):
            mine = common_pb2.Block.FromString(copy)
            if (mine.header, mine.data) != (block.header, block.data):
                findings.append(f"{name}: block {number} is not the orderer's")
    return findings


def check_told(name: str, found: Replay, chaincode: str, told: Iterable[Told]) -> list[str]:
    """Nothing a client was told is lost, and every item counts once."""
    findings = []
    for item in told:
        record = found.state.get((chaincode, f"item/{item.item_id}".encode()))
        if record is None:
            findings.append(f"{name}: item {item.item_id} is lost")
            continue
        tx_id = json.loads(record[0])[0]
        if item.block is None:
            continue
        place = found.transactions.get(item.tx_id)
        if place is None or (place[0], place[2]) != (item.block, _VALID) or tx_id != item.tx_id:
            findings.append(
                f"{name}: item {item.item_id} was told as {item.tx_id} in block {item.block}, "
                f"the ledger has {tx_id}, {place}"
            )
    return findings + _check_totals(name, found, chaincode)


def _check_totals(name: str, found: Replay, chaincode: str) -> list[str]:
    findings = []
    totals: dict[str, int] = {}
    for (space, key), (value, _) in found.state.items():
        if space == chaincode and key.startswith(b"item/"):
            _, account, amount = json.loads(value)
            totals[account] = totals.get(account, 0) + amount
            if len(found.history[(space, key)]) != 1:
                findings.append(f"{name}: {key!r} was written more than once")
    for account, total in totals.items():
        value, _ = found.state[(chaincode, f"account/{account}".encode())]
        if int(value) != total:
            findings.append(f"{name}: account {account} holds {value!r}, its items make {total}")
    return findings


def orderer_blocks(data: Path) -> list[bytes]:
    """The blocks of a stopped orderer, in order."""
    with (
        lmdb.open(str(data / "ledger"), max_dbs=1, readonly=True, lock=False) as environment,
        environment.begin(db=environment.open_db(b"blocks", create=False)) as txn,
    ):
        return [bytes(value) for _, value in txn.cursor()]


def audit(
    peers: dict[str, Path], orderer: Path, chaincode: str, told: Iterable[Told]
) -> tuple[list[str], dict[str, str]]:
    """(findings, state hash of each peer) of a stopped network. Paths: ledger folders."""
    findings: list[str] = []
    replays: dict[str, Replay] = {}
    hashes: dict[str, str] = {}
    known = tuple(told)
    for name, folder in peers.items():
        ledger = Ledger(folder)
        try:
            found = replays[name] = replay(ledger)
            findings += check_ledger(name, ledger, found)
            findings += check_told(name, found, chaincode, known)
            hashes[name] = state_hash(stored_state(ledger))
        finally:
            ledger.close()
    findings += check_level(replays, orderer_blocks(orderer))
    if len(set(hashes.values())) != 1:
        findings.append(f"state hashes differ: {hashes}")
    return findings, hashes
