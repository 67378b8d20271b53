"""The supervisor's commands on the running house: rules by two persons, findings, checkpoints, and
verification that begins at one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from books import read_ledger
from click.testing import CliRunner, Result
from counter import UNIONPAY, Till, numbered

from audit.cli import audit
from audit.cli_supervisor import supervisor
from clearline.house.layout import MERCHANT_ID, House

RULE: dict[str, Any] = {
    "rule_id": "R-PLACES",
    "version": 1,
    "kind": "places_of_code",
    "parameters": {"stores": 0, "terminals": 1000, "sites": 1000},
    "valid_from": "2026-01-01",
    "action": "enforce",
}
Run = Callable[..., Result]


@pytest.fixture
def run(house: House) -> Run:
    """A command of the supervisor's, with the profile of one of its users last."""

    def run(*words: str | Path, by: str) -> Result:
        group = supervisor if words[0] in ("propose", "confirm", "show") else audit
        profile = house.profile("Supervisor", by)
        return CliRunner().invoke(group, [*map(str, words), "--profile", str(profile)])

    return run


def written(path: Path, item: Any) -> Path:
    path.write_text(json.dumps(item))
    return path


def test_a_rule_is_said_by_two_and_finds(till: Till, run: Run, tmp_path: Path) -> None:
    (paid,) = till.take(numbered("rule", UNIONPAY, ["tok_approve"]))
    till.pay(paid)
    file = written(tmp_path / "rule.json", RULE)
    early = run("confirm", file, by="supervisor2")
    assert (early.exit_code, "propose it first" in early.output) == (1, True)
    proposed = run("propose", file, by="supervisor")
    assert proposed.exit_code == 0, proposed.output
    assert "rule/R-PLACES/1: ok proposed" in proposed.output
    assert run("rules", by="auditor").exit_code == 0  # it is not in force

    alone = run("confirm", file, by="supervisor")
    assert (alone.exit_code, "another must confirm it" in alone.output) == (1, True)
    unread = written(tmp_path / "other.json", RULE | {"valid_from": "2026-01-02"})
    refused = run("confirm", unread, by="supervisor2")
    assert (refused.exit_code, "another valid_from" in refused.output) == (1, True)
    confirmed = run("confirm", file, by="supervisor2")
    assert confirmed.exit_code == 0, confirmed.output
    shown = json.loads(run("show", "R-PLACES", "1", by="auditor").output)
    assert shown["status"] == "in_force"
    assert shown["maker"] != shown["checker"] != ""

    done = run("rules", "--json", by="auditor")
    assert done.exit_code == 3, done.output
    report = json.loads(done.output)
    assert [one["rule"] for one in report["rules"]] == ["R-PLACES"]
    found = next(one for one in report["findings"] if one["merchant_id"] == MERCHANT_ID)
    assert (found["rule"], found["version"]) == ("R-PLACES", 1)
    assert all(key.startswith(f"payment/{MERCHANT_ID}/") for key in found["about"])
    assert all(0 < one["block"] <= report["last_block"] for one in found["evidence"])
    told = run("rules", by="auditor")
    assert told.exit_code == 3
    assert f"finding       R-PLACES 1 (places_of_code): {MERCHANT_ID}: code " in told.output


def test_who_joins_late_begins_at_a_checkpoint(
    till: Till, house: House, run: Run, tmp_path: Path
) -> None:
    state, early, late = (tmp_path / name for name in ("state", "early.bin", "late.bin"))
    made = run("checkpoint", "--snapshot", state, by="supervisor")
    assert made.exit_code == 0, made.output
    assert made.output.endswith(": ok\n")
    words = made.output.split()
    block, digest = int(words[1].rstrip(",")), words[5].rstrip(":")
    assert run("checkpoint", by="auditor").exit_code == 1  # another role's

    # Anybody with the whole chain makes the same snapshot of that block.
    again = run("snapshot", tmp_path / "again", "--block", str(block), by="auditor")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again").read_bytes() == state.read_bytes()

    (paid,) = till.take(numbered("late", UNIONPAY, ["tok_approve"]))
    till.pay(paid)
    whole = read_ledger(house)
    assert block in whole.checkpoints.checked
    assert whole.checkpoints.wrong == []
    for out, first in ((early, 0), (late, block + 1)):
        done = run("export", out, "--first", str(first), by="auditor")
        assert done.exit_code == 0, done.output
    assert late.stat().st_size < early.stat().st_size

    offline = ["verify", "--network", house.network, "--from-checkpoint", str(state), "--json"]
    for source in (["--blocks", str(late)], ["--blocks", str(early), "--state", digest]):
        done = CliRunner().invoke(audit, [*offline, *source])
        assert done.exit_code == 0, done.output
        report = json.loads(done.output)
        assert report["ok"] is True
        assert report["from_block"] == block + 1
        assert report["payments"] == whole.payments.counts()
        assert report["checkpoints"]["wrong"] == 0

    refused = CliRunner().invoke(
        audit, ["verify", "--network", house.network, "--blocks", str(late)]
    )
    assert "block_number" in refused.output  # without the state before it


def test_a_snapshot_that_nothing_vouches_for(house: House, run: Run, tmp_path: Path) -> None:
    """It is newer than every checkpoint; it is not the pinned one; it is of another network."""
    till = Till(house, tmp_path)
    (paid,) = till.take(numbered("vouch", UNIONPAY, ["tok_approve"]))
    state = tmp_path / "state"
    assert run("snapshot", state, by="auditor").exit_code == 0
    till.pay(paid)
    done = run("verify", "--from-checkpoint", state, by="auditor")
    assert done.exit_code == 1
    assert "nothing vouches for the snapshot" in done.output
    pinned = run("verify", "--from-checkpoint", state, "--state", "0" * 64, by="auditor")
    assert pinned.exit_code == 1
    assert "not the pinned" in pinned.output
    other = CliRunner().invoke(
        audit,
        ["verify", "--network", "other", "--blocks", str(state), "--from-checkpoint", str(state)],
    )
    assert "not other" in other.output
