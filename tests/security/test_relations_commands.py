"""A relation through its life by the commands of its three persons, on a running network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import parties
from click.testing import CliRunner, Result
from security_world import World

from clearline import times
from clearline.cli import cli

OWNER, USER = "E-OTHER", "E-SEC"  # the other way than the roles' tests have it
ACCOUNT = "d" * 64
NAME = f"{ACCOUNT}/{USER}"


def run(world: World, who: tuple[str, str], *words: str | Path) -> Result:
    """`clearline ...` with this one's profile."""
    profile = str(world.house.profile(*who))
    return CliRunner().invoke(cli, [*map(str, words), "--profile", profile])


def test_related_seen_countersigned_and_ended(world: World, tmp_path: Path) -> None:
    maker, checker = ("BankOne", "maker"), ("BankOne", "checker")
    supervisor, auditor = ("Supervisor", "supervisor"), ("Supervisor", "auditor")
    document = tmp_path / "contract.pdf"
    document.write_bytes(b"%PDF-1.7 who franchises whom")
    since, until = (times.after(times.now(), days * 86_400)[:10] for days in (30, 60))
    said = ("--account", ACCOUNT, "--owner", OWNER, "--entity", USER, "--as", "franchisor",
            "--since", since, "--until", until, "--document", document)  # fmt: skip
    name = parties.order_no("rel")
    proposed = run(world, maker, "bank", "relate", *said, "--id", name)
    assert proposed.exit_code == 0, proposed.output
    assert f"clearline supervisor relations countersign {name}" in proposed.stderr

    early = run(world, supervisor, "supervisor", "relations", "countersign", name)
    assert (early.exit_code, "not_attested" in early.stdout) == (1, True)
    assert run(world, checker, "bank", "approve", name).stdout == (
        f"proposal/{name}: ok attested\n"
    )
    waiting = run(world, auditor, "supervisor", "relations", "list", "--waiting", "--entity", USER)
    found = {one["proposal_id"]: one for one in map(json.loads, waiting.stdout.splitlines())}
    digest = hashlib.sha256(document.read_bytes()).hexdigest()
    assert found[name]["body"]["document_digest"] == digest
    assert world.record("relation", NAME) is None
    by_auditor = run(world, auditor, "supervisor", "relations", "countersign", name)
    assert (by_auditor.exit_code, "role_forbidden" in by_auditor.output) == (1, True)

    signed = run(world, supervisor, "supervisor", "relations", "countersign", name)
    assert (signed.exit_code, signed.stdout) == (0, f"proposal/{name}: ok approved\n")
    again = run(world, checker, "bank", "approve", name)
    assert (again.exit_code, "duplicate approved" in again.stdout) == (0, True)
    for side in (OWNER, USER):
        listed = run(world, maker, "bank", "relations", "--entity", side)
        assert NAME in [
            f"{one['account_id']}/{one['entity_id']}"
            for one in map(json.loads, listed.stdout.splitlines())
        ]
    ended = run(world, supervisor, "supervisor", "relations", "end", NAME, "--until", since)
    assert (ended.exit_code, ended.stdout) == (0, f"relation/{NAME}: ok ended\n")
    shown = json.loads(run(world, maker, "bank", "show", "relation", NAME).stdout)
    (term,) = shown["terms"]
    assert (term["until"], term["ended_by"]) == (since, "Supervisor")
    none = run(
        world, supervisor, "supervisor", "relations", "end", f"{ACCOUNT}/E-9", "--until", since
    )
    assert (none.exit_code, "relation_unknown" in none.stdout) == (1, True)


def test_the_auditor_finds_nothing_wrong_with_all_that(world: World) -> None:
    done = run(world, ("Supervisor", "auditor"), "audit", "verify", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["ok"]
