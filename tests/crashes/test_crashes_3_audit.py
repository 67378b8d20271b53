"""The checks of a crash run can fail: each kind of damage, planted in copies, is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crash_run import Run
from fabric_protos.common import common_pb2
from ledger_audit import Told, audit, check_told, replay

from network.embedded.peer.ledger import Ledger

CHAINCODE = "clearline"


@pytest.fixture
def copies(crashed: Run, tmp_path: Path) -> dict[str, Path]:
    """Ledgers of the crashed network that a test may damage."""
    network = crashed.network
    return {
        peer: Path(shutil.copytree(network.peer_ledger(peer), tmp_path / peer))
        for peer in network.peers
    }


def damage(folder: Path, change: Callable[[Ledger, Any], None]) -> None:
    """Change a ledger behind the peer's back."""
    ledger = Ledger(folder)
    with ledger.environment.begin(write=True) as txn:
        change(ledger, txn)
    ledger.close()


def last(ledger: Ledger) -> bytes:
    return (ledger.height - 1).to_bytes(8, "big")


def a_record(ledger: Ledger, txn: Any) -> bytes:
    with txn.cursor(db=ledger.state_db) as cursor:
        assert cursor.set_range(f"{CHAINCODE}\0item/".encode())
        return bytes(cursor.key())


def drop_block(ledger: Ledger, txn: Any) -> None:
    """The newest block was told and is gone, as after a commit without a sync."""
    txn.delete(last(ledger), db=ledger.blocks_db)
    txn.put(b"height", last(ledger), db=ledger.meta_db)


def drop_block_in_the_middle(ledger: Ledger, txn: Any) -> None:
    middle = (ledger.height // 2).to_bytes(8, "big")
    txn.delete(middle, db=ledger.blocks_db)


def drop_state(ledger: Ledger, txn: Any) -> None:
    txn.delete(a_record(ledger, txn), db=ledger.state_db)


def change_version(ledger: Ledger, txn: Any) -> None:
    key = a_record(ledger, txn)
    value = txn.get(key, db=ledger.state_db)
    txn.put(key, bytes([value[0] ^ 1]) + value[1:], db=ledger.state_db)


def leave_a_write_too_many(ledger: Ledger, txn: Any) -> None:
    value = txn.get(a_record(ledger, txn), db=ledger.state_db)
    txn.put(f"{CHAINCODE}\0item/none".encode(), value, db=ledger.state_db)


def drop_index(ledger: Ledger, txn: Any) -> None:
    with txn.cursor(db=ledger.txids_db) as cursor:
        assert cursor.last()
        assert cursor.delete()


def drop_history(ledger: Ledger, txn: Any) -> None:
    with txn.cursor(db=ledger.history_db) as cursor:
        assert cursor.first()
        assert cursor.delete()


def change_commit_hash(ledger: Ledger, txn: Any) -> None:
    txn.put(b"commit_hash", bytes(32), db=ledger.meta_db)


def change_tip(ledger: Ledger, txn: Any) -> None:
    txn.put(b"last_hash", bytes(32), db=ledger.meta_db)


def flip_flag(ledger: Ledger, txn: Any) -> None:
    block = common_pb2.Block.FromString(txn.get(last(ledger), db=ledger.blocks_db))
    flags = bytearray(block.metadata.metadata[2])
    flags[0] = 255
    block.metadata.metadata[2] = bytes(flags)
    txn.put(last(ledger), block.SerializeToString(), db=ledger.blocks_db)


def change_data(ledger: Ledger, txn: Any) -> None:
    block = common_pb2.Block.FromString(txn.get(last(ledger), db=ledger.blocks_db))
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    envelope.signature = b"another"
    block.data.data[0] = envelope.SerializeToString()
    txn.put(last(ledger), block.SerializeToString(), db=ledger.blocks_db)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop_block, ("heights differ", "the blocks make it", "commit hash")),
        (drop_block_in_the_middle, ("is missing",)),
        (drop_state, ("the blocks make it", "state hashes differ")),
        (change_version, ("the blocks make it", "state hashes differ")),
        (leave_a_write_too_many, ("the blocks make it None", "state hashes differ")),
        (drop_index, ("index of",)),
        (drop_history, ("history of",)),
        (change_commit_hash, ("commit hash",)),
        (change_tip, ("tip's hash",)),
        (flip_flag, ("differs between peers",)),
        (change_data, ("data hash is wrong", "is not the orderer's")),
    ],
)
def test_damage_is_found(
    crashed: Run,
    copies: dict[str, Path],
    change: Callable[[Ledger, Any], None],
    said: tuple[str, ...],
) -> None:
    damage(next(iter(copies.values())), change)
    findings, hashes = audit(copies, crashed.network.orderer_data(), CHAINCODE, crashed.told)
    text = "\n".join(findings)
    assert [part for part in said if part not in text] == [], text
    assert ("state hashes differ" in text) == (len(set(hashes.values())) > 1)


def test_the_same_loss_at_every_peer_is_found(crashed: Run, copies: dict[str, Path]) -> None:
    """Peers that agree with one another have still lost what the orderer and the client know."""
    for folder in copies.values():
        damage(folder, drop_block)
    findings, _ = audit(copies, crashed.network.orderer_data(), CHAINCODE, crashed.told)
    assert any("heights differ" in text for text in findings)
    assert any(" is lost" in text for text in findings)


def test_what_clients_were_told_is_held_against_the_ledger(crashed: Run) -> None:
    peer = crashed.network.peers[0]
    ledger = Ledger(crashed.network.peer_ledger(peer))
    try:
        found = replay(ledger)
    finally:
        ledger.close()
    one = next(item for item in crashed.told if item.block is not None)
    assert check_told(peer, found, CHAINCODE, [one]) == []
    wrong: list[Told] = [
        replace(one, item_id="never"),
        replace(one, block=(one.block or 0) + 1),
        replace(one, tx_id="00" * 32),
    ]
    for item in wrong:
        assert len(check_told(peer, found, CHAINCODE, [item])) == 1
    # Applied twice: the account holds more than its items make.
    key = (CHAINCODE, f"account/{one.account}".encode())
    value, version = found.state[key]
    found.state[key] = (str(int(value) + one.amount).encode(), version)
    assert "its items make" in check_told(peer, found, CHAINCODE, [])[0]
    found.state[key] = (value, version)
    found.history[(CHAINCODE, f"item/{one.item_id}".encode())].append((10**6, 0))
    assert "written more than once" in check_told(peer, found, CHAINCODE, [])[0]
