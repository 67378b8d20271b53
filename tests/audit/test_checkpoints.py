"""Checkpoints are held against the chain; verification goes on from a snapshot where one stands."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forge import NETWORK, Forge, Tx
from rules_of_supervision import rule
from supervision_forgeries import in_force

from audit import snapshots
from audit.findings import Check, Finding
from audit.jose import canonical
from audit.snapshots import Snapshot, SnapshotError
from audit.verifier import Verifier


def verified(blocks: list[bytes], verifier: Verifier | None = None) -> Verifier:
    verifier = verifier or Verifier(NETWORK, "clearline")
    for raw in blocks:
        finding = verifier.take(raw)
        assert finding is None, str(finding)
    return verifier


def busy(forge: Forge) -> Forge:
    """Some payments, one ended."""
    forge.add(forge.intent(), forge.intent("O-2"))
    forge.add(forge.report())
    return forge


def stated(verifier: Verifier, **changed: Any) -> Tx:
    """A checkpoint of the last block that a verifier took."""
    item = {
        "block": verifier.last,
        "header_hash": verifier.totals.tip,
        "state_digest": verifier.snapshot().digest(),
    }
    return Tx("SubmitCheckpoints", [item | changed], ("Supervisor", "supervisor"))


def test_a_right_checkpoint_of_a_block_gone_by(forge: Forge) -> None:
    """What changed since does not disturb it: payments end and begin before it is committed."""
    tx = stated(verified(busy(forge).blocks))
    of = len(forge.blocks) - 1
    forge.add(forge.report("O-2"))
    forge.add(forge.intent("O-3"))
    forge.add(tx)
    verifier = verified(forge.blocks)
    assert verifier.checkpoints.checked == [of]
    assert verifier.checkpoints.wrong == []


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "header": ({"header_hash": "0" * 64}, "has another hash"),
    "state": ({"state_digest": "0" * 64}, "has the digest "),
    "a block of its own": ({"block": 99}, "is not before it"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_checkpoint_is_named_and_verification_goes_on(forge: Forge, fault: str) -> None:
    changed, why = WRONG[fault]
    tx = stated(verified(busy(forge).blocks), **changed)
    forge.add(tx)
    at = len(forge.blocks) - 1
    forge.add(forge.intent("O-3"))
    verifier = verified(forge.blocks)
    (found,) = verifier.checkpoints.wrong
    assert (found.block, found.transaction, found.check) == (at, 0, Check.CHECKPOINT)
    assert why in found.detail
    assert verifier.checkpoints.checked == []


def test_the_digest_is_as_documented(forge: Forge) -> None:
    """Computed here from the snapshot's parts, by the words of audit/history.py."""
    verifier = verified(busy(forge).blocks)
    snapshot = verifier.snapshot()

    def sha(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    lines: list[list[Any]] = [
        ["clearline state 1", NETWORK, len(forge.blocks) - 1, verifier.totals.tip],
        ["config", sha(snapshot.config)],
        *(["id", tx_id, block] for tx_id, block in sorted(snapshot.ids.items())),
        *(
            ["key", space, key, *at, sha(value)]
            for space, key, value, at in sorted(snapshot.values)
        ),
    ]
    text = b"".join(canonical(line) + b"\n" for line in lines)
    assert snapshot.digest() == sha(text) == verifier.history.digest(verifier.last)
    mine = {key for space, key, *_ in snapshot.values if space == "clearline"}
    assert mine == set(verifier.records) == set(forge.state)


def test_verification_goes_on_from_a_snapshot(forge: Forge, tmp_path: Path) -> None:
    """It ends where verification from the first block does, with the same state."""
    verifier = verified(busy(forge).blocks)
    since = len(forge.blocks)
    snapshots.write(verifier.snapshot(), tmp_path / "state")
    forge.add(forge.report("O-2"), stated(verifier))
    in_force(forge, rule())
    late = Verifier.resume(snapshots.read(tmp_path / "state"), "clearline")
    verified(forge.blocks[since:], late)
    whole = verified(forge.blocks)
    assert late.checkpoints.checked == whole.checkpoints.checked == [since - 1]
    assert late.records == whole.records
    assert late.last == whole.last
    assert late.snapshot().digest() == whole.snapshot().digest()


def _duplicate(forge: Forge) -> None:
    """An id that was used before the snapshot."""
    forge.seal([_first_intent(forge)], b"\0")


def _first_intent(forge: Forge) -> bytes:
    from fabric_protos.common import common_pb2

    blocks = [common_pb2.Block.FromString(raw) for raw in forge.blocks]
    return bytes(next(block.data.data[0] for block in blocks if len(block.data.data) == 2))


def _stale(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.report("O-2"), stale=True))


def _one_endorser(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.report("O-2"), endorsers=("BankOne",)))


@pytest.mark.parametrize(
    ("forgery", "check"),
    [
        (_duplicate, Check.DUPLICATE_ID),
        (_stale, Check.READ_VERSIONS),
        (_one_endorser, Check.ENDORSEMENT),
    ],
)
def test_what_rests_on_blocks_before_the_snapshot_is_found(
    forge: Forge, forgery: Callable[[Forge], None], check: Check
) -> None:
    snapshot = verified(busy(forge).blocks).snapshot()
    forgery(forge)
    late = Verifier.resume(snapshot, "clearline")
    finding = late.take(forge.blocks[-1])
    assert isinstance(finding, Finding)
    assert finding.check is check


def test_another_state_is_not_the_checkpoints(forge: Forge, tmp_path: Path) -> None:
    """A payment's amount changed in the file: the checkpoint that vouches for it names it."""
    verifier = verified(busy(forge).blocks)
    since = len(forge.blocks)
    forge.add(stated(verifier))
    true = verifier.snapshot()
    values = tuple(
        (space, key, value.replace(b"2933", b"1"), at) for space, key, value, at in true.values
    )
    forged = dataclasses.replace(true, values=values)
    assert forged.digest() != true.digest()
    late = verified(forge.blocks[since:], Verifier.resume(forged, "clearline"))
    assert late.checkpoints.checked == []
    assert [one.check for one in late.checkpoints.wrong] == [Check.CHECKPOINT]


def test_a_checkpoint_of_a_block_before_the_snapshot_is_not_held(forge: Forge) -> None:
    earlier = stated(verified(busy(forge).blocks))
    forge.add(forge.intent("O-3"))
    late = Verifier.resume(verified(forge.blocks).snapshot(), "clearline")
    forge.add(earlier)
    verified(forge.blocks[-1:], late)
    assert late.checkpoints.earlier == [late.last - 2]
    assert (late.checkpoints.checked, late.checkpoints.wrong) == ([], [])


def _parts(verifier: Verifier, folder: Path) -> list[bytes]:
    snapshots.write(verifier.snapshot(), folder / "whole")
    return (folder / "whole").read_bytes().splitlines(keepends=True)


def test_a_file_is_read_as_it_was_written(forge: Forge, tmp_path: Path) -> None:
    verifier = verified(busy(forge).blocks)
    lines = _parts(verifier, tmp_path)
    read = snapshots.read(tmp_path / "whole")
    assert _ordered(read) == _ordered(verifier.snapshot())
    for number, spoilt in enumerate(
        (
            lines[1:],
            lines[:1],
            [lines[0], *lines[2:]],
            [*lines, b'["id","x",1]\n'],
            [*lines, b'["key","a","b",1]\n'],
            [*lines, b"{}\n"],
            [*lines, b'["key","a","b",1,-1,""]\n'],
            [*lines, b'["key","a","b",1,1,"="]\n'],
            [*lines, lines[-1]],
            # What a digest of this block would not cover.
            [*lines, b'["key","clearline","payment/M/o/0001",99,0,"e30="]\n'],
            [*lines, b'["hashed","clearline","c","00",99,0]\n'],
            [*lines, b'["id","%s",99]\n' % (b"0" * 64)],
        )
    ):
        path = tmp_path / str(number)
        path.write_bytes(b"".join(spoilt))
        with pytest.raises(SnapshotError, match="is no snapshot"):
            snapshots.read(path)


def _ordered(snapshot: Snapshot) -> Snapshot:
    return dataclasses.replace(
        snapshot, values=tuple(sorted(snapshot.values)), hashed=tuple(sorted(snapshot.hashed))
    )
