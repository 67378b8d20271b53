"""What the auditor's commands say of an export, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from forge import NETWORK, Forge, Tx
from rules_of_supervision import rule
from supervision_forgeries import in_force
from test_checkpoints import busy, stated, verified

from audit.cli import audit
from audit.source import Export

ONE_STORE = rule(
    kind="places_of_code", parameters={"stores": 1, "terminals": 9, "sites": 9}, rule_id="R-STORES"
)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(audit, [*map(str, words), "--network", NETWORK])


def export(blocks: list[bytes], path: Path) -> Path:
    file = Export(path)
    for raw in blocks:
        file.add(raw)
    file.close()
    return path


def ruled(forge: Forge) -> Forge:
    """Two stores at one code, and a rule in force that allows one."""
    forge.add(forge.intent(), forge.intent("O-2", store="store-2"))
    in_force(forge, ONE_STORE)
    return forge


def test_rules_exit_by_what_they_find(forge: Forge, tmp_path: Path) -> None:
    blocks = ["rules", "--blocks"]
    nothing = run(*blocks, export(busy(forge).blocks, tmp_path / "none"))
    assert (nothing.exit_code, nothing.output) == (
        *(0, f"0 findings of 0 rules as of 2026-11-23, block {len(forge.blocks) - 1}\n"),
    )


def test_rules_name_merchant_payments_and_blocks(forge: Forge, tmp_path: Path) -> None:
    path = export(ruled(forge).blocks, tmp_path / "blocks")
    found = run("rules", "--blocks", path, "--json")
    assert found.exit_code == 3, found.output
    (one,) = json.loads(found.output)["findings"]
    assert one["about"] == ["payment/M-0001/O-1/0001", "payment/M-0001/O-2/0001"]
    assert {entry["block"] for entry in one["evidence"]} == {len(forge.blocks) - 3}
    told = run("rules", "--blocks", path)
    assert told.exit_code == 3
    assert "rule          R-STORES 1 (places_of_code) from 2026-11-01: sites 9, " in told.output
    assert "finding       R-STORES 1 (places_of_code): M-0001: code 898310148990001" in told.output


def test_rules_look_at_no_ledger_that_is_not_right(forge: Forge, tmp_path: Path) -> None:
    ruled(forge).add(Tx("SubmitIntents", forge.intent("O-3").items, endorsers=("BankOne",)))
    done = run("rules", "--blocks", export(forge.blocks, tmp_path / "blocks"))
    assert done.exit_code == 1
    assert "the first thing wrong: " in done.output and "endorsement" in done.output


def test_rules_find_the_same_from_a_checkpoint(forge: Forge, tmp_path: Path) -> None:
    """What is before it, and where it stands, is in the snapshot."""
    ruled(forge)
    whole = export(forge.blocks, tmp_path / "whole")
    assert run("snapshot", tmp_path / "state", "--blocks", whole).exit_code == 0
    forge.add(stated(verified(forge.blocks)))
    late = export(forge.blocks[-1:], tmp_path / "late")
    shown = [
        json.loads(run("rules", "--json", *words).output)["findings"]
        for words in (
            ("--blocks", whole),
            ("--blocks", late, "--from-checkpoint", tmp_path / "state"),
        )
    ]
    assert len(shown[0]) == 1
    assert shown[0] == shown[1]


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_wrong_checkpoint_is_said(forge: Forge, tmp_path: Path, how: tuple[str, ...]) -> None:
    forge.add(stated(verified(busy(forge).blocks), state_digest="0" * 64))
    forge.add(forge.intent("O-3"))
    done = run("verify", *how, "--blocks", export(forge.blocks, tmp_path / "blocks"))
    assert done.exit_code == 1
    assert "a checkpoint is wrong: " in done.output
    if how:
        report: dict[str, Any] = json.loads(done.stdout)
        assert (report["ok"], report["finding"], report["blocks"]) == (
            *(False, None, len(forge.blocks)),
        )
        assert report["checkpoints"] == {"right": 0, "wrong": 1}
        assert "checkpoint: the state after block" in report["wrong_checkpoints"][0]


def test_of_a_state_that_nobody_stated_nothing_is_told(forge: Forge, tmp_path: Path) -> None:
    whole = export(busy(forge).blocks, tmp_path / "whole")
    state = tmp_path / "state"
    assert run("snapshot", state, "--blocks", whole).exit_code == 0
    forge.add(forge.intent("O-3"))
    late = export(forge.blocks[-1:], tmp_path / "late")
    words = ("verify", "--blocks", late, "--from-checkpoint", state)
    done = run(*words, "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nothing vouches for the snapshot" in done.output
    digest = verified(forge.blocks[:-1]).snapshot().digest()
    assert run(*words, "--state", digest).exit_code == 0
    pinned = run(*words, "--state", "0" * 64)
    assert (pinned.exit_code, "not the pinned" in pinned.output) == (1, True)


def test_what_can_not_be_asked(forge: Forge, tmp_path: Path) -> None:
    whole = export(busy(forge).blocks, tmp_path / "whole")
    asked = {
        "there is no 99 yet": ("snapshot", tmp_path / "s", "--block", "99", "--blocks", whole),
        "goes with --from-checkpoint": ("verify", "--blocks", whole, "--state", "0" * 64),
        "is no snapshot": ("verify", "--blocks", whole, "--from-checkpoint", whole),
        "exists: name another file": ("snapshot", whole, "--blocks", whole),
    }
    for why, words in asked.items():
        done = run(*words)
        assert done.exit_code in (1, 2)
        assert why in done.output, done.output
